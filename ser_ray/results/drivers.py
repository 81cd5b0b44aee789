"""The processes that run a sweep, as they say it themselves: one small file each, in drivers/."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from ser_ray.errors import InputError
from ser_ray.results.folder import SweepFolder
from ser_ray.results.parts import write_whole

ENDS = ("done", "failed", "interrupted")
"""How a driver ended: every planned trial finished or was stopped, some failed, or it left some undone."""
LOST_AFTER = timedelta(seconds=60)
"""A driver says every few seconds that it is there; one that has not for so long is gone."""

_Scalar = TypeVar("_Scalar", str, int)


@dataclass(frozen=True)
class Driver:
    """A process that runs a sweep, or did.

    Args:
        host: the name of its machine.
        pid: its process id there.
        job_id: of the scheduler that started it; None outside one.
        started_at: when it began; with its time zone, as are all times here.
        seen_at: when it last said so.
        ended: one of `ENDS`; None while it runs.
        planned: trials that it planned.
        standing: those of them that are finished, stopped or failed.
        epochs_to_do: epochs still to be trained.
        epochs_done: epochs that it has trained itself.
        ends_at: when it expects to be done; None where it cannot say yet.
        share: its part of the plan, "1/1" for all of it.
        written_at: when its file was written, by the clock of the file system; None for what was not read from one.
    """

    host: str
    pid: int
    job_id: str | None
    started_at: datetime
    seen_at: datetime
    ended: str | None
    planned: int
    standing: int
    epochs_to_do: int
    epochs_done: int
    ends_at: datetime | None
    share: str
    written_at: datetime | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What its file is called: host and pid; no separators of paths are in it."""
        return f"{re.sub(r'[^A-Za-z0-9._]+', '_', self.host)}-{self.pid}"

    @property
    def left(self) -> int:
        """Planned trials that have not come to an end."""
        return max(0, self.planned - self.standing)

    def silent(self, now: datetime) -> bool:
        """Return whether it has said nothing for so long that it is gone.

        The clock of its host may be behind, or ahead, by hours; that of the file system is another's. The one that is
        nearer to the present counts.

        Args:
            now: the present, with its time zone.
        """
        told = [time for time in (self.seen_at, self.written_at) if time is not None]
        return min(abs(now - time) for time in told) > LOST_AFTER

    def lost(self, now: datetime) -> bool:
        """Return whether it ended without a word.

        Args:
            now: the present, with its time zone.
        """
        return self.ended is None and self.silent(now)

    def alive(self, now: datetime) -> bool:
        """Return whether it runs, as far as files can tell.

        Args:
            now: the present, with its time zone.
        """
        return self.ended is None and not self.lost(now)


_WRITTEN = [field.name for field in fields(Driver) if field.name != "written_at"]


def write_driver(folder: SweepFolder, driver: Driver) -> Path:
    """Write what a driver says of itself, whole or not at all, in place of what it said before.

    Args:
        folder: the sweep's folder.
        driver: what it says.

    Returns:
        The path of its file.

    Raises:
        ValueError: if a time has no time zone.
        OSError: if the disk is full or cannot be written; what the driver said before stays.
    """
    values = {name: _scalar(name, value) for name, value in asdict(driver).items() if name in _WRITTEN}
    path = folder.driver(driver.name)
    write_whole(folder, path, lambda temporary: temporary.write_text(json.dumps(values) + "\n", encoding="utf-8"))
    return path


def _scalar(name: str, value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{name} of a driver is {value}, but must have a time zone")
    return value.astimezone(UTC).isoformat()


def read_drivers(folder: SweepFolder) -> list[Driver]:
    """Return the processes that run a sweep, or did, the earliest first.

    Args:
        folder: the sweep's folder; drivers may be writing.

    Raises:
        InputError: if a file is damaged, naming it.
    """
    found = [_read_driver(path) for path in sorted(folder.drivers.glob("*.json"))]
    return sorted((driver for driver in found if driver is not None), key=lambda d: (d.started_at, d.name))


def _read_driver(path: Path) -> Driver | None:
    """Return what a file says; None if it is gone since the folder was listed."""
    last: str | None = None
    while True:
        try:
            text, written = path.read_text(encoding="utf-8", errors="replace"), path.stat().st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})") from error
        try:
            return replace(_parse(json.loads(text)), written_at=datetime.fromtimestamp(written, UTC))
        except (ValueError, TypeError) as error:
            if text != last:  # a shared disk may have shown it while it was replaced: only what stays so is damaged
                last = text
                continue
            raise InputError(
                f"{path} is not what a driver of this sweep writes ({error}); delete it, if that driver has ended"
            ) from error


def _parse(values: Any) -> Driver:
    if not isinstance(values, Mapping):
        raise ValueError("no JSON object")
    missing = [name for name in _WRITTEN if name not in values]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    ended = values["ended"]
    if ended is not None and ended not in ENDS:
        raise ValueError(f"ended is {ended!r}; legal: null, {', '.join(ENDS)}")
    return Driver(
        host=_typed(values, "host", str),
        pid=_typed(values, "pid", int),
        job_id=None if values["job_id"] is None else str(values["job_id"]),
        started_at=_time(values, "started_at"),
        seen_at=_time(values, "seen_at"),
        ended=ended,
        planned=_typed(values, "planned", int),
        standing=_typed(values, "standing", int),
        epochs_to_do=_typed(values, "epochs_to_do", int),
        epochs_done=_typed(values, "epochs_done", int),
        ends_at=None if values["ends_at"] is None else _time(values, "ends_at"),
        share=_typed(values, "share", str),
    )


def _typed(values: Mapping[str, Any], name: str, kind: type[_Scalar]) -> _Scalar:
    value = values[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, no {kind.__name__}")
    return value


def _time(values: Mapping[str, Any], name: str) -> datetime:
    time = datetime.fromisoformat(_typed(values, name, str))
    if time.tzinfo is None:
        raise ValueError(f"{name} is {values[name]!r}, without a time zone")
    return time
