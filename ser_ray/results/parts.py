"""Parts of tables: one parquet file per trial and table, written atomically and checked when it is read."""

import contextlib
import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.errors import InputError
from ser_ray.files import FILE_SYSTEM_ERRORS, irregular, whole_file
from ser_ray.results.folder import PART, SweepFolder
from ser_ray.results.schemas import SCHEMA_VERSION, SCHEMAS

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""Exceptions of pyarrow for a file that is no parquet file, or a damaged one."""


class DamagedPartError(InputError):
    """A part that cannot be read, or has wrong contents; `reason` is a few words."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        """Format the message, with the way to repair the part."""
        again = "run the sweep again to set it aside and restore it"
        if self.path.parent.name == "predictions":  # a sweep that goes on does not read again those already used
            files = map(str, (self.path, self.path.parent.parent / "trials" / self.path.name))
            again = f"to restore it from its checkpoint: rm -f {shlex.join(files)}, and run the sweep again"
        return f"{self.path} cannot be read ({self.reason}); {again}"


def make_table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Convert rows to a table of the schema `name`; missing columns and NaN become null.

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
        values = {
            column: None if isinstance(value, float) and math.isnan(value) else value for column, value in row.items()
        }
        if "schema_version" in known:
            values.setdefault("schema_version", SCHEMA_VERSION)
        clean.append(values)
    return pa.Table.from_pylist(clean, schema=schema)


def write_part(
    folder: SweepFolder,
    name: str,
    key: str,
    table: pa.Table,
    *,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write one trial's part of a table atomically; return its path.

    Raises:
        OSError: if it cannot be written; an earlier part is unchanged.
    """
    table = table.cast(SCHEMAS[name])
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    path = folder.part(name, key)
    with whole_file(path, temporary_dir=folder.tmp) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return path


def read_part(
    path: Path, name: str, columns: Sequence[str] | None = None, *, of_one_trial: bool = True
) -> pa.Table | None:
    """Read the rows of a part, all columns or some; None if there is no such file.

    Raises:
        DamagedPartError: if it is damaged, or not a part of this table, or (`of_one_trial`) not of the trial that it is
            named after.
        InputError: if it has another schema version, or the file system cannot read it.
    """
    expected = table_schema(name, columns)
    try:
        with opened_part(path) as file:
            table = file.read(columns=_to_read(file, name, columns)).replace_schema_metadata(None)
    except FileNotFoundError:
        return None  # deleted since the folder was listed, as a failed trial's row is when it is tried again
    _check_version(table, name, path)
    if of_one_trial:
        _check_key(table, name, path)
        if not len(table) and name in ("trials", "postprocessing"):  # the others may have no rows: no epoch, no frame
            raise DamagedPartError(path, "it has no row")
    table = table.drop_columns(
        [c for c in ("schema_version", "key") if c in table.column_names and c not in expected.names]
    )
    if table.column_names == expected.names:
        if table.schema.equals(expected):
            return pa.Table.from_arrays(table.columns, schema=expected)
        with contextlib.suppress(pa.ArrowException):
            return table.cast(expected)
    raise DamagedPartError(path, f"its columns are not those of {name} in schema version {SCHEMA_VERSION}")


@contextlib.contextmanager
def opened_part(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a part, which is read inside the context.

    Raises:
        FileNotFoundError: if there is none.
        DamagedPartError: if it is no parquet file, or a damaged one, also if that shows only inside the context.
        InputError: if the file system cannot read it.
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
            raise InputError(f"{path} cannot be read: {error}; check its file system, and try again") from error
        raise DamagedPartError(path, _brief(error)) from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def table_schema(name: str, columns: Sequence[str] | None = None) -> pa.Schema:
    """Return the schema of a table, or of some of its columns."""
    schema = SCHEMAS[name]
    return schema if columns is None else pa.schema([schema.field(column) for column in columns])


def no_rows(name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Make an empty table, with all of its columns or some."""
    # schema.empty_table() would import pandas, which takes longer than the whole reading
    return pa.Table.from_batches([], schema=table_schema(name, columns))


def _to_read(file: pq.ParquetFile, name: str, columns: Sequence[str] | None) -> list[str] | None:
    """List the columns to read, with those that are checked: schema_version and key."""
    if columns is None:
        return None
    checked = [c for c in ("schema_version", "key") if c in SCHEMAS[name].names and c not in columns]
    return [column for column in (*columns, *checked) if column in file.schema_arrow.names]


def _check_version(table: pa.Table, name: str, path: Path) -> None:
    if "schema_version" not in SCHEMAS[name].names:
        return
    if "schema_version" not in table.column_names:
        raise DamagedPartError(path, "it has no column schema_version")
    versions = set(table["schema_version"].to_pylist())
    if any(not isinstance(version, int) for version in versions) or len(versions) > 1:
        raise DamagedPartError(path, "its column schema_version is not one number")
    if versions - {SCHEMA_VERSION}:
        raise InputError(
            f"{path} has schema version {versions.pop()}, which another version of ser_ray wrote; this version reads "
            f"{SCHEMA_VERSION}: run the sweep again in another folder (--results DIR), where its trials are trained "
            "again"
        )


def _check_key(table: pa.Table, name: str, path: Path) -> None:
    if "key" not in SCHEMAS[name].names:
        return
    if "key" not in table.column_names:
        raise DamagedPartError(path, "it has no column key")
    others = set(table["key"].to_pylist()) - {path.name.removesuffix(PART)}
    if others:
        raise DamagedPartError(path, f"it has rows of {', '.join(sorted(map(str, others)))[:80]}")


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts that `write_part` stored in the metadata of a part.

    Raises:
        InputError: if the file cannot be read, or does not exist.
    """
    try:
        with opened_part(path) as file:
            metadata = file.schema_arrow.metadata or {}
            return {key.decode(): value.decode() for key, value in metadata.items() if not key.startswith(b"ARROW:")}
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be read (it does not exist)") from error


def read_trial(path: Path) -> dict[str, Any]:
    """Read the trial's row of `trials`, as far as training fills it, from a part of `predictions`.

    Raises:
        InputError: if the file cannot be read, or contains no row of the trial that it is named after.
    """
    try:
        row = json.loads(read_metadata(path).get("trial", "null"))
    except json.JSONDecodeError as error:
        raise DamagedPartError(path, f"the row of its trial is not JSON: {_brief(error)}") from error
    if not isinstance(row, dict):
        raise DamagedPartError(path, "it has no row of its trial")
    if row.get("key") != path.name.removesuffix(PART):
        raise DamagedPartError(path, f"it belongs to trial {str(row.get('key'))[:80]}")
    return row
