"""Keep a sweep's rows of trials and epochs in this folder, one file each, without the names of hosts.

    python results/keep.py results/NAME results/KEPT

Predictions are never kept: they hold a corpus's gold.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.results import open_sweep, read_table


def main() -> None:
    """Copy the two tables."""
    folder, out = open_sweep(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name in ("trials", "epochs"):
        table = read_table(folder, name)
        if "host" in table.column_names:
            index = table.column_names.index("host")
            table = table.set_column(index, "host", pa.nulls(len(table), pa.string()))
        pq.write_table(table, out / f"{name}.parquet", compression="zstd")
        print(f"{out / name}.parquet: {len(table)} rows")


if __name__ == "__main__":
    main()
