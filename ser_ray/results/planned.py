"""plan.json: the trials that the last run of a sweep planned; the folder also contains those of earlier plans."""

import json
from collections.abc import Iterable

from ser_ray.errors import InputError
from ser_ray.files import irregular, write_text
from ser_ray.results.folder import SweepFolder


def write_planned(folder: SweepFolder, keys: Iterable[str]) -> None:
    """Write the keys of the trials that a sweep plans, in place of those of an earlier run."""
    write_text(folder.plan_file, json.dumps({"trials": sorted(set(keys))}) + "\n", temporary_dir=folder.tmp)


def read_planned(folder: SweepFolder) -> frozenset[str] | None:
    """Read the keys of the trials that the last run planned; None if there is no plan.json.

    Raises:
        InputError: if plan.json is damaged.
    """
    path = folder.plan_file
    reason = irregular(path)
    if reason is None:
        try:
            return _parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"{error.strerror or error}"
        except ValueError as error:
            reason = f"{error}"
    raise InputError(
        f"{path} cannot be read ({reason}); run the sweep again to rewrite it, or delete it to show the trials of all "
        "plans"
    )


def _parse(values: object) -> frozenset[str]:
    keys = values.get("trials") if isinstance(values, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError('it is not an object with a list of keys, {"trials": ["..."]}')
    return frozenset(keys)
