"""Conditions on trials, as the command line takes them: `--where "sequence_s >= 6"`."""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ser_ray.errors import InputError
from ser_ray.report.naming import Fields, Named, Row, all_fields, is_number, resolve

OPTION = "--where"
_FORM = re.compile(r"\s*(?P<name>[A-Za-z_][\w.]*)\s*(?P<sign><=|>=|!=|==|=|<|>)\s*(?P<value>.*?)\s*")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_BOOLS = {"true": True, "yes": True, "false": False, "no": False}
_NONE = ("none", "null")


@dataclass(frozen=True)
class Condition:
    """A condition that trials meet or not.

    Args:
        named: what of a trial it is on.
        sign: "=", "!=", "<", "<=", ">" or ">=".
        value: what that is compared with; of the same type, or None.
    """

    named: Named
    sign: str
    value: Any

    def holds(self, row: Row, fields: Fields) -> bool:
        """Return whether a trial meets it; what a trial lacks is neither more nor less than any value."""
        value = _plain(self.named.of(row, fields))
        if self.sign in _ORDERS:
            comparable = is_number(value) or isinstance(value, datetime)
            return comparable and _ORDERS[self.sign](value, self.value)
        return bool(value == self.value) == (self.sign == "=")


def keep(rows: Iterable[tuple[Row, Fields]], conditions: Sequence[str]) -> list[tuple[Row, Fields]]:
    """Return the trials that meet all conditions.

    Args:
        rows: of the trials, with their configurations.
        conditions: such as "sequence_s >= 6", "status = finished" or "kernels = 8-6-6".

    Raises:
        InputError: if one is not of this form, names nothing, or its value is not of the type that trials have there.
    """
    pairs = list(rows)
    parsed = [_parse(condition, pairs) for condition in conditions]
    return [(row, fields) for row, fields in pairs if all(c.holds(row, fields) for c in parsed)]


def _parse(condition: str, rows: Sequence[tuple[Row, Fields]]) -> Condition:
    match = _FORM.fullmatch(condition)
    if match is None:
        raise InputError(
            f"{OPTION} {condition!r} is not FIELD OP VALUE with one of = != < <= > >=, such as 'sequence_s >= 6'; "
            "quote it, since < and > mean something else to a shell"
        )
    sign = "=" if match["sign"] == "==" else match["sign"]
    named = resolve(match["name"], all_fields(rows), OPTION)
    values = [_plain(named.of(row, fields)) for row, fields in rows]
    sample = next((value for value in values if value is not None), None)
    if sign in _ORDERS and not (is_number(sample) or isinstance(sample, datetime) or sample is None):
        raise InputError(f"{OPTION} {condition!r}: {match['name']} has no order (such as {_said(sample)}); legal: = !=")
    try:
        value = _typed(match["value"], sample)
    except ValueError as error:
        raise InputError(
            f"{OPTION} {condition!r}: {match['value']!r} is not {error}, "
            f"as {match['name']} is (such as {_said(sample)})"
        ) from error
    if value is None and sign in _ORDERS:
        raise InputError(f"{OPTION} {condition!r}: nothing is more or less than none; legal: = !=")
    return Condition(named, sign, value)


def _plain(value: Any) -> Any:
    """Return a value as it is compared: times with their zone, lists as such."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return list(value) if isinstance(value, tuple) else value


def _typed(text: str, sample: Any) -> Any:
    """Return a text as a value of the same type as a sample.

    Raises:
        ValueError: if it is none, saying what that type is called.
    """
    if text.lower() in _NONE:
        return None
    if isinstance(sample, list):
        item = next(iter(sample), "")
        return [_typed(part, item) for part in re.split(r"[-,/ ]+", text.strip("[] ")) if part]
    if isinstance(sample, bool):
        if text.lower() not in _BOOLS:
            raise ValueError("true or false")
        return _BOOLS[text.lower()]
    if is_number(sample):
        try:
            return float(text)
        except ValueError:
            raise ValueError("a number") from None
    if isinstance(sample, datetime):
        try:
            return _plain(datetime.fromisoformat(text))
        except ValueError:
            raise ValueError("a time") from None
    return text


def _said(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value))
    return value.isoformat(sep=" ") if isinstance(value, datetime) else repr(value)
