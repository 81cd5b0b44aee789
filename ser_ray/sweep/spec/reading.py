"""Fields of configuration classes, read from a document; what is wrong is said in the user's terms."""

import dataclasses
import functools
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ser_ray.errors import InputError
from ser_ray.sweep.spec.document import Document, KeyPath, shown
from ser_ray.sweep.spec.wording import BEYOND_USE, Schema, allowed, closest, mending, of_items

T = TypeVar("T")

_MOST_PROBLEMS = 5


class Reader:
    """Reads values from a document and collects what is wrong with them.

    A value returned after a problem was found stands for nothing: `finish` raises before it can be used.

    Args:
        document: what to read.
        elsewhere: dotted keys of the whole sweep file, offered for a key that stands in the wrong place.
    """

    def __init__(self, document: Document, elsewhere: Sequence[str] = ()) -> None:
        self.document = document
        self.elsewhere = elsewhere
        self.problems: list[str] = []

    def finish(self) -> None:
        """Refuse the document if it has problems.

        Raises:
            InputError: with one line or a few per problem.
        """
        if not self.problems:
            return
        lines = self.problems[:_MOST_PROBLEMS]
        if len(self.problems) > _MOST_PROBLEMS:
            lines.append(f"and {len(self.problems) - _MOST_PROBLEMS} more")
        raise InputError("\n".join(lines))

    def wrong(self, path: KeyPath, text: str) -> None:
        """Note a problem at a path."""
        self.problems.append(f"{self.document.where(path)}: {text}")

    def mapping(self, path: KeyPath, known: Sequence[str]) -> dict[str, Any]:
        """Return the known keys of a mapping and note the unknown ones.

        Args:
            path: where the mapping stands; an empty section (null) counts as one without keys.
            known: the keys it may have.

        Returns:
            Its values by known key.
        """
        given = self.document.at(path)
        if given is None:
            return {}
        if not isinstance(given, dict):
            self.wrong(
                path,
                f"{dotted(path)} is {shown(given)}, but must be a mapping with keys of {', '.join(known)}",
            )
            return {}
        for key in given:
            if key not in known:
                self.wrong((*path, key), self._unknown(path, key, known))
        return {key: value for key, value in given.items() if key in known}

    def _unknown(self, path: KeyPath, key: str, known: Sequence[str]) -> str:
        place = f" in {dotted(path)}" if path else ""
        last = key.split(".")[-1:]
        moved = [other for other in self.elsewhere if other.split(".")[-1:] == last]
        if moved and "." not in moved[0]:
            meant = f"; {moved[0]} belongs at the top of the file"
        else:
            meant = f"; did you mean {moved[0]}?" if moved else closest(key, known)
        return f"unknown key {key}{place}{meant} (known: {', '.join(known)})"

    def fields(self, path: KeyPath, owner: type) -> dict[str, Any]:
        """Return the given fields of a configuration class, each validated by its own type.

        Args:
            path: where their mapping stands.
            owner: a dataclass; fields that are dataclasses themselves are read the same way.

        Returns:
            Validated values of the fields that are given, nested for nested classes.
        """
        types = field_types(owner)
        values = {}
        for key in self.mapping(path, tuple(types)):
            if dataclasses.is_dataclass(types[key]):
                values[key] = self.fields((*path, key), types[key])
            else:
                values[key] = self.value((*path, key), owner, key)
        return values

    def instance(self, path: KeyPath, owner: type[T]) -> T | None:
        """Return a configuration object from its mapping, or None if that has problems."""
        before = len(self.problems)
        fields = self.fields(path, owner)
        if len(self.problems) > before:
            return None
        try:
            return owner(**fields)
        except ValidationError as error:
            self.wrong(path, f"{dotted(path)}: {plain_message(error)}")
            return None

    def value(self, path: KeyPath, owner: type, key: str) -> Any:
        """Return the value at a path, validated as a field of a configuration class.

        Args:
            path: where the value stands.
            owner: the class.
            key: the field, dotted for a field of a nested class.

        Returns:
            The validated value: lists as tuples, whole numbers as floats where a float is wanted.
        """
        return self.validated(path, self.document.at(path), owner, key)

    def validated(self, path: KeyPath, given: Any, owner: type, key: str) -> Any:
        """Return a value that came from a path, such as one step of a range, validated likewise."""
        adapter = _adapter(owner, key)
        try:
            return adapter.validate_python(given)
        except ValidationError as error:
            self._wrong_value(path, given, error.errors(include_url=False)[0], adapter)
            return None

    def _wrong_value(self, path: KeyPath, given: Any, error: Any, adapter: TypeAdapter[Any]) -> None:
        schema, value, most = adapter.json_schema(), given, ""
        if error["type"] == "less_than_equal" and error["ctx"]["le"] >= BEYOND_USE:
            most = f" and at most {error['ctx']['le']:g}"
        for step in error["loc"]:
            if isinstance(step, int):
                schema = of_items(schema)
                if isinstance(value, list) and step < len(value):
                    path, value = (*path, step), value[step]
        self.wrong(
            path, f"{dotted(path)} is {shown(value)}, but must be {allowed(schema)}{most}{mending(value, schema)}"
        )


def plain_message(error: ValidationError) -> str:
    """Return what a configuration class said about values that do not go together."""
    first = error.errors(include_url=False)[0]
    return str(first.get("ctx", {}).get("error", first["msg"]))


def dotted(path: KeyPath) -> str:
    """Return a path as messages show it, such as trial.model.kernels[1]."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def field_types(owner: type) -> dict[str, Any]:
    """Return the annotation of each field of a dataclass, in the order of the fields."""
    hints = typing.get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}


def field_paths(owner: type, prefix: str = "") -> list[str]:
    """Return the dotted name of each field of a dataclass and of the dataclasses in it."""
    paths = []
    for name, annotation in field_types(owner).items():
        if dataclasses.is_dataclass(annotation):
            paths += field_paths(typing.cast(type, annotation), f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths


@functools.cache
def _adapter(owner: type, key: str) -> TypeAdapter[Any]:
    *sections, name = key.split(".")
    for section in sections:
        owner = field_types(owner)[section]
    return TypeAdapter(field_types(owner)[name])


def field_schema(owner: type, key: str) -> Schema:
    """Return the JSON schema of a field, dotted for a field of a nested class."""
    return _adapter(owner, key).json_schema()
