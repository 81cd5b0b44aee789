"""Damaged parts of a sweep, which are found and set aside before the sweep goes on."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ser_ray.files import set_aside
from ser_ray.results.folder import SweepFolder
from ser_ray.results.parts import DamagedPartError, opened_part, read_part, read_trial
from ser_ray.results.schemas import SCHEMAS, STATUSES
from ser_ray.results.tables import COMPACTED_TABLES, compacted_keys

_THREADS = 8  # most of the time is spent waiting for a file system


@dataclass(frozen=True)
class Damage:
    """A part that cannot be used, with the reason in a few words."""

    table: str
    key: str
    reason: str


def find_damaged(folder: SweepFolder) -> tuple[Damage, ...]:
    """Find the damaged parts of a sweep, in the order of tables and keys; its folder need not exist.

    Raises:
        InputError: if a part has another schema version, or the file system cannot read it.
    """
    found: dict[str, dict[str, Damage]] = {}
    for table in (name for name in SCHEMAS if name != "predictions"):
        compacted = compacted_keys(folder, table) if table in COMPACTED_TABLES else frozenset()
        found[table] = _check_parts(
            folder, table, dict.fromkeys(folder.keys(table), True) | dict.fromkeys(compacted, False)
        )
    # predictions are large: they are read whole only if a search will read them, since row or chains are missing
    searched = [folder.keys(table) - found[table].keys() for table in ("trials", "postprocessing")]
    whole = {key: not all(key in keys for keys in searched) for key in folder.keys("predictions")}
    found["predictions"] = _check_parts(folder, "predictions", whole)
    return tuple(damage for table in found for _, damage in sorted(found[table].items()))


def set_damaged_aside(folder: SweepFolder, damage: Damage) -> Path | None:
    """Move a damaged part to the folder `damaged`; return its new path.

    Returns None if the part is intact again, or missing, since another driver has repaired it.

    Raises:
        OSError: if it cannot be moved.
    """
    if _check_part(folder, damage.table, damage.key, whole=True) is None:
        return None
    try:
        return set_aside(folder.part(damage.table, damage.key), folder.damaged(damage.table, damage.key))
    except FileNotFoundError:
        return None


def _check_parts(folder: SweepFolder, table: str, whole: Mapping[str, bool]) -> dict[str, Damage]:
    """Find the damaged parts among some of a table, each read whole or only at its end."""
    with ThreadPoolExecutor(_THREADS) as pool:
        checked: Iterable[Damage | None] = pool.map(
            lambda key: _check_part(folder, table, key, whole=whole[key]), whole
        )
        return {damage.key: damage for damage in checked if damage is not None}


def _check_part(folder: SweepFolder, table: str, key: str, *, whole: bool) -> Damage | None:
    path = folder.part(table, key)
    try:
        with opened_part(path) as file:
            if not file.metadata.num_rows:
                raise DamagedPartError(path, "it has no row")
        if table == "predictions":
            read_trial(path)
        rows = read_part(path, table) if whole else None
        if rows is not None and table == "trials":
            _check_row(rows, path)
    except FileNotFoundError:
        return None  # deleted meanwhile
    except DamagedPartError as error:
        return Damage(table, key, error.reason)
    return None


def _check_row(rows: pa.Table, path: Path) -> None:
    if len(rows) > 1:
        raise DamagedPartError(path, f"it has {len(rows)} rows of one trial")
    status, config = rows["status"][0].as_py(), rows["config"][0].as_py()
    if status not in STATUSES:
        raise DamagedPartError(path, f"its column status is {status!r}")
    try:
        is_object = isinstance(json.loads(config or ""), dict)
    except json.JSONDecodeError:
        is_object = False
    if not is_object:
        raise DamagedPartError(path, "its column config is not a JSON object")
