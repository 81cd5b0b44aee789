"""What a sweep file's `explore` holds: lists of values that go together, and designs by the overlap rule."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ser_ray.models.config import Count
from ser_ray.sweep.fields import Reader, dotted, field_paths, field_schema
from ser_ray.sweep.wording import closest_path, takes_lists
from ser_ray.sweep.yaml_file import KeyPath, shown
from ser_ray.trial import TrialConfig

MOST_CONFIGURATIONS = 100_000
"""More than this is taken for a slip in a range or a list."""

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


Item = Design | Together


def explorable() -> list[str]:
    """Return the dotted fields that a sweep can explore: the model's and the training's."""
    return [path for path in field_paths(TrialConfig) if not path.startswith("search.")]


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
    return tuple(item for item in items if item is not None)


def _read_item(reader: Reader, path: KeyPath) -> Item | None:
    given = reader.document.at(path)
    if not isinstance(given, dict) or not given:
        reader.wrong(
            path,
            f"{dotted(path)} is {shown(given)}, but must be a mapping: design, or dotted keys with lists of "
            "values, such as training.sequence_s: [6, 20]",
        )
        return None
    if "design" not in given:
        return _read_together(reader, path, given)
    others = [key for key in given if key != "design"]
    if others:
        reader.wrong(
            (*path, others[0]),
            f"{dotted(path)} has {others[0]} beside design; a design stands alone, give the rest an item of its own",
        )
    return reader.instance((*path, "design"), Design)


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
        reader.wrong(path, _not_explorable(path, key))
        return ()
    given = reader.document.at(path)
    if isinstance(given, dict):
        return _read_range(reader, path, key)
    if not isinstance(given, list) or not given:
        reader.wrong(
            path,
            f"{dotted(path)} is {shown(given)}, but must be a list of at least one value or a range "
            "{from: ..., to: ..., step: ...}",
        )
        return ()
    if takes_lists(field_schema(TrialConfig, key)) and not any(isinstance(value, list) for value in given):
        reader.wrong(
            path,
            f"{dotted(path)} is {shown(given)}, but each value of {key} is a list itself; write [{shown(given)}]",
        )
        return ()
    return tuple(reader.value((*path, index), TrialConfig, key) for index in range(len(given)))


def _not_explorable(path: KeyPath, key: str) -> str:
    place = dotted(path[:-1])
    if key.startswith("search"):
        return (
            f"{key} in {place} cannot be explored: every search runs on the same predictions; "
            "name them all in trial.search.methods"
        )
    first = key.split(".", maxsplit=1)[0]
    section = [known for known in explorable() if known.startswith(f"{first}.")]
    if key == first and section:
        return f"{key} in {place} is a section; explore one of its keys, such as {section[0]}"
    meant = closest_path(key, explorable())
    return f"unknown key {key} in {place}" + (meant or f" (known: {', '.join(section or explorable())})")


def _read_range(reader: Reader, path: KeyPath, key: str) -> tuple[Any, ...]:
    """Return the values of {from, to, step}, both ends included, without rounding errors."""
    before = len(reader.problems)
    given = reader.mapping(path, _RANGE)
    for name in _RANGE:
        if not _is_finite_number(given.get(name)):
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


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _refuse_overlaps(reader: Reader, items: list[Item | None]) -> None:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        for key in item.paths if item else ():
            if key in first:
                place: KeyPath = ("explore", index, "design" if isinstance(item, Design) else key)
                reader.wrong(
                    place,
                    f"{key} is explored by explore[{first[key]}] already; explore each key once",
                )
            first.setdefault(key, index)
