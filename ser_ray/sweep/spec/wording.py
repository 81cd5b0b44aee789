"""Describe the allowed values of a type in words, from its JSON schema, and suggest fixes of wrong values."""

import difflib
import math
from collections.abc import Iterable, Iterator
from typing import Any

Schema = dict[str, Any]

BEYOND_USE = 10**6
"""Bounds from here on only keep absurd values out; messages name them for such values alone."""


def allowed(schema: Schema) -> str:
    """Describe in words what a schema allows, such as "a whole number of at least 1 or null"."""
    if "properties" in schema:
        return f"a mapping with keys of {', '.join(schema['properties'])}"
    if "description" in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return " or ".join(allowed(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if schema["type"] == "array":
        return f"a list{' of at least one' if schema.get('minItems') else ''}, each {allowed(schema['items'])}"
    words = {"integer": "a whole number", "number": "a number", "string": "a string", "boolean": "true or false"}
    return words.get(schema["type"], "null") + _bounds(schema)


def alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """Yield the members of a union schema, with references into `root` resolved; else the schema itself."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    parts = schema.get("anyOf", schema.get("oneOf"))
    if parts is None:
        yield schema
    for part in parts or ():
        yield from alternatives(part, root)


def closest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word closest to one, as "; did you mean X?", or nothing if none is close."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.55)
    return f"; did you mean {near[0]}?" if near else ""


def closest_path(key: str, known: Iterable[str]) -> str:
    """Suggest the dotted key closest to one, as "; did you mean X?", or nothing if none is close.

    The closest is the same name elsewhere, else the closest name in the same section, else the closest key.
    """
    *section, last = key.split(".")
    names = [(path.split(".")[:-1], path.split(".")[-1], path) for path in known]
    beside = {name: path for place, name, path in names if place == section}
    near = [path for _, name, path in names if name == last]
    near += [beside[name] for name in difflib.get_close_matches(last, beside, n=1, cutoff=0.55)]
    if near or (section and beside):
        return f"; did you mean {near[0]}?" if near else ""
    return closest(key, [path for _, _, path in names])


def fix(value: Any, schema: Schema) -> str:
    """Suggest a fix for a value that a schema without references refuses, or nothing if none is known."""
    parts = list(alternatives(schema, schema))
    types = {part.get("type") for part in parts}
    words = [str(word) for part in parts for word in part.get("enum", [])]
    numeric = bool(types & {"integer", "number"})
    if isinstance(value, list):
        return "; put lists of values to try under explore" if numeric else ""
    if value is None or isinstance(value, dict):
        return ""
    if numeric and isinstance(value, float) and not math.isfinite(value):
        return "; infinity and NaN are not allowed"
    if words:
        return closest(value, words) if isinstance(value, str) else ""
    if isinstance(value, str) and numeric and _is_number(value):
        return f"; write {value} without quotes"
    found = {
        "array": _listed(value, parts[0]),
        "string": "" if isinstance(value, str) else f'; write "{value}" in quotes',
        "null": "; write null" if str(value).lower() == "none" else "",
    }
    return next((text for kind, text in found.items() if kind in types), "")


def _listed(value: Any, schema: Schema) -> str:
    """Suggest writing a single value as a list, or a list of lists, where such a list is allowed."""
    depth = 0
    while schema.get("type") == "array":
        schema, depth = schema["items"], depth + 1
    return f"; write {'[' * depth}{value}{']' * depth}" if "type" in schema else ""


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    found = [f"{word} {schema[key]:g}" for key, word in words.items() if abs(schema.get(key, BEYOND_USE)) < BEYOND_USE]
    return " " + " and ".join(found) if found else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
