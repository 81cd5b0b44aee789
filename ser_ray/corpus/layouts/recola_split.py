"""Assign the people of RECOLA to partitions.

recola46_split.csv is the paper's own split of all 46 people into 16, 15 and 15, as its authors published it with their
code; its column `avec` is the partition in AVEC 2015 and 2016. The two never contradict each other: AVEC took 9, 9 and
9 people from the same three partitions. So people who were not in AVEC get the paper's partition. A user's own
partitions.csv (name, partition) in the folder of the data replaces the whole split: recordings that it does not list
are left out, with a warning.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_ray.corpus.layouts.partition_table import PartitionRow, read_partitions
from ser_ray.corpus.layouts.recola_files import listed
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import read_rows

OWN_TABLE = "partitions.csv"
PAPER_TABLE = Path(__file__).with_name("recola46_split.csv")


@dataclass(frozen=True)
class Split:
    """Partitions of the recordings to import, from the user's `own` table or else the paper's."""

    places: Mapping[str, PartitionRow]
    own: bool
    warnings: tuple[str, ...] = ()


def read_split(source: Path, present: Collection[str], problems: Problems) -> Split:
    """Assign the recordings of a folder to partitions; note those without a known partition as problems."""
    table = source / OWN_TABLE
    if table.is_file():
        places = read_partitions(table)
        unlisted = [name for name in present if name not in places]
        warning = f"recordings that {table} does not list are left out: {listed(unlisted)}"
        return Split(places, True, (warning,) if unlisted else ())
    paper = paper_split()
    for name in present:
        if name not in paper:
            problems.add(
                f"{source}: recording {name!r} is not one of the {len(paper)} people whose partition is known "
                f"({listed(paper, 3)}): list all recordings in {table} (columns name and partition), or remove its "
                "files"
            )
    return Split({name: paper[name] for name in present if name in paper}, False)


def paper_split() -> dict[str, PartitionRow]:
    """Read the paper's partition of each of its 46 people."""
    return read_partitions(PAPER_TABLE)


def avec_split() -> dict[str, str]:
    """Read AVEC's partition of each of its 27 people."""
    header, rows, _ = read_rows(PAPER_TABLE)
    name, avec = header.index("name"), header.index("avec")
    return {row[name]: row[avec] for row in rows if row[avec]}
