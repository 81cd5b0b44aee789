"""Read tables of recordings and their partitions, as challenges distribute them or users write them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_ray.corpus.layouts.lines import Line, read_lines
from ser_ray.corpus.source.description import PARTITION_NAMES, partition_named
from ser_ray.corpus.source.problems import Problems
from ser_ray.errors import InputError

NAMES = ("name", "id", "session", "recording")
SPEAKERS = ("speaker", "speaker_id", "subject")


@dataclass(frozen=True)
class PartitionRow:
    """Partition and speaker of a recording ("" where the table has none); `where` is file and line, for messages."""

    partition: str
    speaker: str
    where: str


def read_partitions(path: Path) -> dict[str, PartitionRow]:
    """Read a table separated by commas or semicolons; return a row per name, in the table's order.

    With a header, the name is in one of the columns NAMES or else in the first, the partition in the column partition
    or else in the last, the speaker in one of SPEAKERS if there is one. Without a header, the name is in the first
    column.

    Raises:
        InputError: if the table is empty, or a line has missing fields, a repeated name, or an unknown partition;
            several mistakes at once.
    """
    lines = read_lines(path, ";" if ";" in path.read_text(encoding="utf-8-sig", errors="replace") else ",")
    if not lines:
        raise InputError(f"{path} is empty: it needs a line per recording with its name and partition")
    name, partition, speaker, rows = _columns(lines)
    problems = Problems(path)
    places: dict[str, PartitionRow] = {}
    for row in rows:
        where = f"{path}, line {row.number}"
        with problems.collecting():
            if len(row.fields) <= max(name, partition):
                raise InputError(f"{where}: {len(row.fields)} field, but a line needs a name and a partition")
            called = row.fields[name]
            if called in places:
                raise InputError(f"{where}: {called!r} is already in {places[called].where}; remove one")
            who = row.fields[speaker] if speaker is not None and speaker < len(row.fields) else ""
            places[called] = PartitionRow(partition_named(row.fields[partition], where), who, where)
    problems.refuse()
    return places


def _columns(lines: Sequence[Line]) -> tuple[int, int, int | None, Sequence[Line]]:
    """Find the columns of name, partition and speaker; return them and the lines without the header."""
    first = [field.lower() for field in lines[0].fields]
    known = [place for place, field in enumerate(first) if place and field in PARTITION_NAMES]
    if known:
        return 0, known[0], None, lines
    name = next((first.index(column) for column in NAMES if column in first), 0)
    partition = first.index("partition") if "partition" in first else len(first) - 1
    speaker = next((first.index(column) for column in SPEAKERS if column in first), None)
    return name, partition, speaker, lines[1:]
