"""Validate a sweep file by pydantic; report mistakes with positions, keys, values and fixes."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ser_ray.errors import InputError
from ser_ray.sweep.spec.document import Document, KeyPath, closest, closest_path, shown
from ser_ray.sweep.spec.fields import FORM

T = TypeVar("T")
Schema = dict[str, Any]

BEYOND_USE = 10**6
"""Bounds from here on only keep absurd values out; messages name them for such values alone."""

_MOST_PROBLEMS = 5
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument", "is_instance_of")


def validate(adapter: TypeAdapter[T], data: dict[str, Any], document: Document) -> T:
    """Validate the data of a document as a type; raise InputError for all mistakes, in the order of the file."""
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        explain = _Explanation(document, adapter.json_schema())
        problems: dict[KeyPath, str] = {}
        for one in error.errors(include_url=False):
            if one["type"] == "too_short" and one["input"]:
                continue  # pydantic counts the valid values alone; the others have errors of their own
            problems.setdefault(explain.path(one["loc"]), explain.text(one))
    order = {path: number for number, path in enumerate(document.origins)}

    def line(path: KeyPath) -> int:
        return max(order.get(path[:length], -1) for length in range(len(path) + 1))

    raise input_error(document, sorted(problems.items(), key=lambda one: line(one[0])))


def input_error(document: Document, problems: Iterable[tuple[KeyPath, str]]) -> InputError:
    """Create the error for the problems of a document, with a line or a few for each of the first five."""
    lines = [f"{document.where(path)}: {text}" for path, text in problems]
    if len(lines) > _MOST_PROBLEMS:
        lines[_MOST_PROBLEMS:] = [f"and {len(lines) - _MOST_PROBLEMS} more"]
    return InputError("\n".join(lines))


def plain_message(error: ValidationError) -> str:
    """Return a configuration class's message about values that do not go together."""
    first = error.errors(include_url=False)[0]
    return str(first.get("ctx", {}).get("error", first["msg"]))


def dotted(path: KeyPath) -> str:
    """Format a path for messages, such as trial.model.kernels[1]."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class _Explanation:
    """Converts the errors of a validation to messages, by the document and the JSON schema of its type."""

    def __init__(self, document: Document, schema: Schema) -> None:
        self._document, self._schema = document, schema

    def path(self, loc: tuple[str | int, ...]) -> KeyPath:
        """Return the path of an error's key, as far as the document goes: without forms or steps of ranges."""
        path: KeyPath = ()
        value: Any = self._document.data
        for step in _steps(loc):
            if isinstance(step, int):
                if not isinstance(value, list) or step >= len(value):
                    break
                value = value[step]
            else:
                value = value.get(step) if isinstance(value, dict) else None
            path = (*path, step)
        return path

    def text(self, error: ErrorDetails) -> str:
        kind, path = error["type"], self.path(error["loc"])
        if kind in _UNKNOWN_KEY:
            return self._unknown(path, list(self._properties(self._at(error["loc"][:-1]))))
        if kind == "value_error":
            return f"{dotted(path)}: {error['ctx']['error']}"
        if kind == "problem":
            return f"{dotted(path)} {error['msg']}"
        if kind == "missing":
            return self._missing(path, self._at(error["loc"]))
        words = error["msg"] if kind == "must_be" else self._legal(error, self._at(error["loc"]))
        return f"{dotted(path)} is {shown(error['input'])}, but must be {words}"

    def _legal(self, error: ErrorDetails, schema: Schema) -> str:
        most = ""
        if error["type"] == "less_than_equal" and error["ctx"]["le"] >= BEYOND_USE:
            most = f" and at most {error['ctx']['le']:g}"
        return f"{allowed(schema)}{most}{fix(error['input'], schema)}"

    def _missing(self, path: KeyPath, schema: Schema) -> str:
        if path != ("name",):
            return f"{dotted(path)} is missing, but must be {allowed(schema)}"
        stem = Path(self._document.name).stem
        example = stem if stem.replace("-", "").replace("_", "").isalnum() else "my-sweep"
        return f"name is missing; begin the file with, for instance, name: {example}"

    def _at(self, loc: tuple[str | int, ...]) -> Schema:
        """Find the schema of a value, with references resolved."""
        schema = self._schema
        for step in _steps(loc):
            parts = list(alternatives(schema, self._schema))
            if isinstance(step, int):
                schema = next(part["items"] for part in parts if "items" in part)
            else:
                schema = next(part["properties"][step] for part in parts if step in part.get("properties", {}))
        return next(iter(alternatives(schema, self._schema))) if "$ref" in schema else schema

    def _properties(self, schema: Schema) -> dict[str, Schema]:
        parts = alternatives(schema, self._schema)
        return {key: inner for part in parts for key, inner in part.get("properties", {}).items()}

    def _keys(self, schema: Schema, path: KeyPath = ()) -> Iterator[KeyPath]:
        """Yield every key of the sweep file, except those within lists."""
        for key, inner in self._properties(schema).items():
            yield (*path, key)
            yield from self._keys(inner, (*path, key))

    def _unknown(self, path: KeyPath, known: list[str]) -> str:
        *parent, key = path
        fields = [name for name in known if "." in name]
        if fields:
            return self._not_explorable(tuple(parent), str(key), fields, [name for name in known if "." not in name])
        moved = [keys for keys in self._keys(self._schema) if keys[-1] == str(key).split(".")[-1]]
        if moved and len(moved[0]) == 1:
            meant = f"; {moved[0][0]} belongs at the top of the file"
        else:
            meant = f"; did you mean {dotted(moved[0])}?" if moved else closest(str(key), known)
        place = f" in {dotted(tuple(parent))}" if parent else ""
        return f"unknown key {key}{place}{meant} (known: {', '.join(known)})"

    def _not_explorable(self, parent: KeyPath, key: str, fields: list[str], options: list[str]) -> str:
        """Explain why a key does not belong in an item of explore or in one of its searches."""
        place = dotted(parent)
        alone = next((name for name in _value(self._document, parent) if name in options and name != key), None)
        if alone and len(parent) == 2:
            return (
                f"{place} has both {key} and {alone}; {alone} must be the only key of its item, so move the rest to "
                "another item"
            )
        if key.startswith("search"):
            return (
                f"{key} in {place} cannot be explored: all searches use the same predictions; list them in "
                "trial.search.methods"
            )
        first = key.split(".", maxsplit=1)[0]
        section = [name for name in fields if name.startswith(f"{first}.")]
        if key == first and section:
            return f"{key} in {place} is a section; explore one of its keys, such as {section[0]}"
        meant = closest(key, options) or closest_path(key, fields)
        return f"unknown key {key} in {place}" + (meant or f" (known: {', '.join([*options, *(section or fields)])})")


def _value(document: Document, path: KeyPath) -> Any:
    value: Any = document.data
    for step in path:
        value = value[step]
    return value


def _steps(loc: tuple[str | int, ...]) -> list[str | int]:
    """Remove the names of forms from a location."""
    return [step for step in loc if not str(step).startswith(FORM)]


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
    if isinstance(value, str) and numeric:
        with contextlib.suppress(ValueError):
            float(value)
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
