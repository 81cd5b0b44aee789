"""Attributes of trials by the names that a user gives: columns of `trials`, and fields of their configuration.

The commands take such names in `--sort`, `--columns` and `--where "sequence_s >= 6"`.
"""

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ser_ray.errors import InputError
from ser_ray.results import CCC_COLUMNS, CROSSFIT_COLUMNS, SCHEMAS

Row = Mapping[str, Any]
Fields = Mapping[str, Any]
"""A configuration, by dotted name."""

COLUMNS = SCHEMAS["trials"]
FIGURES = frozenset((*CCC_COLUMNS, *CROSSFIT_COLUMNS)) | {
    "epochs",
    "best_epoch",
    "train_seconds",
    "search_seconds",
    "samples_per_second",
    "peak_memory_bytes",
    "restarts",
}
"""Columns with results of a training, which differ from seed to seed: they are shown as means."""

_CONDITION = re.compile(r"\s*(?P<name>[A-Za-z_][\w.]*)\s*(?P<sign><=|>=|!=|==|=|<|>)\s*(?P<value>.*?)\s*")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_BOOLS = {"true": True, "yes": True, "false": False, "no": False}
_NONE = ("none", "null")


@dataclass(frozen=True)
class Attribute:
    """A column of `trials`, or a field of their configuration by its dotted name."""

    name: str
    is_field: bool

    @property
    def label(self) -> str:
        """Heading of its column: the last part of a dotted name."""
        return self.name.rpartition(".")[2]

    @property
    def is_figure(self) -> bool:
        """Whether it is a result of a training."""
        return not self.is_field and self.name in FIGURES

    def of(self, row: Row, fields: Fields) -> Any:
        """Return its value for a trial, given the trial's row and configuration."""
        return fields.get(self.name) if self.is_field else row[self.name]


def resolve(name: str, fields: Iterable[str], option: str) -> Attribute:
    """Find the attribute of a name: a whole dotted field, a column, or a field by the end of its name.

    Raises:
        InputError: if it is none of `fields` and no column (the message names the nearest), or if it is the end of
            several fields' names. The message begins with `option`.
    """
    known = sorted(set(fields))
    if name in known:
        return Attribute(name, is_field=True)
    if name in COLUMNS.names:
        return Attribute(name, is_field=False)
    ending = [field for field in known if field.endswith(f".{name}")]
    if len(ending) > 1:
        raise InputError(f"{option} {name}: the name is ambiguous; legal: {', '.join(ending)}")
    if ending:
        return Attribute(ending[0], is_field=True)
    candidates = [*COLUMNS.names, *known, *(field.rpartition(".")[2] for field in known)]
    near = difflib.get_close_matches(name, dict.fromkeys(candidates), n=4, cutoff=0.5)
    closest = f"; closest: {', '.join(near)}" if near else ""
    examples = f" ({', '.join(known[:3])}, ...)" if known else ""
    raise InputError(
        f"{option} {name}: no such column{closest}\n"
        "legal: the columns of trials (train_seconds, device, ccc_test_greedy_mean, ...) and the fields of their "
        f"configuration{examples}"
    )


def resolve_number(name: str, rows: Sequence[tuple[Row, Fields]], option: str) -> Attribute:
    """Find the numeric attribute of a name, as `resolve` does.

    Raises:
        InputError: as in `resolve`, or if the attribute has values that are not numbers.
    """
    found = resolve(name, _all_fields(rows), option)
    if found.is_field:
        values = [found.of(row, fields) for row, fields in rows]
        wrong = next((value for value in values if value is not None and not _is_number(value)), None)
        other = None if wrong is None else repr(wrong)
    else:
        kind = COLUMNS.field(found.name).type
        other = None if pa.types.is_integer(kind) or pa.types.is_floating(kind) else str(kind)
    if other is not None:
        raise InputError(f"{option} {name}: it must be numeric, but contains {other}")
    return found


def _all_fields(rows: Iterable[tuple[Row, Fields]]) -> list[str]:
    return list({name: None for _, fields in rows for name in fields})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def filter_trials(rows: Sequence[tuple[Row, Fields]], conditions: Sequence[str]) -> list[tuple[Row, Fields]]:
    """Select the trials that meet all conditions, such as "sequence_s >= 6", "status = finished" or "kernels = 8-6-6".

    Raises:
        InputError: if a condition is not of this form, its name is unknown, or its value has another type than in the
            trials.
    """
    holding = [_parse(condition, rows) for condition in conditions]
    return [(row, fields) for row, fields in rows if all(holds(row, fields) for holds in holding)]


def _parse(condition: str, rows: Sequence[tuple[Row, Fields]]) -> Callable[[Row, Fields], bool]:
    """Parse a condition into a function that checks a trial."""
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise InputError(
            f"--where {condition!r} is not FIELD OP VALUE with one of = != < <= > >=, such as 'sequence_s >= 6'; quote "
            "it, since a shell interprets < and >"
        )
    sign = "=" if match["sign"] == "==" else match["sign"]
    attribute = resolve(match["name"], _all_fields(rows), "--where")
    values = [_comparable(attribute.of(row, fields)) for row, fields in rows]
    sample = next((value for value in values if value is not None), None)
    if sign in _ORDERS and not (_has_order(sample) or sample is None):
        raise InputError(
            f"--where {condition!r}: {match['name']} is not ordered (example: {_format(sample)}); legal: = !="
        )
    try:
        value = _typed(match["value"], sample)
    except ValueError as error:
        raise InputError(
            f"--where {condition!r}: {match['value']!r} is not {error}, but {match['name']} is (example: "
            f"{_format(sample)})"
        ) from error
    if value is None and sign in _ORDERS:
        raise InputError(f"--where {condition!r}: none has no order; legal: = !=")

    def holds(row: Row, fields: Fields) -> bool:
        found = _comparable(attribute.of(row, fields))
        if sign in _ORDERS:  # a missing value is neither more nor less than any other
            return _has_order(found) and _ORDERS[sign](found, value)
        return bool(found == value) == (sign == "=")

    return holds


def _has_order(value: Any) -> bool:
    return _is_number(value) or isinstance(value, datetime)


def _comparable(value: Any) -> Any:
    """Convert a value for comparisons: times get a zone, tuples become lists."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return list(value) if isinstance(value, tuple) else value


def _typed(text: str, sample: Any) -> Any:
    """Parse a text as a value of the sample's type; if it is none, raise ValueError, which names the type."""
    if text.lower() in _NONE:
        return None
    if isinstance(sample, list):
        item = next(iter(sample), "")
        return [_typed(part, item) for part in re.split(r"[-,/ ]+", text.strip("[] ")) if part]
    if isinstance(sample, bool):
        if text.lower() not in _BOOLS:
            raise ValueError("true or false")
        return _BOOLS[text.lower()]
    if _is_number(sample):
        try:
            return float(text)
        except ValueError:
            raise ValueError("a number") from None
    if isinstance(sample, datetime):
        try:
            return _comparable(datetime.fromisoformat(text))
        except ValueError:
            raise ValueError("a time") from None
    return text


def _format(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value))
    return value.isoformat(sep=" ") if isinstance(value, datetime) else repr(value)
