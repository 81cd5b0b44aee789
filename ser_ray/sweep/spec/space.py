"""The values that an explored field may take: lists of them, and ranges that a search draws from."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

from pydantic import ConfigDict, Field, Strict, ValidationError
from pydantic.dataclasses import dataclass

from ser_ray.sweep.spec.document import KeyPath, shown
from ser_ray.sweep.spec.reading import Reader, dotted, field_paths, field_schema, plain_message
from ser_ray.sweep.spec.wording import allowed, closest, closest_path, kinds, takes_lists
from ser_ray.training.config import Positive
from ser_ray.trial import TrialConfig

MOST_CONFIGURATIONS = 100_000
"""More than this is taken for a slip in a range, a list or a count."""

WHOLE_FRAMES = ("training.sequence_s", "training.label_shift_s")
"""Times that must be whole frames of the corpus, so that a range of them needs a step."""

_SPAN = ("low", "high", "step", "log")
_DIGITS = 6
_MOST = 1e15  # up to here floats count without gaps
_CHANCE_BITS = 64


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Choices:
    """Values to choose from.

    Args:
        values: the values, each once.
    """

    values: Annotated[tuple[Any, ...], Field(min_length=1)]

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def ascending(self) -> bool:
        """Whether they are numbers that grow, so that neighbours are alike."""
        numbers = [value for value in self.values if is_finite_number(value)]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)

    @property
    def probes(self) -> tuple[Any, ...]:
        """The values that fit a corpus only if all do."""
        return self.values

    def drawn(self, chance: int) -> Any:
        """Return the value that a whole number, evenly spread over 64 bits, stands for."""
        return self.values[chance * self.size >> _CHANCE_BITS]

    def at(self, position: float) -> Any:
        """Return the value at a position, from 0."""
        return self.values[int(position)]

    def position(self, value: Any) -> int | None:
        """Return where a value stands, or None if it is none of them; lists count as tuples."""
        value = tuple(value) if isinstance(value, list) else value
        return self.values.index(value) if value in self.values else None

    def written(self) -> Any:
        """Return what a sweep file says of it."""
        return list(self.values)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Span:
    """A range of numbers to draw from, both ends included.

    Args:
        low: the least.
        high: the most, above low.
        step: draw only low and what lies whole steps above it; None draws any, of a whole number in steps of one.
        log: draw evenly over the logarithm: as often between 1e-5 and 1e-4 as between 1e-4 and 1e-3.
        whole: whether the field takes whole numbers.
    """

    low: int | float
    high: int | float
    step: Positive | None = None
    log: Annotated[bool, Strict()] = False
    whole: bool = False

    def __post_init__(self) -> None:
        """Refuse what holds no range."""
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}; a single value is a list: [{self.high}]")
        if self.log and self.step is not None:
            raise ValueError("log and step do not go together; leave one of them out")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}, but with log it must be above 0")
        if max(abs(self.low), abs(self.high)) > _MOST:
            raise ValueError(f"it goes beyond {_MOST:g}, which no field needs")
        if self.whole and self.step is not None and self.step != int(self.step):
            raise ValueError(f"step is {self.step:g}, but must be a whole number, as the field's values are")
        if self._grid is not None and self._count > _MOST:
            raise ValueError(f"it has more than {_MOST:g} steps of {self.step:g}; take larger ones")
        if self._grid is not None and (_decimal(self.high) - _decimal(self.low)) % self._grid:
            last = _decimal(self.low) + (self._count - 1) * self._grid
            near = " or ".join(f"{float(value):.15g}" for value in (last, last + self._grid))
            raise ValueError(
                f"its high {self.high} is not reached from {self.low} in steps of {float(self._grid):g}; end at {near}"
            )

    @property
    def size(self) -> int | None:
        """How many values there are; None if it has no steps."""
        if self._grid is not None:
            return self._count
        return int(self.high) - int(self.low) + 1 if self.whole else None

    @property
    def probes(self) -> tuple[Any, ...]:
        """The values that fit a corpus only if all do."""
        return (self.low, self.high) if self._grid is None else (self.low, self.at(1), self.high)

    def drawn(self, chance: int) -> Any:
        """Return the value that a whole number, evenly spread over 64 bits, stands for."""
        if self._grid is not None:
            return self.at(chance * self._count >> _CHANCE_BITS)
        share = (chance >> _CHANCE_BITS - 53) / 2**53
        first, last = float(self.low), float(self.high) + self.whole
        if self.log:
            value = math.exp(math.log(first) + share * (math.log(last) - math.log(first)))
        else:
            value = first + share * (last - first)
        return min(max(int(value), self.low), self.high) if self.whole else self.rounded(value)

    def rounded(self, value: float) -> float:
        """Return a value with six significant digits, so that what a listing shows is the value."""
        return min(max(float(f"{value:.{_DIGITS}g}"), float(self.low)), float(self.high))

    def at(self, position: float) -> Any:
        """Return the value so many steps above the least, without rounding errors; without steps, the value itself."""
        if self._grid is None:
            return int(position) if self.whole else self.rounded(position)
        value = _decimal(self.low) + int(position) * self._grid
        return int(value) if self.whole else float(value)

    def position(self, value: Any) -> float | None:
        """Return how many steps above the least a value is, or None if it is outside; without steps, itself."""
        if not is_finite_number(value) or not self.low <= value <= self.high or (self.whole and value != int(value)):
            return None
        if self._grid is None:
            return int(value) if self.whole else float(value)
        steps, rest = divmod(_decimal(value) - _decimal(self.low), self._grid)
        return None if rest else int(steps)

    def up_to(self, bound: float) -> "Choices | Span":
        """Return the part of the range up to a bound that is not below it, a single value if that is all."""
        if self._grid is not None:
            bound = self.at(float((_decimal(bound) - _decimal(self.low)) // self._grid))
        return dataclasses.replace(self, high=bound) if bound > self.low else Choices(values=(self.low,))

    def written(self) -> Any:
        """Return what a sweep file says of it."""
        said: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.step is not None:
            said["step"] = int(self.step) if self.whole else self.step
        return said | ({"log": True} if self.log else {})

    @property
    def _grid(self) -> Decimal | None:
        if self.step is not None:
            return Decimal(int(self.step)) if self.whole else _decimal(self.step)
        return Decimal(1) if self.whole and not self.log else None

    @property
    def _count(self) -> int:
        return int((_decimal(self.high) - _decimal(self.low)) / (self._grid or 1)) + 1


Axis = Choices | Span
Space = Mapping[str, Axis]
"""An axis for each explored field, by its dotted name."""


def size_of(space: Space) -> int | None:
    """Return how many configurations a space holds, or None if no number is the most."""
    sizes = [axis.size for axis in space.values()]
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def explorable() -> list[str]:
    """Return the dotted fields that a sweep can explore: the model's and the training's."""
    return [path for path in field_paths(TrialConfig) if not path.startswith("search.")]


def read_axis(reader: Reader, path: KeyPath, key: str) -> Axis | None:
    """Return the values that a search draws a field from, noting in the reader what is wrong with them.

    Args:
        reader: of the whole sweep file.
        path: where they stand.
        key: the field, dotted; one of `explorable`.

    Returns:
        A list as choices, {low, high, step, log} as a range; None if there are problems.
    """
    before = len(reader.problems)
    if isinstance(reader.document.at(path), dict):
        return _read_span(reader, path, key)
    values = read_list(reader, path, key, "{low: ..., high: ..., step: ...}")
    return None if len(reader.problems) > before else Choices(values=tuple(dict.fromkeys(values)))


def read_list(reader: Reader, path: KeyPath, key: str, range_form: str) -> tuple[Any, ...]:
    """Return a list of values of a field, each validated, noting in the reader what is wrong with them.

    Args:
        reader: of the whole sweep file.
        path: where the list stands.
        key: the field, dotted.
        range_form: how a range would be written there.

    Returns:
        The values; they stand for nothing if there are problems.
    """
    given = reader.document.at(path)
    if not isinstance(given, list) or not given:
        reader.wrong(
            path,
            f"{dotted(path)} is {shown(given)}, but must be a list of at least one value or a range {range_form}",
        )
        return ()
    if takes_lists(field_schema(TrialConfig, key)) and not any(isinstance(value, list) for value in given):
        reader.wrong(
            path,
            f"{dotted(path)} is {shown(given)}, but each value of {key} is a list itself; write [{shown(given)}]",
        )
        return ()
    return tuple(reader.value((*path, index), TrialConfig, key) for index in range(len(given)))


def not_explorable(path: KeyPath, key: str, beside: Sequence[str] = ()) -> str:
    """Return why a key cannot be explored and which may have been meant.

    Args:
        path: where it stands.
        key: the key.
        beside: other keys that may stand there.
    """
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
    meant = closest(key, beside) or closest_path(key, explorable())
    return f"unknown key {key} in {place}" + (meant or f" (known: {', '.join([*beside, *(section or explorable())])})")


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a number and no truth value, infinity or NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _read_span(reader: Reader, path: KeyPath, key: str) -> Span | None:
    before, given = len(reader.problems), reader.mapping(path, _SPAN)
    schema = field_schema(TrialConfig, key)
    if not kinds(schema) & {"integer", "number"}:
        reader.wrong(path, f"{dotted(path)} is {shown(given)}, but must be a list; each value {allowed(schema)}")
        return None
    ends = {name: _read_end(reader, (*path, name), key, given) for name in ("low", "high")}
    others = {name: reader.value((*path, name), Span, name) for name in ("step", "log") if name in given}
    if len(reader.problems) > before:
        return None
    try:
        span = Span(**ends, **others, whole="integer" in kinds(schema))
    except ValidationError as error:
        reader.wrong(path, f"{dotted(path)}: {plain_message(error)}")
        return None
    if key in WHOLE_FRAMES and span.size is None:
        reader.wrong(
            path,
            f"{dotted(path)} has no step, but {key} must be whole frames of the corpus; "
            "give it a step, such as step: 0.04, or a list of values",
        )
        return None
    return span


def _read_end(reader: Reader, path: KeyPath, key: str, given: Mapping[str, Any]) -> Any:
    name = path[-1]
    if is_finite_number(given.get(str(name))):
        return reader.validated(path, given[str(name)], TrialConfig, key)
    said = f"is {shown(given[str(name)])}" if name in given else "is missing"
    reader.wrong(path, f"{dotted(path)} {said}, but must be a number")
    return None


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))
