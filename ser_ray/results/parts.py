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

_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
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


def read_table(
    folder: SweepFolder,
    name: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read a table of a sweep, all parts that are there now.

    Args:
        folder: the sweep's folder.
        name: the table.
        keys: only these trials; all if None.
        columns: only these columns; all if None.

    Returns:
        The rows, in the order of the keys; no rows if there are no parts.

    Raises:
        InputError: if a part cannot be read or has another schema version, naming the file.
    """
    schema = SCHEMAS[name]
    wanted = folder.keys(name) if keys is None else folder.keys(name) & set(keys)
    read = (_read_part(folder.part(name, key), name, columns) for key in sorted(wanted))
    parts = [part for part in read if part is not None]
    if columns is not None:
        schema = pa.schema([schema.field(column) for column in columns])
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _read_part(path: Path, name: str, columns: Sequence[str] | None) -> pa.Table | None:
    schema = SCHEMAS[name]
    expected = schema if columns is None else pa.schema([schema.field(column) for column in columns])
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            there = set(file.schema_arrow.names)
            new = _new_columns(file, name)
            if new is None:
                raise _other_schema(path)
            table = file.read(columns=None if columns is None else [column for column in columns if column in there])
    except FileNotFoundError:
        return None  # taken away since the folder was listed, as a failed trial's row is when it is tried again
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read ({error}); delete it and run the sweep again to make it anew"
        ) from error
    if table.schema.names != [column for column in expected.names if column not in new]:
        raise _other_schema(path)
    try:
        return _completed(table.replace_schema_metadata(None), expected)
    except pa.ArrowException as error:
        raise _other_schema(path) from error


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table cast to a schema, its newer columns null and its version the present one."""
    columns = []
    for field in schema:
        if field.name == "schema_version":
            columns.append(pa.array([SCHEMA_VERSION] * len(table), field.type))
        elif field.name in table.column_names:
            columns.append(table[field.name].cast(field.type))
        else:
            columns.append(pa.nulls(len(table), field.type))
    return pa.table(columns, schema=schema)


def _new_columns(file: pq.ParquetFile, name: str) -> frozenset[str] | None:
    """Return the columns that a part lacks since it was written before them; None if its version cannot be read."""
    if "schema_version" not in SCHEMAS[name].names:
        return frozenset()
    if "schema_version" not in file.schema_arrow.names:
        return None
    versions = set(file.read(columns=["schema_version"])["schema_version"].to_pylist())
    if len(versions) > 1 or not all(OLDEST_READABLE <= (version or 0) <= SCHEMA_VERSION for version in versions):
        return None
    written = min(versions, default=SCHEMA_VERSION)
    return frozenset(c for version, tables in ADDED_COLUMNS.items() if version > written for c in tables.get(name, ()))


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
    except _UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({error})") from error
