"""Status files of the processes that run a sweep: drivers/HOST-PID.json, renewed every few seconds."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ser_ray.errors import InputError
from ser_ray.files import write_text
from ser_ray.results.folder import SweepFolder

ENDS = ("done", "failed", "interrupted")
"""Ends of a driver: every planned trial finished or was stopped, some failed, or some were left undone."""
LOST_AFTER = timedelta(seconds=60)
"""A driver whose file has not been renewed for this long is lost."""


@dataclass(frozen=True)
class DriverStatus:
    """Status of a driver, a process that runs a sweep or has run it; all times have a time zone.

    Args:
        host: the name of its machine.
        pid: its process id there.
        job_id: of the scheduler that started it; None outside one.
        started_at: when it began.
        seen_at: when it last renewed its file, by its own clock.
        ended: one of `ENDS`; None while it runs.
        planned: number of trials that it planned.
        standing: number of planned trials that are finished, stopped or failed.
        epochs_to_do: epochs still to be trained.
        epochs_done: epochs that it has trained itself.
        ends_at: its expected end; None if that is not known.
        share: its share of the plan, "1/1" for all of it.
        written_at: when its file was written, by the clock of the file system; not in the file.
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
        """The name of its file: host and pid, without separators of paths."""
        return f"{re.sub(r'[^A-Za-z0-9._]+', '_', self.host)}-{self.pid}"

    @property
    def left(self) -> int:
        """Number of planned trials that have not ended."""
        return max(0, self.planned - self.standing)

    def silent(self, now: datetime) -> bool:
        """Check whether it has not renewed its file for `LOST_AFTER`.

        The clock of its host, or that of the file system, may be wrong by hours: the time nearer to `now` counts.
        """
        seen = [time for time in (self.seen_at, self.written_at) if time is not None]
        return min(abs(now - time) for time in seen) > LOST_AFTER

    def alive(self, now: datetime) -> bool:
        """Check whether it runs, judging by its file."""
        return self.ended is None and not self.silent(now)


_WRITTEN = [field.name for field in fields(DriverStatus) if field.name != "written_at"]


def write_driver(folder: SweepFolder, driver: DriverStatus) -> Path:
    """Write a driver's status file in place of the previous one; return its path.

    Raises:
        ValueError: if a time has no time zone.
        OSError: if it cannot be written; the earlier file is unchanged.
    """
    values = {name: _scalar(name, value) for name, value in asdict(driver).items() if name in _WRITTEN}
    path = folder.driver(driver.name)
    write_text(path, json.dumps(values) + "\n", temporary_dir=folder.tmp)
    return path


def _scalar(name: str, value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{name} of a driver is {value}, but needs a time zone")
    return value.astimezone(UTC).isoformat()


def read_drivers(folder: SweepFolder) -> list[DriverStatus]:
    """Read the status of each process that runs a sweep or has run it, the earliest first.

    Raises:
        InputError: if a file is damaged; the message names it.
    """
    found = [_read_driver(path) for path in sorted(folder.drivers.glob("*.json"))]
    return sorted((driver for driver in found if driver is not None), key=lambda d: (d.started_at, d.name))


def _read_driver(path: Path) -> DriverStatus | None:
    """Read a status file; None if it was deleted since the folder was listed."""
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
            if text != last:  # a shared disk may show a file while it is replaced: read it a second time
                last = text
                continue
            raise InputError(
                f"{path} is not a valid heartbeat file of this sweep ({error}); if that driver has ended, delete it"
            ) from error


def _parse(values: Any) -> DriverStatus:
    if not isinstance(values, Mapping):
        raise ValueError("it is not a JSON object")
    missing = [name for name in _WRITTEN if name not in values]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    found = {name: values[name] for name in _WRITTEN}
    for name in ("pid", "planned", "standing", "epochs_to_do", "epochs_done"):
        _check_type(name, found[name], int)
    for name in ("host", "share"):
        _check_type(name, found[name], str)
    for name in ("started_at", "seen_at", "ends_at"):
        if name != "ends_at" or found[name] is not None:
            found[name] = _time(name, found[name])
    if found["ended"] not in (None, *ENDS):
        raise ValueError(f"ended is {found['ended']!r}; legal: null, {', '.join(ENDS)}")
    if found["job_id"] is not None:
        found["job_id"] = str(found["job_id"])
    return DriverStatus(**found)


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, not of type {kind.__name__}")


def _time(name: str, value: Any) -> datetime:
    _check_type(name, value, str)
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError(f"{name} is {value!r}, but needs a time zone")
    return time
