"""Which trials the last run of a sweep planned: its folder also keeps those of earlier plans."""

import json
from collections.abc import Iterable

from ser_ray.errors import InputError
from ser_ray.results.folder import SweepFolder
from ser_ray.results.parts import write_whole
from ser_ray.results.set_aside import irregular


def write_planned(folder: SweepFolder, keys: Iterable[str]) -> None:
    """Write which trials a sweep plans, whole or not at all, in place of what an earlier run planned.

    Args:
        folder: the sweep's folder.
        keys: of all trials of the plan.

    Raises:
        OSError: if the disk is full or cannot be written; what was there before stays.
    """
    text = json.dumps({"trials": sorted(set(keys))}) + "\n"
    write_whole(folder, folder.plan_file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_planned(folder: SweepFolder) -> frozenset[str] | None:
    """Return the keys of the trials that the last run of a sweep planned; None where none has said so.

    Args:
        folder: the sweep's folder; the sweep may be running.

    Raises:
        InputError: if the file is damaged, naming it.
    """
    path = folder.plan_file
    reason = irregular(path)
    if reason is None:
        try:
            return _parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None  # of a run before there was such a file
        except OSError as error:
            reason = f"{error.strerror or error}"
        except ValueError as error:
            reason = f"{error}"
    raise InputError(
        f"{path} cannot be read ({reason}); delete it, or run the sweep again, which writes it anew: without it the "
        "trials of all plans are shown"
    )


def _parse(values: object) -> frozenset[str]:
    keys = values.get("trials") if isinstance(values, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError('no object with a list of keys, {"trials": ["..."]}')
    return frozenset(keys)
