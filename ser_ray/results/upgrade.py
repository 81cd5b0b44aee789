"""Parts that an earlier version of ser_ray wrote, brought to the present schema.

All parts of a table must have the same columns, or polars and duckdb cannot read them together: a sweep that goes on
in a folder of an earlier version upgrades it first.
"""

from ser_ray.results.compact import read_table
from ser_ray.results.folder import SweepFolder
from ser_ray.results.parts import opened_part, write_part
from ser_ray.results.schemas import SCHEMA_VERSION, SCHEMAS


def upgrade_parts(folder: SweepFolder) -> int:
    """Write parts of earlier schema versions anew, with the columns that they lack as nulls; return how many.

    Args:
        folder: a sweep's folder, in which nothing runs.

    Raises:
        InputError: if a part cannot be read, or is of a version that is not read any more.
        OSError: if a part cannot be written.
    """
    versioned = [name for name, schema in SCHEMAS.items() if "schema_version" in schema.names]
    outdated = [(name, key) for name in versioned for key in folder.keys(name) if _is_outdated(folder, name, key)]
    for name, key in outdated:
        write_part(folder, name, key, read_table(folder, name, keys=[key]))
    return len(outdated)


def _is_outdated(folder: SweepFolder, name: str, key: str) -> bool:
    # whole columns are never compared here: what the footer says is enough to tell, and reading stays cheap
    try:
        with opened_part(folder.part(name, key)) as file:
            version = file.schema_arrow.get_field_index("schema_version")
            if version < 0 or not file.num_row_groups:
                return False
            statistics = file.metadata.row_group(0).column(version).statistics
            latest = statistics.max if statistics is not None and statistics.has_min_max else None
    except FileNotFoundError:
        return False
    return isinstance(latest, int) and latest < SCHEMA_VERSION
