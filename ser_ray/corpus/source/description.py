"""What a layout finds in a folder of data, before any audio is read."""

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
"""Names of partitions that are understood, in lower case, and what each means."""


class OtherLayoutError(InputError):
    """A folder that is not in a layout at all: what the layout has at its top is not there."""


@dataclass(frozen=True)
class Labelled:
    """Traces in the label files of one recording.

    `gold` is a given gold standard, one column per target, empty where only ratings are known; `ratings` are per target
    the single raters' traces, one column per rater. No target, and no rater of a target, is in two files.
    """

    gold: tuple[Traces, ...] = ()
    ratings: Mapping[str, tuple[Traces, ...]] = field(default_factory=dict)

    def scaled(self, unit_s: float) -> "Labelled":
        """Return the same traces, their stamps having counted units of so many seconds."""
        return Labelled(
            tuple(traces.scaled(unit_s) for traces in self.gold),
            {target: tuple(traces.scaled(unit_s) for traces in files) for target, files in self.ratings.items()},
        )


@dataclass(frozen=True)
class Source:
    """One recording to be imported.

    Labels are read where and when they are needed, by several processes, and never all at once: `labels` can be
    pickled, and is None where there are none. Their stamps count from `start_s`, where the recording begins in the
    audio file; `stop_s` is None for the file's end. `extra` are further columns of the index.
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
        """Return the recording with labels whose stamps count units of so many seconds."""
        return replace(self, labels=partial(_scaled, self.labels, unit_s)) if self.labels else self


def _scaled(labels: Callable[[], Labelled], unit_s: float) -> Labelled:
    return labels().scaled(unit_s)


@dataclass(frozen=True)
class Description:
    """All that is to be imported, in the order of the index to come.

    Where stamps begin at 0, `alignment` tells whether frame i carries the label at its "start" (row i) or at its "end"
    (row i + 1, the paper's); None leaves the rows as they are. Irregular traces are brought to `label_rate_hz`.
    Warnings are of what is legal, but may not be meant.
    """

    sources: tuple[Source, ...]
    notice: str = ""
    alignment: Alignment | None = None
    label_rate_hz: float | None = None
    warnings: tuple[str, ...] = ()


def partition_named(value: str, where: str) -> str:
    """Return the partition that a user's name means, in any case."""
    partition = PARTITION_NAMES.get(value.strip().lower())
    if partition is None:
        raise InputError(f"{where}: partition is {value!r}, but must be one of {', '.join(PARTITION_NAMES)}")
    return partition


def require(source: Path, layout: str, wanted: Mapping[str, bool]) -> None:
    """Refuse a folder that is not in a layout; `wanted` maps what the layout has at its top to whether it was found.

    Raises:
        OtherLayoutError: if something was not found, naming it and what is there.
    """
    if all(wanted.values()):
        return
    looked = ", ".join(wanted)
    missing = " and ".join(what for what, found in wanted.items() if not found)
    raise OtherLayoutError(
        f"{source} is not in the layout {layout}: looked for {looked}; missing: {missing}; {contents(source)}"
    )


def contents(source: Path) -> str:
    """Return what a folder holds, in a few words."""
    if not source.is_dir():
        return "it is a file" if source.exists() else "it does not exist"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in source.iterdir())
    return f"it holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "it is empty"


NOTICE = "NOTICE"


def read_notice(folder: Path) -> str:
    """Return the text of a file NOTICE in a folder; "" where there is none."""
    path = folder / NOTICE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
