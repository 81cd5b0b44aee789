"""Parts of tables: written whole or not at all, read as they are there."""

import contextlib
import json
import math
import os
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.errors import InputError
from ser_ray.files import errors_naming
from ser_ray.results.folder import PART, SweepFolder
from ser_ray.results.schemas import ADDED_COLUMNS, OLDEST_READABLE, SCHEMA_VERSION, SCHEMAS
from ser_ray.results.set_aside import FILE_SYSTEM_ERRORS, irregular

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for a file that is no parquet file, or a damaged one."""


class DamagedPartError(InputError):
    """A part that cannot be read, or holds what is not its own.

    Args:
        path: the part.
        reason: why, in a few words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        """Return it as a user reads it."""
        again = "running the sweep again sets it aside, and makes it anew from what stands"
        if self.path.parent.name == "predictions":  # a sweep that goes on does not read all of those that it has used
            files = map(str, (self.path, self.path.parent.parent / "trials" / self.path.name))
            again = f"to have it again from its checkpoint: rm -f {shlex.join(files)}, and run again"
        return f"{self.path} cannot be read ({self.reason}); {again}"


def make_table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table of a schema.

    Args:
        name: "trials", "epochs", "postprocessing" or "predictions".
        rows: one mapping per row; columns that are missing are null, NaN is null too.

    Returns:
        The table, cast to the schema.

    Raises:
        ValueError: if a row has a column that the schema lacks.
    """
    schema = SCHEMAS[name]
    known = set(schema.names)
    clean = []
    for row in rows:
        unknown = set(row) - known
        if unknown:
            raise ValueError(f"table {name} has no columns {sorted(unknown)}")
        values = {column: None if _is_nan(value) else value for column, value in row.items()}
        if "schema_version" in known:
            values.setdefault("schema_version", SCHEMA_VERSION)
        clean.append(values)
    return pa.Table.from_pylist(clean, schema=schema)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def write_part(
    folder: SweepFolder,
    name: str,
    key: str,
    table: pa.Table,
    *,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write one trial's part of a table, whole or not at all.

    Args:
        folder: the sweep's folder.
        name: the table.
        key: the trial's key.
        table: its rows, of the table's schema.
        metadata: texts kept in the file's metadata.

    Returns:
        The path of the part.
    """
    table = table.cast(SCHEMAS[name])
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    path = folder.part(name, key)

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)

    write_whole(folder, path, write)
    return path


