"""Changes to a sweep file from the command line: --set KEY=VALUE."""

import copy
from collections.abc import Sequence
from typing import Any

from ser_ray.errors import InputError
from ser_ray.sweep.spec.document import Document, KeyPath, parse_value, shortened
from ser_ray.sweep.spec.wording import closest_path


def override(document: Document, assignments: Sequence[str], keys: Sequence[str]) -> Document:
    """Replace values of a document by texts KEY=VALUE, in their order; messages then name the option as their origin.

    KEY is one of the dotted `keys` from the top of the file (schedule.max_hours) or from within `trial`
    (training.epochs). VALUE is read as YAML. Raises InputError for any other key, naming the closest one.
    """
    data = copy.deepcopy(document.data)
    origins = dict(document.origins)
    for assignment in assignments:
        option = f"--set {shortened(assignment, 200)}"
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"{option}: no '='; write --set KEY=VALUE, such as --set training.epochs=5")
        path = _path(key.strip(), option, keys)
        _put(data, path, parse_value(value, option), option)
        origins = {known: place for known, place in origins.items() if known[: len(path)] != path}
        origins[path] = option
    return Document(document.name, data, origins)


def _path(key: str, option: str, keys: Sequence[str]) -> KeyPath:
    for full in (key, f"trial.{key}"):
        if full in keys:
            return tuple(full.split("."))
    inner = [known for known in keys if known.startswith((f"{key}.", f"trial.{key}."))]
    short = [known.removeprefix("trial.") for known in keys]
    if inner:
        raise InputError(f"{option}: {key} is a section; set one of its keys, such as {inner[0]}")
    if key.startswith("explore"):
        raise InputError(
            f"{option}: explore is a list and can only be set as a whole, such as "
            "--set 'explore=[{training.sequence_s: [6, 20]}]'; to plan fewer trials, set schedule.max_configurations"
        )
    meant = closest_path(key, short)
    raise InputError(f"{option}: unknown key {key}" + (meant or f" (known: {', '.join(short)})"))


def _put(data: dict[str, Any], path: KeyPath, value: Any, option: str) -> None:
    for depth, step in enumerate(path[:-1]):
        inner = data.get(str(step))
        if inner is None:
            inner = data[str(step)] = {}
        if not isinstance(inner, dict):
            section = ".".join(map(str, path[: depth + 1]))
            raise InputError(f"{option}: {section} is not a mapping in the sweep file; correct that first")
        data = inner
    data[str(path[-1])] = value
