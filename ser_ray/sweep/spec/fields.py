"""Fields of configuration classes, and the pydantic types of their forms in a sweep file."""

import dataclasses
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

FORM = "\0"  # occurs in no key: locations of errors contain both keys and forms


def field_types(owner: Any) -> dict[str, Any]:
    """Return the annotation of each field of a dataclass, in the order of the fields."""
    hints = typing.get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}


def dotted_types(owner: Any, prefix: str = "") -> dict[str, Any]:
    """Return the annotation of each field of a dataclass and of the dataclasses in it, by dotted name."""
    found: dict[str, Any] = {}
    for name, kind in field_types(owner).items():
        found |= dotted_types(kind, f"{prefix}{name}.") if dataclasses.is_dataclass(kind) else {prefix + name: kind}
    return found


def number_type(kind: Any) -> Any:
    """Return the type of a field's numbers, without None; None for a field that takes no numbers."""
    kinds = typing.get_args(kind) if type(None) in typing.get_args(kind) else [kind]
    return next((one for one in kinds if unannotated(one) in (int, float)), None)


def unannotated(kind: Any) -> Any:
    """Return a type without its annotations."""
    return kind.__origin__ if typing.get_origin(kind) is typing.Annotated else kind


def empty_if_null(given: Any) -> Any:
    """Convert null, a section without keys, to an empty mapping."""
    return {} if given is None else given


@dataclasses.dataclass(frozen=True)
class SchemaOf:
    """Annotation that makes pydantic validate a value with our schema; `make` gets its generator of schemas."""

    make: Callable[[Callable[[Any], CoreSchema]], CoreSchema]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema; pydantic calls this."""
        return self.make(handler.generate_schema)


def mapping_of(types: Mapping[str, Any], required: Collection[str] = ()) -> SchemaOf:
    """Create the annotation of a mapping with some of these keys and no others, kept in the order of the file.

    A type that is a dataclass stands for a mapping with some of its fields. Null counts as an empty mapping.
    """

    def in_order(given: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> dict[str, Any]:
        valid = validate(empty_if_null(given))
        return {key: valid[key] for key in given or ()}

    def make(generate: Callable[[Any], CoreSchema]) -> CoreSchema:
        fields = {
            key: core_schema.typed_dict_field(
                mapping_of(field_types(kind)).make(generate) if dataclasses.is_dataclass(kind) else generate(kind),
                required=key in required,
            )
            for key, kind in types.items()
        }
        schema = core_schema.typed_dict_schema(fields, extra_behavior="forbid")
        return core_schema.no_info_wrap_validator_function(in_order, schema)

    return SchemaOf(make)


def one_of(choose: Callable[[Any], str | None], forms: Mapping[str, Any], otherwise: str) -> SchemaOf:
    """Create the annotation of a value in one of several forms.

    `choose` returns the name of a value's form, or None; in that case `otherwise` is the text for what the value must
    be. In the locations of errors the name begins with FORM.
    """

    def tag(given: Any) -> str | None:
        name = choose(given)
        return name and FORM + name

    return SchemaOf(
        lambda generate: core_schema.tagged_union_schema(
            {FORM + name: generate(kind) for name, kind in forms.items()},
            tag,
            custom_error_type="must_be",
            custom_error_message=otherwise,
        )
    )


def converted(form: Any, kind: Any) -> SchemaOf:
    """Create the annotation of a value that is validated as a form, and the result as another type."""
    return SchemaOf(lambda generate: core_schema.chain_schema([generate(form), generate(kind)]))


def problem(text: str) -> PydanticCustomError:
    """Create the error of a value; its message is the dotted key and this text."""
    return PydanticCustomError("problem", text)
