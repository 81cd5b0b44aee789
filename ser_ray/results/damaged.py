"""Parts that are damaged: found before a sweep goes on in their folder, and set aside."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ser_ray.results.compact import LISTED, held_keys
from ser_ray.results.folder import SweepFolder
from ser_ray.results.parts import DamagedPartError, opened_part, read_part, read_trial
from ser_ray.results.schemas import SCHEMAS, STATUSES
from ser_ray.results.set_aside import set_aside

_AT_A_TIME = 8
"""So many parts are looked at side by side: most of the time goes by waiting for a file system."""


@dataclass(frozen=True)
class Damage:
    """A part that cannot be used.

    Args:
        table: the table that it is in.
        key: of the trial.
        reason: why, in a few words.
    """

    table: str
    key: str
    reason: str


def find_damaged(folder: SweepFolder) -> tuple[Damage, ...]:
    """Return the damaged parts of a sweep, in the order of tables and keys.

    Parts of `predictions` are large: they are read whole where a search is about to read them, since their trial has no
    row or no chains yet, and of the others only what stands at their end.

    Args:
        folder: the sweep's folder; it need not exist.

    Raises:
        InputError: if a part is of a version that is not read, or its file system does not give it.
    """
    found: dict[str, dict[str, Damage]] = {}
    for table in (name for name in SCHEMAS if name != "predictions"):
        held = held_keys(folder, table) if table in LISTED else frozenset()
        found[table] = _look_at(folder, table, dict.fromkeys(folder.keys(table), True) | dict.fromkeys(held, False))
    searched = [folder.keys(table) - found[table].keys() for table in ("trials", "postprocessing")]
    whole = {key: not all(key in keys for keys in searched) for key in folder.keys("predictions")}
    found["predictions"] = _look_at(folder, "predictions", whole)
    return tuple(damage for table in found for _, damage in sorted(found[table].items()))


def set_damaged_aside(folder: SweepFolder, damage: Damage) -> Path | None:
    """Move a damaged part to the folder `damaged`.

    Args:
        folder: the sweep's folder.
        damage: the part.

    Returns:
        Where it is now; None if it is not damaged any more, or gone, since another driver has seen to it.

    Raises:
        OSError: if it cannot be moved.
    """
    if _look(folder, damage.table, damage.key, whole=True) is None:
        return None
    try:
        return set_aside(folder.part(damage.table, damage.key), folder.damaged(damage.table, damage.key))
    except FileNotFoundError:
        return None


def _look_at(folder: SweepFolder, table: str, whole: Mapping[str, bool]) -> dict[str, Damage]:
    """Return the damaged ones of some parts of a table.

    Args:
        folder: the sweep's folder.
        table: the table.
        whole: key -> whether the part is read whole.
    """
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        looked: Iterable[Damage | None] = pool.map(lambda key: _look(folder, table, key, whole=whole[key]), whole)
        return {damage.key: damage for damage in looked if damage is not None}


def _look(folder: SweepFolder, table: str, key: str, *, whole: bool) -> Damage | None:
    path = folder.part(table, key)
    try:
        with opened_part(path) as file:
            if not file.metadata.num_rows:
                raise DamagedPartError(path, "it holds no row")
        if table == "predictions":
            read_trial(path)
        rows = read_part(path, table) if whole else None
        if rows is not None:
            _check_rows(rows, table, path)
    except FileNotFoundError:
        return None  # taken away meanwhile
    except DamagedPartError as error:
        return Damage(table, key, error.reason)
    return None


def _check_rows(rows: pa.Table, table: str, path: Path) -> None:
    """Raise DamagedPartError where rows are not such as their table has."""
    if table != "trials":
        return
    if len(rows) > 1:
        raise DamagedPartError(path, f"it holds {len(rows)} rows of one trial")
    status, config = rows["status"][0].as_py(), rows["config"][0].as_py()
    if status not in STATUSES:
        raise DamagedPartError(path, f"its column status is {status!r}")
    try:
        whole = isinstance(json.loads(config or ""), dict)
    except json.JSONDecodeError:
        whole = False
    if not whole:
        raise DamagedPartError(path, "its column config is no JSON object")
