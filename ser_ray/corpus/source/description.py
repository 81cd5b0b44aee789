"""The description of a folder of data that a layout returns, before any audio is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from ser_ray.corpus.source.channels import Channel
from ser_ray.corpus.source.traces import Traces
from ser_ray.errors import InputError

Alignment = Literal["start", "end"]
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)
TimeUnit = Literal["s", "ms", "frames"]
TIME_UNITS: tuple[TimeUnit, ...] = get_args(TimeUnit)

PARTITION_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "dev": "devel",
    "devel": "devel",
    "valid": "devel",
    "validation": "devel",
    "development": "devel",
    "test": "test",
}
"""Accepted name of a partition, in lower case -> partition."""


class OtherLayoutError(InputError):
    """A folder is not in a layout at all: the layout's top-level files or folders are missing."""


@dataclass(frozen=True)
class Labelled:
    """Traces in the label files of one recording.

    `gold` is a given gold standard, one column per target; it is empty where only ratings are known. `ratings` maps
    each target to the single raters' traces, one column per rater. No target, and no rater of a target, is in two
    files.
    """

    gold: tuple[Traces, ...] = ()
    ratings: Mapping[str, tuple[Traces, ...]] = field(default_factory=dict)

    def scaled(self, unit_s: float) -> "Labelled":
        """Convert the time stamps from units of `unit_s` seconds to seconds."""
        return Labelled(
            tuple(traces.scaled(unit_s) for traces in self.gold),
            {target: tuple(traces.scaled(unit_s) for traces in files) for target, files in self.ratings.items()},
        )


@dataclass(frozen=True)
class Source:
    """One recording to be imported.

    `labels` reads the labels; it is None where there are none. It is called only when they are needed, in several
    processes, so it can be pickled. Time stamps count from `start_s`, where the recording begins in the audio file;
    `stop_s` is None for the file's end. `extra` are further columns of the index.
    """

    name: str
    partition: str
    speaker: str
    audio: Path
    labels: Callable[[], Labelled] | None = None
    label_files: tuple[Path, ...] = ()
    start_s: float = 0.0
    stop_s: float | None = None
    channel: Channel = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def with_time_unit(self, unit_s: float) -> "Source":
        """Return the recording, its labels' time stamps read as units of `unit_s` seconds."""
        return replace(self, labels=partial(_scaled, self.labels, unit_s)) if self.labels else self


def _scaled(labels: Callable[[], Labelled], unit_s: float) -> Labelled:
    return labels().scaled(unit_s)


@dataclass(frozen=True)
class Description:
    """All recordings to be imported, in the order of the future index.

    Where time stamps begin at 0, `alignment` decides whether frame i carries the label at its "start" (row i) or at its
    "end" (row i + 1, the paper's choice); None leaves the rows as they are. Irregular traces are resampled to
    `label_rate_hz`. Warnings concern what is legal but may not be intended.
    """

    sources: tuple[Source, ...]
    notice: str = ""
    alignment: Alignment | None = None
    label_rate_hz: float | None = None
    warnings: tuple[str, ...] = ()


def partition_named(value: str, where: str) -> str:
    """Map a user's name of a partition, in any case, to the partition."""
    partition = PARTITION_NAMES.get(value.strip().lower())
    if partition is None:
        raise InputError(f"{where}: partition is {value!r}, but must be one of {', '.join(PARTITION_NAMES)}")
    return partition


def require(source: Path, layout: str, wanted: Mapping[str, bool]) -> None:
    """Refuse a folder that is not in a layout; `wanted` maps each required top-level item to whether it was found.

    Raises:
        OtherLayoutError: if an item was not found; the message names it and the folder's contents.
    """
    if all(wanted.values()):
        return
    looked = ", ".join(wanted)
    missing = " and ".join(what for what, found in wanted.items() if not found)
    raise OtherLayoutError(
        f"{source} is not in the layout {layout}: looked for {looked}; missing: {missing}; {contents(source)}"
    )


def contents(source: Path) -> str:
    """Summarise the contents of a folder for a message."""
    if not source.is_dir():
        return "it is a file" if source.exists() else "it does not exist"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in source.iterdir())
    return f"it contains {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "it is empty"


NOTICE = "NOTICE"


def read_notice(folder: Path) -> str:
    """Read the file NOTICE of a folder; "" where there is none."""
    path = folder / NOTICE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
