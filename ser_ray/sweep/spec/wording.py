"""What a value may be, in words, from the JSON schema of its type; and how to put a wrong one right."""

import difflib
import math
from collections.abc import Callable, Iterable
from typing import Any

Schema = dict[str, Any]


def allowed(schema: Schema) -> str:
    """Return in words what a schema allows, such as "a whole number of at least 1 or null"."""
    if "description" in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return " or ".join(allowed(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    words: dict[str, Callable[[], str]] = {
        "array": lambda: (
            f"a list{' of at least one' if schema.get('minItems') else ''}, each {allowed(schema['items'])}"
        ),
        "integer": lambda: "a whole number" + _bounds(schema),
        "number": lambda: "a number" + _bounds(schema),
        "string": lambda: "a text",
        "boolean": lambda: "true or false",
        "null": lambda: "null",
    }
    return words[schema["type"]]()


def closest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known word nearest to one, or nothing if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.55)
    return f"; did you mean {near[0]}?" if near else ""


def closest_path(key: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the dotted key nearest to one, or nothing if none is near.

    Args:
        key: what was given.
        known: the dotted keys that exist.

    Returns:
        The same name elsewhere, else the nearest name in the same section, else the nearest key.
    """
    *section, last = key.split(".")
    names = [(path.split(".")[:-1], path.split(".")[-1], path) for path in known]
    beside = {name: path for place, name, path in names if place == section}
    near = [path for _, name, path in names if name == last]
    near += [beside[name] for name in difflib.get_close_matches(last, beside, n=1, cutoff=0.55)]
    if near or (section and beside):
        return f"; did you mean {near[0]}?" if near else ""
    return closest(key, [path for _, _, path in names])


def of_items(schema: Schema) -> Schema:
    """Return what a schema of lists says of their items; another schema as it is."""
    return next((part["items"] for part in _alternatives(schema) if "items" in part), schema)


def kinds(schema: Schema) -> set[str]:
    """Return the types that a schema allows, such as {"integer", "null"}."""
    return {str(part["type"]) for part in _alternatives(schema) if "type" in part}


def takes_lists(schema: Schema) -> bool:
    """Return whether a schema allows lists."""
    return "array" in kinds(schema)


def mending(value: Any, schema: Schema) -> str:
    """Return how to put right a value that a schema refuses, or nothing where that cannot be told."""
    types = kinds(schema)
    numeric = bool(types & {"integer", "number"})
    if isinstance(value, str):
        return _mending_text(value, schema, numeric, "null" in types)
    if isinstance(value, list):
        return "; lists of values to try go under explore" if numeric else ""
    if numeric and isinstance(value, float) and not math.isfinite(value):
        return "; infinite and undefined numbers are refused"
    if value is None or isinstance(value, dict) or _words(schema):
        return ""
    if takes_lists(schema):
        return f"; write [{value}]"
    return f'; write "{value}" in quotes' if "string" in types else ""


def _mending_text(value: str, schema: Schema, numeric: bool, nullable: bool) -> str:
    if _words(schema):
        return closest(value, _words(schema))
    if numeric and _is_number(value):
        return f"; write {value} without quotes"
    if takes_lists(schema):
        return f"; write [{value}]"
    return "; write null" if nullable and value.lower() == "none" else ""


def _least(schema: Schema) -> str:
    return " of at least one" if schema.get("minItems") else ""


def _words(schema: Schema) -> list[str]:
    return [str(word) for part in _alternatives(schema) for word in part.get("enum", [])]


BEYOND_USE = 10**6
"""Bounds from here on keep absurd values out; they are told of those alone."""


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    said = [f"{word} {schema[key]:g}" for key, word in words.items() if abs(schema.get(key, BEYOND_USE)) < BEYOND_USE]
    return " " + " and ".join(said) if said else ""


def _alternatives(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf", [schema]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
