"""Parts of tables: written whole or not at all, read as they are there."""

import math
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.errors import InputError
from ser_ray.results.folder import SweepFolder
from ser_ray.results.schemas import ADDED_COLUMNS, OLDEST_READABLE, SCHEMA_VERSION, SCHEMAS

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for a file that is no parquet file, or a damaged one."""


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
        OSError: if the disk is full or cannot be written; nothing is left at `path` that was not there before.
    """
    folder.tmp.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.tmp / f"{path.name}.{secrets.token_hex(6)}"
    try:
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
        InputError: if it cannot be read or has another schema version, naming the file.
    """
    expected = table_schema(name, columns)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns=_to_read(file, name, columns)).replace_schema_metadata(None)
    except FileNotFoundError:
        return None  # taken away since the folder was listed, as a failed trial's row is when it is tried again
    except UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read ({error}); delete it and run the sweep again to make it anew"
        ) from error
    written = _version(table, name)
    if written is None:
        raise _other_schema(path)
    if "schema_version" not in expected.names and "schema_version" in table.column_names:
        table = table.drop_columns(["schema_version"])
    new = {c for version, tables in ADDED_COLUMNS.items() if version > written for c in tables.get(name, ())}
    if table.column_names != [column for column in expected.names if column not in new]:
        raise _other_schema(path)
    if written == SCHEMA_VERSION and table.schema.equals(expected):
        return pa.Table.from_arrays(table.columns, schema=expected)
    try:
        return _completed(table, expected)
    except pa.ArrowException as error:
        raise _other_schema(path) from error


def table_schema(name: str, columns: Sequence[str] | None = None) -> pa.Schema:
    """Return the schema of a table, or of some of its columns."""
    schema = SCHEMAS[name]
    return schema if columns is None else pa.schema([schema.field(column) for column in columns])


def no_rows(name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a table, or some of its columns, without rows."""
    # schema.empty_table() would import pandas, which takes longer than all that a reader does
    return pa.Table.from_batches([], schema=table_schema(name, columns))


def _to_read(file: pq.ParquetFile, name: str, columns: Sequence[str] | None) -> list[str] | None:
    """Return the columns to read of a part: those that are there, and its version, which says what may be missing."""
    if columns is None:
        return None
    version = [c for c in ("schema_version",) if c in SCHEMAS[name].names and c not in columns]
    there = set(file.schema_arrow.names)
    return [column for column in (*columns, *version) if column in there]


def _version(table: pa.Table, name: str) -> int | None:
    """Return the schema version that a part was written with; None if it is not read any more, or not yet."""
    if "schema_version" not in SCHEMAS[name].names:
        return SCHEMA_VERSION
    if "schema_version" not in table.column_names:
        return None
    versions = set(table["schema_version"].to_pylist())
    if len(versions) > 1 or not all(OLDEST_READABLE <= (version or 0) <= SCHEMA_VERSION for version in versions):
        return None
    return min(versions, default=SCHEMA_VERSION)


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


def _other_schema(path: Path) -> InputError:
    return InputError(
        f"{path} does not have the columns of this table's schema version {SCHEMA_VERSION}; "
        "it was written by another version of ser_ray"
    )


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts kept in the metadata of a part.

    Args:
        path: the part.

    Returns:
        The texts given to `write_part`.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        return {key.decode(): value.decode() for key, value in metadata.items() if not key.startswith(b"ARROW:")}
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({error})") from error
