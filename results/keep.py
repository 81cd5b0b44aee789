"""Keep a sweep's rows of trials and epochs in this folder, one file each, without the names of hosts.

    python results/keep.py results/NAME results/KEPT
    python results/keep.py --add-columns results/KEPT...

After a column was added to a table, --add-columns adds it to rows that were kept before, where it is null.
Predictions are never kept: they hold a corpus's gold.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.errors import InputError
from ser_ray.files import whole_file
from ser_ray.process import guarded
from ser_ray.results import SCHEMA_VERSION, SCHEMAS, SweepFolder, is_kept, open_sweep, read_table

TABLES = ("trials", "epochs")


def main(argv: Sequence[str] | None = None) -> int:
    """Keep the rows of a sweep, or add columns to rows that are kept."""
    match list(sys.argv[1:] if argv is None else argv):
        case ["--add-columns", *folders] if folders:
            for folder in folders:
                add_columns(SweepFolder(Path(folder)))
        case [sweep, out] if not sweep.startswith("-"):
            keep(open_sweep(sweep), SweepFolder(Path(out)))
        case _:
            raise InputError("keep.py takes SWEEP KEPT, or --add-columns KEPT...")
    return 0


def keep(sweep: SweepFolder, kept: SweepFolder) -> None:
    """Copy the two tables of a sweep."""
    for name in TABLES:
        table = read_table(sweep, name)
        if "host" in table.column_names:
            index = table.column_names.index("host")
            table = table.set_column(index, "host", pa.nulls(len(table), pa.string()))
        write(table, kept.compacted(name))
        print(f"{kept.compacted(name)}: {len(table)} rows")


def add_columns(kept: SweepFolder) -> None:
    """Add to the files of a kept folder the columns that they lack, as null, in the order of the schema.

    Raises:
        InputError: if it is no kept folder, or lacking columns are not all that is wrong with it; no file is changed.
    """
    tables = {name: read_any(kept, name) for name in TABLES}
    for name, table in tables.items():
        path, schema = kept.compacted(name), SCHEMAS[name]
        lacking = [column for column in schema.names if column not in table.column_names]
        if table.column_names != schema.names:
            rows = len(table)
            columns = [pa.nulls(rows, f.type) if f.name in lacking else table[f.name] for f in schema]
            write(pa.Table.from_arrays(columns, schema=schema), path)
        print(f"{path}: {f'added {lacking}' if lacking else 'has all columns'}")


def read_any(kept: SweepFolder, name: str) -> pa.Table:
    """Read a kept table, whatever columns of the schema it has; raise InputError for other columns or rows."""
    path, schema = kept.compacted(name), SCHEMAS[name]
    if not is_kept(kept, name):
        raise InputError(f"{path} is no file of kept rows; a sweep's own parts are made again when it goes on")
    table = pq.read_table(path)
    unknown = sorted(set(table.column_names) - set(schema.names))
    if unknown:
        raise InputError(f"{path} has columns that {name} lacks: {', '.join(unknown)}")
    for field in table.schema:
        if field.type != schema.field(field.name).type:
            raise InputError(f"{path}: {field.name} is {field.type}, but must be {schema.field(field.name).type}")
    versions = table["schema_version"].to_pylist() if "schema_version" in table.column_names else [None]
    for version in set(versions) - {SCHEMA_VERSION}:
        raise InputError(f"{path} has rows of schema version {version}, but must have {SCHEMA_VERSION}")
    return table


def write(table: pa.Table, path: Path) -> None:
    """Write a file of rows, whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


if __name__ == "__main__":
    sys.exit(guarded(main))
