"""Items of a sweep file's `explore`: lists of values that go together, designs by the overlap rule, and searches."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, WrapValidator
from pydantic.dataclasses import dataclass
from pydantic_core import core_schema
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from ser_ray.models.config import Count
from ser_ray.sweep.spec.document import KeyPath, shown
from ser_ray.sweep.spec.fields import (
    SchemaOf,
    converted,
    empty_if_null,
    field_types,
    mapping_of,
    number_type,
    one_of,
    problem,
)
from ser_ray.sweep.spec.space import (
    EXPLORABLE,
    MOST_CONFIGURATIONS,
    Axis,
    list_or_range,
    search_type,
    values_type,
)

_RANGE = ("from", "to", "step")


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _unchanged(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    validate(given)
    return given


Ratio = Annotated[float, Strict(), Field(ge=0, lt=1)]
Ratios = Annotated[tuple[Ratio, ...], Field(min_length=1), BeforeValidator(_listed)]
_End = Annotated[float, Strict(), Field(allow_inf_nan=False), WrapValidator(_unchanged)]  # keeps whole numbers whole


DESIGN_FIELDS = ("model.kernels", "model.pools", "model.width_ms", "model.hop_ms")
"""The fields that a design may set."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Design:
    """Networks under the overlap rule: all pools that multiply to the hop, kernels from the ratio (Eq. 2).

    The first layer is the front end: of a filterbank the pool is the hop, and the rule's window the width.
    """

    hop: Count | None = None  # samples of one output frame; None takes the corpus's
    layers: Count = 3
    smallest_pool: Count = 2
    largest_pool: Count | None = None
    overlap_ratio: Ratios = (0.4,)  # each layer's kernel comes as close to it as it can
    count: Count | None = None  # number of pools to keep, evenly spread over their order; the same for every ratio

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields of a trial that it sets."""
        return DESIGN_FIELDS

    def place(self, path: str) -> KeyPath:
        """Return the path of one of its fields within the item."""
        return ("design",)

    def __post_init__(self) -> None:
        """Refuse bounds that leave nothing between them."""
        if self.largest_pool is not None and self.largest_pool < self.smallest_pool:
            raise ValueError(f"largest_pool {self.largest_pool} is below smallest_pool {self.smallest_pool}")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Together:
    """Fields of a trial with their values to try: the first values go together, then the second, and so on.

    `values` maps dotted fields, such as "training.sequence_s", to equally many values each.
    """

    values: dict[str, tuple[Any, ...]]

    def __post_init__(self) -> None:
        """Refuse lists of different lengths."""
        if len({len(listed) for listed in self.values.values()}) > 1:
            counts = ", ".join(f"{key} has {len(listed)}" for key, listed in self.values.items())
            raise ValueError(
                f"lists in one item are paired and need the same number of values, but {counts}; to combine all "
                "values, put each list in an item of its own"
            )

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields of a trial that it sets."""
        return tuple(self.values)

    def place(self, path: str) -> KeyPath:
        """Return the path of one of its fields within the item."""
        return (path,)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Search:
    """Search of `count` configurations: the values of each dotted field are taken from its axis of the space."""

    kind: ClassVar[str]

    count: Annotated[int, Strict(), Field(ge=1, le=MOST_CONFIGURATIONS)]
    seed: Annotated[int, Strict(), Field(ge=0)] = 0
    space: Annotated[dict[str, Axis], Field(min_length=1)]

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields of a trial that it sets."""
        return tuple(self.space)

    @property
    def options(self) -> dict[str, Any]:
        """Its keys and values, except those of explored fields."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "space"}

    def place(self, path: str) -> KeyPath:
        """Return the path of one of its fields within the item."""
        return (self.kind, path)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RandomSearch(Search):
    """Configurations drawn at random before the sweep begins."""

    kind: ClassVar[str] = "random"

    def draws(self) -> Iterator[dict[str, Any]]:
        """Yield the values of each draw by field.

        A value depends only on the seed, the number of the draw and the name of the field: further draws and further
        fields leave the existing ones as they are.
        """
        for number in range(self.count):
            yield {path: axis.drawn(_chance(self.seed, number, path)) for path, axis in self.space.items()}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class GuidedSearch(Search):
    """Configurations proposed while the sweep runs, based on the results of earlier ones."""

    kind: ClassVar[str] = "guided"

    startup: Count = 10  # until there are this many results, configurations are drawn at random