def write_whole(folder: SweepFolder, path: Path, write: Callable[[Path], object]) -> None:
    """Give a file of a sweep its content in one step: written under .tmp, synced, renamed.

    Args:
        folder: the sweep's folder.
        path: where the file goes; its folder is made.
        write: called with the temporary path; what it wrote there becomes the file.

    Raises:
        OSError: if the disk is full or cannot be written, with a path; nothing is left at `path` that was not there
            before.
    """
    folder.tmp.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.tmp / f"{path.name}.{secrets.token_hex(6)}"
    try:
        with errors_naming(path):
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_part(path: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """Read one part of a table.

    Args:
        path: the part.
        name: the table.
        columns: only these columns; all if None.

    Returns:
        Its rows, of the present schema; None if there is no such file.

    Raises:
        DamagedPartError: if it is damaged, or not this trial's part of this table, errors_naming the file.
        InputError: if it is of a schema version that is not read, or its file system does not give it.
    """
    expected = table_schema(name, columns)
    try:
        with opened_part(path) as file:
            table = file.read(columns=_to_read(file, name, columns)).replace_schema_metadata(None)
    except FileNotFoundError:
        return None  # taken away since the folder was listed, as a failed trial's row is when it is tried again
    written = _version(table, name, path)
    _check_key(table, name, path)
    if not len(table) and name in ("trials", "postprocessing"):  # the others are read as no epoch, or no frame
        raise DamagedPartError(path, "it holds no row")
    table = table.drop_columns([c for c in ("schema_version", "key") if _is_extra(table, c, expected)])
    new = {c for version, tables in ADDED_COLUMNS.items() if version > written for c in tables.get(name, ())}
    if table.column_names != [column for column in expected.names if column not in new]:
        raise _other_columns(path, name, written)
    if written == SCHEMA_VERSION and table.schema.equals(expected):
        return pa.Table.from_arrays(table.columns, schema=expected)
    try:
        return _completed(table, expected)
    except pa.ArrowException as error:
        raise _other_columns(path, name, written) from error


@contextlib.contextmanager
def opened_part(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a part, to be read in the context.

    Args:
        path: the part.

    Raises:
        FileNotFoundError: if there is none.
        DamagedPartError: if it is no parquet file, or a damaged one, also where that shows only in the context.
        InputError: if its file system does not give it.
    """
    reason = irregular(path)
    if reason is not None:
        raise DamagedPartError(path, reason)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in FILE_SYSTEM_ERRORS:
            raise InputError(f"{path} cannot be read: {error}; see to its file system, and try again") from error
        raise DamagedPartError(path, _brief(error)) from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def table_schema(name: str, columns: Sequence[str] | None = None) -> pa.Schema:
    """Return the schema of a table, or of some of its columns."""
    schema = SCHEMAS[name]
    return schema if columns is None else pa.schema([schema.field(column) for column in columns])


def no_rows(name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a table, or some of its columns, without rows."""
    # schema.empty_table() would import pandas, which takes longer than all that a reader does
    return pa.Table.from_batches([], schema=table_schema(name, columns))


def _to_read(file: pq.ParquetFile, name: str, columns: Sequence[str] | None) -> list[str] | None:
    """Return the columns to read of a part: those that are there, its version, by which some may lack, and its key."""
    if columns is None:
        return None
    added = [c for c in ("schema_version", "key") if c in SCHEMAS[name].names and c not in columns]
    there = set(file.schema_arrow.names)
    return [column for column in (*columns, *added) if column in there]


def _is_extra(table: pa.Table, column: str, expected: pa.Schema) -> bool:
    return column in table.column_names and column not in expected.names


def _version(table: pa.Table, name: str, path: Path) -> int:
    """Return the schema version that a part was written with.

    Raises:
        InputError: if it is a version that is not read any more, or not yet.
        DamagedPartError: if it says none.
    """
    if "schema_version" not in SCHEMAS[name].names:
        return SCHEMA_VERSION
    if "schema_version" not in table.column_names:
        raise DamagedPartError(path, "it has no column schema_version")
    versions = set(table["schema_version"].to_pylist())
    if any(not isinstance(version, int) for version in versions) or len(versions) > 1:
        raise DamagedPartError(path, "its column schema_version is not one number")
    version = min(versions, default=SCHEMA_VERSION)
    if not OLDEST_READABLE <= version <= SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}, of another version of ser_ray; this one reads {OLDEST_READABLE} to "
            f"{SCHEMA_VERSION}"
        )
    return int(version)


def _check_key(table: pa.Table, name: str, path: Path) -> None:
    """Raise DamagedPartError where a part holds rows of another trial than the one that it is named after."""
    if "key" not in SCHEMAS[name].names:
        return
    if "key" not in table.column_names:
        raise DamagedPartError(path, "it has no column key")
    others = set(table["key"].to_pylist()) - {path.name.removesuffix(PART)}
    if others:
        raise DamagedPartError(path, f"it holds rows of {', '.join(sorted(map(str, others)))[:80]}")


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table cast to a schema, its newer columns null and its version the present one."""
    columns = []
    for field in schema:
        if field.name == "schema_version":
            columns.append(pa.repeat(pa.scalar(SCHEMA_VERSION, field.type), len(table)))
        elif field.name in table.column_names:
            columns.append(table[field.name].cast(field.type))
        else:
            columns.append(pa.nulls(len(table), field.type))
    return pa.table(columns, schema=schema)


def _other_columns(path: Path, name: str, version: int) -> DamagedPartError:
    return DamagedPartError(path, f"it does not have the columns of {name} in schema version {version}")


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts kept in the metadata of a part.

    Args:
        path: the part.

    Returns:
        The texts given to `write_part`.

    Raises:
        InputError: if the file cannot be read, or is not there.
    """
    try:
        with opened_part(path) as file:
            metadata = file.schema_arrow.metadata or {}
            return {key.decode(): value.decode() for key, value in metadata.items() if not key.startswith(b"ARROW:")}
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be read (it is not there)") from error


def read_trial(path: Path) -> dict[str, Any]:
    """Return the row, as far as training can tell it, that predictions keep of their trial.

    Args:
        path: a part of `predictions`.

    Raises:
        InputError: if the file cannot be read, or says nothing of the trial that it is named after.
    """
    try:
        row = json.loads(read_metadata(path).get("trial", "null"))
    except json.JSONDecodeError as error:
        raise DamagedPartError(path, f"what it says of its trial is no JSON: {_brief(error)}") from error
    if not isinstance(row, dict):
        raise DamagedPartError(path, "it does not say which trial it belongs to")
    if row.get("key") != path.name.removesuffix(PART):
        raise DamagedPartError(path, f"it belongs to trial {str(row.get('key'))[:80]}")
    return row
