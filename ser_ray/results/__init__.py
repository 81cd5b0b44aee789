"""The results of a sweep on disk: the schemas of all tables, and parts that are whole or absent.

A sweep's folder holds one parquet part per trial and table (`trials/<key>.parquet`, ...). A part is written under
`.tmp/` and renamed into its place, so that a reader never sees half a file, and nothing else lies in those folders: so
pandas, polars and duckdb read `trials/*.parquet` in one line, also while the sweep runs. Each table has one schema,
here in code; its version stands in every row.
"""

from ser_ray.results.folder import SweepFolder, open_sweep
from ser_ray.results.parts import make_table, read_metadata, read_table, write_part, write_whole
from ser_ray.results.schemas import (
    CCC_COLUMNS,
    EPOCHS,
    POSTPROCESSING,
    PREDICTIONS,
    SCHEMA_VERSION,
    SCHEMAS,
    STAGES,
    STATUSES,
    TARGETS,
    TRIALS,
    ccc_column,
)
from ser_ray.results.upgrade import upgrade_parts

__all__ = [
    "CCC_COLUMNS",
    "EPOCHS",
    "POSTPROCESSING",
    "PREDICTIONS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "STAGES",
    "STATUSES",
    "TARGETS",
    "TRIALS",
    "SweepFolder",
    "ccc_column",
    "make_table",
    "open_sweep",
    "read_metadata",
    "read_table",
    "upgrade_parts",
    "write_part",
    "write_whole",
]
