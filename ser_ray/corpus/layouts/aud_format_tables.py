"""Read the tables of an audformat database that contain labels over time."""

import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ser_ray.errors import InputError

HEADER = "db.yaml"
NUMBERS = ("float", "int")
MOST_UNEVEN = 1.5
"""Largest ratio of long to short rows (90% and 10% quantile) in a table of labels over time."""


@dataclass(frozen=True)
class LabelTable:
    """A table of labels over time: target -> column of gold, and target -> rater -> column of ratings."""

    name: str
    gold: Mapping[str, str]
    ratings: Mapping[str, Mapping[str, str]]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns with labels."""
        return (*self.gold.values(), *(column for raters in self.ratings.values() for column in raters.values()))


@contextmanager
def others_deprecations() -> Iterator[None]:
    """Ignore the deprecation warnings that audformat's calls of pandas cause."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def open_database(source: Path) -> Iterator[Any]:
    """Open a database whose tables are read on first use.

    A header with YAML tags and tables stored as pickles could execute code, so they are never read. The library would
    read both; it is therefore given a temporary folder with links to the other files.

    Raises:
        InputError: if audformat is not installed, cannot read the header, or a table exists only as a pickle.
    """
    try:
        import audformat
        import yaml
    except ImportError as error:
        raise InputError(
            f"{source} is a database in audformat, for which {error.name} is not installed: "
            "pip install 'ser-ray[audformat]'"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        try:
            header = (source / HEADER).read_text(encoding="utf-8")
            tables = yaml.safe_load(header)
            (Path(folder) / HEADER).write_text(header, encoding="utf-8")
            for name in (*(tables.get("tables") or ()), *(tables.get("misc_tables") or ())):
                file = table_file(source, name)
                (Path(folder) / file.name).symlink_to(file.absolute())
            with others_deprecations():
                database = audformat.Database.load(folder)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{source / HEADER} cannot be read by audformat: {error}") from error
        yield database


def frame_of(source: Path, table: str) -> Any:
    """Read a table as a pandas frame, sorted by its index."""
    return _frame(source, table, table_file(source, table).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _frame(source: Path, table: str, _changed_ns: int) -> Any:
    """Read a table once per process unless it changes, since one file contains all recordings."""
    try:
        with others_deprecations(), open_database(source) as database:
            return database[table].get().sort_index(kind="stable")
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source / HEADER}: table {table} cannot be read by audformat: {error}") from error


def label_tables(database: Any, source: Path) -> list[LabelTable]:
    """Find the tables of an audformat.Database with labels over time; there must be at least one."""
    tables, filewise = [], []
    for name, table in database.tables.items():
        found = LabelTable(name, *_columns(database, table, source))
        if found.columns and table.is_segmented:
            _check_frames(source, found)
            tables.append(found)
        elif found.columns:
            filewise.append(found)
    if filewise and not tables:
        raise InputError(
            f"{source}: {table_names(filewise)} has one label per file ({', '.join(filewise[0].columns)}): ser_ray "
            "trains on labels over time, which must be in a segmented table with a row per frame"
        )
    if not tables:
        known = ", ".join(database.tables) or "none at all"
        raise InputError(
            f"{source} has no segmented table with a column of numbers, such as arousal or valence; its tables: {known}"
        )
    return tables


def _columns(database: Any, table: Any, source: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Find the columns of gold by target, and the raters' columns by target and rater."""
    by_target: dict[str, list[str]] = defaultdict(list)
    for name, column in table.columns.items():
        scheme = database.schemes[column.scheme_id] if column.scheme_id else None
        if scheme is not None and (scheme.dtype not in NUMBERS or scheme.labels is not None):
            continue
        if scheme is None and name.lower() not in ("arousal", "valence", "dominance"):
            continue
        by_target[(column.scheme_id or name).lower()].append(name)
    gold: dict[str, str] = {}
    ratings: dict[str, dict[str, str]] = {}
    for target, names in by_target.items():
        raters = {
            table.columns[name].rater_id: name
            for name in names
            if table.columns[name].rater_id and database.raters[table.columns[name].rater_id].type == "human"
        }
        if len(raters) > 1:
            ratings[target] = raters
        others = [name for name in names if name not in ratings.get(target, {}).values()]
        if len(others) > 1:
            raise InputError(
                f"{source / HEADER}: columns {' and '.join(others)} both contain {target}: give them raters of the "
                "type human, or remove all but one"
            )
        if others:
            gold[target] = others[0]
    return gold, ratings


def _check_frames(source: Path, table: LabelTable) -> None:
    """Refuse a table whose rows are utterances rather than frames."""
    index = frame_of(source, table.name).index
    starts, ends = (index.get_level_values(level).total_seconds().to_numpy() for level in ("start", "end"))
    lasting = (ends - starts)[np.isfinite(ends - starts)]
    if lasting.size and np.quantile(lasting, 0.9) > MOST_UNEVEN * np.quantile(lasting, 0.1):
        raise InputError(
            f"{source}: table {table.name} has one label per segment of {lasting.min():g} to {lasting.max():g} s: "
            "ser_ray trains on labels over time, with a row per frame, all of the same length"
        )


def table_names(tables: Iterable[LabelTable]) -> str:
    """List the names of tables in one line."""
    return "table " + ", ".join(table.name for table in tables)


def table_file(source: Path, table: str) -> Path:
    """Find the file of a table; refuse one that exists only as a pickle."""
    for suffix in ("parquet", "csv"):
        if (path := source / f"db.{table}.{suffix}").is_file():
            return path
    if (path := source / f"db.{table}.pkl").is_file():
        raise InputError(
            f"{path} is a pickle, which could execute arbitrary code when it is read: save the database with "
            "storage_format='parquet'"
        )
    raise InputError(f"{source}: table {table} has no file: db.{table}.parquet or .csv")
