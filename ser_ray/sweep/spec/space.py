"""The values that an explored field may take: lists, and ranges that a search draws from."""

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ser_ray.sweep.spec.document import shown
from ser_ray.sweep.spec.fields import (
    dotted_types,
    field_types,
    mapping_of,
    number_type,
    one_of,
    problem,
    unannotated,
)
from ser_ray.training.config import Positive
from ser_ray.trial import TrialConfig

MOST_CONFIGURATIONS = 100_000
"""More configurations than this are taken for a mistake in a range, a list or a count."""

WHOLE_FRAMES = ("training.sequence_s", "training.label_shift_s")
"""Times that must be whole frames of the corpus, so that a range of them needs a step."""

EXPLORABLE = {path: kind for path, kind in dotted_types(TrialConfig).items() if not path.startswith("search.")}
"""The types of the fields that a sweep can explore, by dotted name: the model's and the training's."""

_DIGITS = 6
_MOST = 1e15  # up to here floats represent every whole number
_CHANCE_BITS = 64


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Choices:
    """Distinct values to choose from."""

    values: Annotated[tuple[Any, ...], Field(min_length=1)]

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)

    @property
    def ascending(self) -> bool:
        """Whether they are ascending numbers, so that neighbours are similar."""
        numbers = [value for value in self.values if is_finite_number(value)]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)

    @property
    def probes(self) -> tuple[Any, ...]:
        """Values to check against a corpus: if they fit, all values do."""
        return self.values

    def drawn(self, chance: int) -> Any:
        """Return the value for `chance`, a whole number that is evenly spread over 64 bits."""
        return self.values[chance * self.size >> _CHANCE_BITS]

    def at(self, position: float) -> Any:
        """Return the value at a position, from 0."""
        return self.values[int(position)]

    def position(self, value: Any) -> int | None:
        """Return the position of a value, or None if it is none of them; lists count as tuples."""
        value = tuple(value) if isinstance(value, list) else value
        return self.values.index(value) if value in self.values else None

    def written(self) -> Any:
        """Return its form in a sweep file."""
        return list(self.values)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Span:
    """A range of numbers to draw from, both ends included; `whole` if the field takes whole numbers."""

    low: int | float
    high: int | float
    step: Positive | None = None  # draw only whole steps above low; None: any number, or any whole number
    log: Annotated[bool, Strict()] = False  # draw as often between 1e-5 and 1e-4 as between 1e-4 and 1e-3
    whole: bool = False

    def __post_init__(self) -> None:
        """Refuse values that make no range."""
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}; a single value is a list: [{self.high}]")
        if self.log and self.step is not None:
            raise ValueError("log and step cannot be combined; remove one of them")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}, but with log it must be above 0")
        if max(abs(self.low), abs(self.high)) > _MOST:
            raise ValueError(f"low and high must be between -{_MOST:g} and {_MOST:g}")
        if self.whole and self.step is not None and self.step != int(self.step):
            raise ValueError(f"step is {self.step:g}, but must be a whole number, as the field's values are")
        if self._grid is not None and self._count > _MOST:
            raise ValueError(f"it has more than {_MOST:g} steps of {self.step:g}; use a larger step")
        if self._grid is not None and (_decimal(self.high) - _decimal(self.low)) % self._grid:
            last = _decimal(self.low) + (self._count - 1) * self._grid
            near = " or ".join(f"{float(value):.15g}" for value in (last, last + self._grid))
            raise ValueError(
                f"its high {self.high} is not reached from {self.low} in steps of {float(self._grid):g}; end at {near}"
            )

    @property
    def size(self) -> int | None:
        """Number of values; None if it has no steps."""
        if self._grid is not None:
            return self._count
        return int(self.high) - int(self.low) + 1 if self.whole else None

    @property
    def probes(self) -> tuple[Any, ...]:
        """Values to check against a corpus: if they fit, all values do."""
        return (self.low, self.high) if self._grid is None else (self.low, self.at(1), self.high)

    def drawn(self, chance: int) -> Any:
        """Return the value for `chance`, a whole number that is evenly spread over 64 bits."""
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
        """Round a value to six significant digits, so that listings show the exact value."""
        return min(max(float(f"{value:.{_DIGITS}g}"), float(self.low)), float(self.high))

    def at(self, position: float) -> Any:
        """Return the value that is `position` steps above `low`, without rounding errors; without steps, `position`."""
        if self._grid is None:
            return int(position) if self.whole else self.rounded(position)
        value = _decimal(self.low) + int(position) * self._grid
        return int(value) if self.whole else float(value)

    def position(self, value: Any) -> float | None:
        """Return the number of steps from `low` to a value, None if it is outside; without steps, the value itself."""
        if not is_finite_number(value) or not self.low <= value <= self.high or (self.whole and value != int(value)):
            return None
        if self._grid is None:
            return int(value) if self.whole else float(value)
        steps, rest = divmod(_decimal(value) - _decimal(self.low), self._grid)
        return None if rest else int(steps)

    def up_to(self, bound: float) -> "Choices | Span":
        """Cut the range at a bound of at least `low`; return a single choice if only `low` is left."""
        if self._grid is not None:
            bound = self.at(float((_decimal(bound) - _decimal(self.low)) // self._grid))
        return dataclasses.replace(self, high=bound) if bound > self.low else Choices(values=(self.low,))

    def written(self) -> Any:
        """Return its form in a sweep file."""
        written: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.step is not None:
            written["step"] = int(self.step) if self.whole else self.step
        return written | ({"log": True} if self.log else {})

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
    """Count the configurations of a space; None if there is no limit."""
    sizes = [axis.size for axis in space.values()]
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def search_type(path: str, kind: Any) -> Any:
    """Create the type of the axis of a searched field, given the field's dotted name and type."""
    choices: Any = Annotated[
        values_type(path, kind), AfterValidator(lambda values: Choices(values=tuple(dict.fromkeys(values))))
    ]
    number = number_type(kind)
    if number is None:
        return choices
    options = {name: field_types(Span)[name] for name in ("step", "log")}
    span = Annotated[
        Any,
        mapping_of({"low": number, "high": number} | options, required=("low", "high")),
        AfterValidator(functools.partial(_span, path, unannotated(number) is int)),
    ]
    return list_or_range(choices, span, "{low: ..., high: ..., step: ...}")


def list_or_range(values: Any, range_: Any, written: str) -> Any:
    """Create the type of a list of values or a range of them; `written` shows the keys of the range."""

    def choose(given: Any) -> str | None:
        if isinstance(given, dict):
            return "range"
        return "list" if isinstance(given, list) and given else None

    otherwise = f"a list of at least one value or a range {written}"
    return Annotated[Any, one_of(choose, {"list": values, "range": range_}, otherwise)]


def values_type(path: str, kind: Any) -> Any:
    """Create the type of a list of values of a field, given its dotted name and its type."""

    def check(given: Any) -> Any:
        if isinstance(given, list) and given and not any(isinstance(value, list) for value in given):
            raise problem(f"is {shown(given)}, but each value of {path} is a list itself; write [{shown(given)}]")
        return given

    listed = Annotated[tuple[kind, ...], Field(min_length=1)]
    lists = typing.get_origin(unannotated(kind)) is tuple
    return Annotated[listed, BeforeValidator(check)] if lists else listed


def is_finite_number(value: Any) -> bool:
    """Check that a value is a number, and no boolean, infinity or NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _span(path: str, whole: bool, given: dict[str, Any]) -> Span:
    span = Span(**given, whole=whole)
    if path in WHOLE_FRAMES and span.size is None:
        raise problem(
            f"has no step, but {path} must be whole frames of the corpus; "
            "give it a step, such as step: 0.04, or a list of values"
        )
    return span


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))
