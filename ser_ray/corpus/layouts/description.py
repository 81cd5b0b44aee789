"""What a layout tells of a folder of data, before any audio is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ser_ray.corpus.traces import Traces
from ser_ray.errors import InputError

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


@dataclass(frozen=True)
class Source:
    """One recording to be imported.

    Args:
        name: unique.
        partition: "train", "devel" or "test".
        speaker: who is heard.
        audio: file that soundfile reads.
        labels: traces of the gold standard, one column per target; None where there are none.
        ratings: per target the traces of single raters, one column per rater; empty where there are none.
        extra: further columns of the user's table.
    """

    name: str
    partition: str
    speaker: str
    audio: Path
    labels: Traces | None = None
    ratings: Mapping[str, Traces] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """All that is to be imported.

    Args:
        sources: the recordings, in the order of the index to come.
        notice: licence and remarks that came with the data.
    """

    sources: tuple[Source, ...]
    notice: str = ""


def partition_named(value: str, where: str) -> str:
    """Return the partition that a name means.

    Args:
        value: as the user wrote it, in any case.
        where: file and line, for the message.

    Raises:
        InputError: if it is none that is understood.
    """
    partition = PARTITION_NAMES.get(value.strip().lower())
    if partition is None:
        raise InputError(f"{where}: partition is {value!r}, but must be one of {', '.join(PARTITION_NAMES)}")
    return partition
