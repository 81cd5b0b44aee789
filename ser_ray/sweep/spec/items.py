"""What a sweep file's `explore` holds: lists of values that go together, designs by the overlap rule, and searches."""

import dataclasses
import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ser_ray.models.config import Count
from ser_ray.sweep.spec.document import KeyPath, shown
from ser_ray.sweep.spec.reading import Reader, dotted
from ser_ray.sweep.spec.space import (
    MOST_CONFIGURATIONS,
    Axis,
    explorable,
    is_finite_number,
    not_explorable,
    read_axis,
    read_list,
)
from ser_ray.trial import TrialConfig

_DESIGNED = ("model.kernels", "model.pools")
_RANGE = ("from", "to", "step")


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Ratio = Annotated[float, Strict(), Field(ge=0, lt=1)]
Ratios = Annotated[tuple[Ratio, ...], Field(min_length=1), BeforeValidator(_listed)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Design:
    """Networks under the overlap rule: all pools that make the hop, kernels from the ratio (Eq. 2).

    Args:
        hop: samples of one output frame; None takes the corpus's.
        layers: convolutions, as many as the model has channels.
        smallest_pool: the smallest pool allowed.
        largest_pool: the largest pool allowed; None allows any.
        overlap_ratio: the ratios that each layer's kernel should come closest to, each in [0, 1).
        count: take only so many of the pools, evenly spread over their ascending order; every ratio gets the same.
    """

    hop: Count | None = None
    layers: Count = 3
    smallest_pool: Count = 2
    largest_pool: Count | None = None
    overlap_ratio: Ratios = (0.4,)
    count: Count | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields of a trial that it sets."""
        return _DESIGNED

    def place(self, path: str) -> KeyPath:
        """Where in the item one of its fields stands."""
        return ("design",)

    def __post_init__(self) -> None:
        """Refuse bounds that leave nothing between them."""
        if self.largest_pool is not None and self.largest_pool < self.smallest_pool:
            raise ValueError(f"largest_pool {self.largest_pool} is below smallest_pool {self.smallest_pool}")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Together:
    """Fields of a trial and their values to try: the first of each go together, then the second, and so on.

    Args:
        values: validated values by dotted field, such as "training.sequence_s"; equally many for each.
    """

    values: dict[str, tuple[Any, ...]]

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields of a trial that it sets."""
        return tuple(self.values)

    def place(self, path: str) -> KeyPath:
        """Where in the item one of its fields stands."""
        return (path,)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Search:
    """Fields of a trial and what their values are taken from, all fields together each time.

    Args:
        count: how many configurations are taken.
        seed: of the choice.
        space: what the values of each dotted field are taken from.
    """

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
        """What it says beside its fields, by key."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "space"}

    def place(self, path: str) -> KeyPath:
        """Where in the item one of its fields stands."""
        return (self.kind, path)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RandomSearch(Search):
    """Configurations drawn at random before the sweep begins; see Search."""

    kind: ClassVar[str] = "random"

    def draws(self) -> Iterator[dict[str, Any]]:
        """Yield the values of each draw by field.

        They follow from the seed, the number of the draw and the name of the field: further draws and further fields
        leave those that were there as they are.
        """
        for number in range(self.count):
            yield {path: axis.drawn(_chance(self.seed, number, path)) for path, axis in self.space.items()}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class GuidedSearch(Search):
    """Configurations proposed while the sweep runs, by what came out of those before; see Search.

    Args:
        startup: results that are waited for before they guide; until then configurations are drawn at random.
    """

    kind: ClassVar[str] = "guided"

    startup: Count = 10


Item = Design | Together | RandomSearch | GuidedSearch
_ALONE = {"design": "a design", "random": "a random search", "guided": "a guided search"}


def read_items(reader: Reader) -> tuple[Item, ...]:
    """Return the items of `explore`, noting in the reader what is wrong with them.

    Args:
        reader: of the whole sweep file.

    Returns:
        The items in their order; those with problems are left out.
    """
    given = reader.document.data.get("explore")
    if given is None:
        return ()
    if not isinstance(given, list):
        reader.wrong(
            ("explore",),
            f"explore is {shown(given)}, but must be a list of items; begin each with '- '",
        )
        return ()
    items = [_read_item(reader, ("explore", index)) for index in range(len(given))]
    _refuse_overlaps(reader, items)
    for index, item in enumerate(items):
        if isinstance(item, GuidedSearch) and len(items) > 1:
            reader.wrong(
                ("explore", index, "guided"),
                f"explore[{index}].guided proposes whole configurations and must be the only item of explore; "
                "give it the other keys too, or use random, which multiplies with other items",
            )
    return tuple(item for item in items if item is not None)


def _read_item(reader: Reader, path: KeyPath) -> Item | None:
    given = reader.document.at(path)
    if not isinstance(given, dict) or not given:
        reader.wrong(
            path,
            f"{dotted(path)} is {shown(given)}, but must be a mapping: design, random, guided, or dotted keys with "
            "lists of values, such as training.sequence_s: [6, 20]",
        )
        return None
    kind = next((kind for kind in _ALONE if kind in given), None)
    if kind is None:
        return _read_together(reader, path, given)
    others = [key for key in given if key != kind]
    if others:
        reader.wrong(
            (*path, others[0]),
            f"{dotted(path)} has {others[0]} beside {kind}; {_ALONE[kind]} stands alone, "
            "give the rest an item of its own",
        )
    if kind == "design":
        return reader.instance((*path, kind), Design)
    return _read_search(reader, (*path, kind), RandomSearch if kind == "random" else GuidedSearch)


def _read_search(
    reader: Reader, path: KeyPath, owner: type[RandomSearch] | type[GuidedSearch]
) -> RandomSearch | GuidedSearch | None:
    before, given = len(reader.problems), reader.document.at(path)
    if not isinstance(given, dict):
        reader.wrong(
            path,
            f"{dotted(path)} is {shown(given)}, but must be a mapping of count and dotted keys with lists or ranges, "
            "such as {count: 20, training.learning_rate: {low: 1e-5, high: 1e-2, log: true}}",
        )
        return None
    options = [field.name for field in dataclasses.fields(owner) if field.name != "space"]
    values: dict[str, Any] = {}
    space: dict[str, Axis] = {}
    for key in given:
        if key in options:
            values[key] = reader.value((*path, key), owner, key)
        elif key in explorable():
            axis = read_axis(reader, (*path, key), key)
            space |= {key: axis} if axis else {}
        else:
            reader.wrong((*path, key), not_explorable((*path, key), key, options))
    if "count" not in given:
        reader.wrong(path, f"{dotted(path)} has no count; say how many to try, such as count: 20")
    if not space and len(reader.problems) == before:
        reader.wrong(path, f"{dotted(path)} names no field; give it one, such as model.hidden: [64, 128, 256]")
    return None if len(reader.problems) > before else owner(**values, space=space)


def _read_together(reader: Reader, path: KeyPath, given: dict[str, Any]) -> Together | None:
    before = len(reader.problems)
    values = {key: _read_values(reader, (*path, key), key) for key in given}
    if len(reader.problems) > before:
        return None
    counts = {key: len(listed) for key, listed in values.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{key} has {count}" for key, count in counts.items())
        reader.wrong(
            path,
            f"{dotted(path)}: lists of one item go together and need equally many values, but {said}; "
            "to combine each with each, give them items of their own",
        )
        return None
    return Together(values=values)


def _read_values(reader: Reader, path: KeyPath, key: str) -> tuple[Any, ...]:
    if key not in explorable():
        reader.wrong(path, not_explorable(path, key))
        return ()
    if isinstance(reader.document.at(path), dict):
        return _read_range(reader, path, key)
    return read_list(reader, path, key, "{from: ..., to: ..., step: ...}")


def _read_range(reader: Reader, path: KeyPath, key: str) -> tuple[Any, ...]:
    """Return the values of {from, to, step}, both ends included, without rounding errors."""
    before = len(reader.problems)
    given = reader.mapping(path, _RANGE)
    for name in _RANGE:
        if not is_finite_number(given.get(name)):
            said = f"is {shown(given[name])}" if name in given else "is missing"
            reader.wrong((*path, name), f"{dotted((*path, name))} {said}, but must be a number")
    if len(reader.problems) > before:
        return ()
    first, last, step = (Decimal(repr(given[name])) for name in _RANGE)
    if step <= 0 or last < first:
        reader.wrong(
            path,
            f"{dotted(path)} is {shown(given)}, but a range goes upwards: step above 0, to not below from",
        )
        return ()
    steps = int((last - first) / step)
    if steps >= MOST_CONFIGURATIONS:
        reader.wrong(path, f"{dotted(path)} has {steps + 1} values; at most {MOST_CONFIGURATIONS} are planned")
        return ()
    if first + steps * step != last:
        near = f"{first + steps * step} or {first + (steps + 1) * step}"
        reader.wrong(path, f"{dotted(path)} does not reach its end {last} in steps of {step}; end at {near}")
        return ()
    whole = all(isinstance(given[name], int) for name in _RANGE)
    values = [first + index * step for index in range(steps + 1)]
    return _each_valid(reader, path, key, [int(value) if whole else float(value) for value in values])


def _each_valid(reader: Reader, path: KeyPath, key: str, values: list[Any]) -> tuple[Any, ...]:
    before, valid = len(reader.problems), []
    for value in values:
        valid.append(reader.validated(path, value, TrialConfig, key))
        if len(reader.problems) > before:
            break
    return tuple(valid)


def _refuse_overlaps(reader: Reader, items: list[Item | None]) -> None:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        for key in item.paths if item else ():
            if key in first:
                place = item.place(key) if item else ()
                reader.wrong(
                    ("explore", index, *place),
                    f"{key} is explored by explore[{first[key]}] already; explore each key once",
                )
            first.setdefault(key, index)


def _chance(seed: int, number: int, path: str) -> int:
    """Return a whole number, evenly spread over 64 bits, that belongs to one field of one draw."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{path}".encode()).digest()[:8], "big")
