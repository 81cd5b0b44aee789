"""The results of a sweep on disk: the schemas of all tables, and parts that are whole or absent.

A sweep's folder holds one parquet part per trial and table (`trials/<key>.parquet`, ...). A part is written under
`.tmp/` and renamed into its place, so that a reader never sees half a file, and nothing else lies in those folders: so
pandas, polars and duckdb read `trials/*.parquet` in one line, also while the sweep runs. Each table has one schema,
here in code; its version stands in every row. Ten thousand small files are read slowly: one file beside each folder
(`trials.parquet`) may hold the rows of most, and `read_table` takes them from there. Each process that runs the sweep
says in `drivers/` how far it is.
"""

from ser_ray.results.compact import compact, compact_if_worth, read_table
from ser_ray.results.damaged import Damage, find_damaged, set_damaged_aside
from ser_ray.results.drivers import Driver, read_drivers, write_driver
from ser_ray.results.folder import SweepFolder, open_sweep
from ser_ray.results.parts import DamagedPartError, make_table, read_metadata, read_trial, write_part, write_whole
from ser_ray.results.planned import read_planned, write_planned
from ser_ray.results.schemas import (
    CCC_COLUMNS,
    CROSSFIT_COLUMNS,
    EPOCHS,
    METHODS,
    POSTPROCESSING,
    PREDICTIONS,
    SCHEMA_VERSION,
    SCHEMAS,
    STAGES,
    STATUSES,
    TARGETS,
    TRIALS,
    ccc_column,
    crossfit_column,
)
from ser_ray.results.upgrade import upgrade_parts

__all__ = [
    "CCC_COLUMNS",
    "CROSSFIT_COLUMNS",
    "EPOCHS",
    "METHODS",
    "POSTPROCESSING",
    "PREDICTIONS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "STAGES",
    "STATUSES",
    "TARGETS",
    "TRIALS",
    "Damage",
    "DamagedPartError",
    "Driver",
    "SweepFolder",
    "ccc_column",
    "compact",
    "compact_if_worth",
    "crossfit_column",
    "find_damaged",
    "make_table",
    "open_sweep",
    "read_drivers",
    "read_metadata",
    "read_planned",
    "read_table",
    "read_trial",
    "set_damaged_aside",
    "upgrade_parts",
    "write_driver",
    "write_part",
    "write_planned",
    "write_whole",
]