def _read_search(owner: type[RandomSearch] | type[GuidedSearch], given: dict[str, Any]) -> Search:
    options = {key: value for key, value in given.items() if key not in EXPLORABLE}
    space = {key: value for key, value in given.items() if key in EXPLORABLE}
    if not space:
        raise problem("has no field; add one, such as model.hidden: [64, 128, 256]")
    return owner(**options, space=space)


def _spread(given: dict[str, Any]) -> list[int | float]:
    """List the values of {from, to, step}, both ends included, without rounding errors."""
    first, last, step = (Decimal(repr(given[name])) for name in _RANGE)
    if step <= 0 or last < first:
        raise problem(f"is {shown(given)}, but a range must increase: step above 0, to not below from")
    steps = int((last - first) / step)
    if steps >= MOST_CONFIGURATIONS:
        raise problem(f"has {steps + 1} values; at most {MOST_CONFIGURATIONS} are allowed")
    if first + steps * step != last:
        near = f"{first + steps * step} or {first + (steps + 1) * step}"
        raise problem(f"does not reach its end {last} in steps of {step}; end at {near}")
    whole = all(isinstance(given[name], int) for name in _RANGE)
    values = [first + index * step for index in range(steps + 1)]
    return [int(value) if whole else float(value) for value in values]


def _together_type(path: str, kind: Any) -> Any:
    """Create the type of a field's values in an item whose fields go together."""
    values = values_type(path, kind)
    if number_type(kind) is None:
        return values
    ends = Annotated[Any, mapping_of(dict.fromkeys(_RANGE, _End), required=_RANGE), AfterValidator(_spread)]
    return list_or_range(values, Annotated[Any, converted(ends, values)], "{from: ..., to: ..., step: ...}")


def _search_type(owner: type[RandomSearch] | type[GuidedSearch]) -> Any:
    options = {name: kind for name, kind in field_types(owner).items() if name != "space"}
    space = {path: search_type(path, kind) for path, kind in EXPLORABLE.items()}
    search = Annotated[
        Any, mapping_of(options | space, required=("count",)), AfterValidator(functools.partial(_read_search, owner))
    ]
    otherwise = (
        "a mapping of count and dotted keys with lists or ranges, such as "
        "{count: 20, training.learning_rate: {low: 1e-5, high: 1e-2, log: true}}"
    )
    return Annotated[
        Any, one_of(lambda given: "search" if isinstance(given, dict) else None, {"search": search}, otherwise)
    ]


def _alone(kind: str, type_: Any) -> Any:
    """Create the type of an item with a single key, validated to the value of that key."""
    return Annotated[Any, mapping_of({kind: type_}), AfterValidator(lambda given: given[kind])]


def _form(given: Any) -> str | None:
    if isinstance(given, Item):
        return "made"
    if not isinstance(given, dict) or not given:
        return None
    return next((kind for kind in ("design", "random", "guided") if kind in given), "together")


Item = Design | Together | RandomSearch | GuidedSearch
ITEM_FORMS = one_of(
    _form,
    {
        "made": Annotated[Any, SchemaOf(lambda generate: core_schema.is_instance_schema(Item))],
        "design": _alone("design", Annotated[Design, BeforeValidator(empty_if_null)]),
        "random": _alone("random", _search_type(RandomSearch)),
        "guided": _alone("guided", _search_type(GuidedSearch)),
        "together": Annotated[
            Any,
            mapping_of({path: _together_type(path, kind) for path, kind in EXPLORABLE.items()}),
            AfterValidator(lambda given: Together(values=given)),
        ],
    },
    "a mapping: design, random, guided, or dotted keys with lists of values, such as training.sequence_s: [6, 20]",
)
"""The forms of an item of explore: those of a sweep file, and an item object itself."""


def _chance(seed: int, number: int, path: str) -> int:
    """Hash one field of one draw to a whole number, evenly spread over 64 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{path}".encode()).digest()[:8], "big")
