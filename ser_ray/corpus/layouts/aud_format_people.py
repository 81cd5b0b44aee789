"""Read speakers, sexes and partitions of the files of an audformat database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_ray.corpus.source.description import PARTITION_NAMES, partition_named
from ser_ray.errors import InputError

PARTITIONS = ("split", "partition")
SPEAKERS = ("speaker", "speaker_id")
SEXES = ("sex", "gender")
SHORT = {"female": "f", "male": "m"}


@dataclass(frozen=True)
class Facts:
    """Facts about a database's files: splits per table; partitions, speakers and sexes per file."""

    splits: Mapping[str, str]
    partitions: Mapping[str, str]
    speakers: Mapping[str, str]
    sexes: Mapping[str, str]

    def partition(self, file: str, tables: Sequence[str], source: Path) -> str:
        """Return a file's partition; the splits of its label tables take precedence."""
        said = [self.splits[table] for table in tables if table in self.splits]
        if len(set(said)) > 1:
            raise InputError(
                f"{source}: {file} is in tables of several splits, {' and '.join(sorted(set(said)))}, but must be in "
                "only one"
            )
        value = said[0] if said else self.partitions.get(file)
        if value is None:
            raise InputError(
                f"{source}: the partition of {file} is unknown: give table {tables[0]} a split of the type train, dev "
                f"or test, list the file in a table that has one, or add a column {' or '.join(PARTITIONS)}"
            )
        return partition_named(value, f"{source}: {file}")

    def extra(self, file: str) -> dict[str, str]:
        """Return a file's further columns of the index."""
        return {"sex": self.sexes[file]} if file in self.sexes else {}


def facts_of(database: Any) -> Facts:
    """Collect the facts about the files of an opened audformat.Database."""
    splits = {
        name: str(database.splits[table.split_id].type)
        for name, table in database.tables.items()
        if table.split_id is not None and database.splits[table.split_id].type in PARTITION_NAMES
    }
    partitions: dict[str, str] = {}
    for name, split in splits.items():
        for file in database.tables[name].files.unique():
            partitions.setdefault(str(file), split)
    for file, value in _values(database, PARTITIONS):
        partitions.setdefault(file, value)
    speakers = dict(_first(_values(database, SPEAKERS)))
    sexes = {file: SHORT.get(value.lower(), value) for file, value in _first(_sexes(database))}
    return Facts(splits, partitions, speakers, sexes)


def _sexes(database: Any) -> Iterator[tuple[str, str]]:
    """Yield file and sex, from columns of sexes, then from the fields of the scheme of speakers."""
    yield from _values(database, SEXES)
    for field in SEXES:
        for _, table, name in _columns(database, SPEAKERS):
            column = table.columns[name]
            scheme = database.schemes[column.scheme_id] if column.scheme_id else None
            if scheme is not None and field in _fields(database, scheme):
                yield from _pairs(column.get(map=field))


def _fields(database: Any, scheme: Any) -> set[str]:
    """Return the names of the fields that a scheme has for its labels."""
    if isinstance(scheme.labels, str):
        return set(database.misc_tables[scheme.labels].columns)
    if isinstance(scheme.labels, dict):
        return {field for known in scheme.labels.values() if isinstance(known, dict) for field in known}
    return set()


def _values(database: Any, called: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield file and value of all columns with some names or schemes, in the order of the names."""
    for _, table, name in _columns(database, called):
        yield from _pairs(table.columns[name].get())


def _columns(database: Any, called: Sequence[str]) -> list[tuple[int, Any, str]]:
    found = []
    for table in database.tables.values():
        for name, column in table.columns.items():
            for known in (name, column.scheme_id):
                if known and known.lower() in called:
                    found.append((called.index(known.lower()), table, name))
                    break
    return sorted(found, key=lambda one: one[0])


def _pairs(series: Any) -> Iterator[tuple[str, str]]:
    """Yield file and text of a column, the first non-empty row of each file."""
    known = series.dropna()
    known = known[~known.index.get_level_values("file").duplicated()]
    for file, value in zip(known.index.get_level_values("file"), known, strict=True):
        yield str(file), str(value)


def _first(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    seen = set()
    for file, value in pairs:
        if file not in seen:
            seen.add(file)
            yield file, value
