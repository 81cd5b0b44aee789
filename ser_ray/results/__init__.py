"""The results of a sweep on disk: the schemas of all tables, and parts that are written atomically.

A sweep's folder contains one parquet part per trial and table (`trials/<key>.parquet`, ...). The folders of tables
contain nothing else: pandas, polars and duckdb read `trials/*.parquet` in one line, also while the sweep runs.
"""

from ser_ray.results.damaged import Damage, find_damaged, set_damaged_aside
from ser_ray.results.drivers import DriverStatus, read_drivers, write_driver
from ser_ray.results.folder import SweepFolder, find_key, open_sweep, read_planned, write_planned
from ser_ray.results.parts import DamagedPartError, make_table, read_metadata, read_trial, write_part
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
from ser_ray.results.tables import compact, compact_if_worth, compact_tables, is_kept, read_table

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
    "DriverStatus",
    "SweepFolder",
    "ccc_column",
    "compact",
    "compact_if_worth",
    "compact_tables",
    "crossfit_column",
    "find_damaged",
    "find_key",
    "is_kept",
    "make_table",
    "open_sweep",
    "read_drivers",
    "read_metadata",
    "read_planned",
    "read_table",
    "read_trial",
    "set_damaged_aside",
    "write_driver",
    "write_part",
    "write_planned",
]
