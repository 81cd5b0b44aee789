"""Read lines of text files whose header is missing, of any length, or unreliable."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.source.traces import Traces
from ser_ray.errors import InputError

AROUND = "'\" \t"
"""Quotes and blanks."""


class Line(NamedTuple):
    """Line of a text file, numbered from 1; its fields are stripped of blanks and quotes. A tuple: files have many."""

    number: int
    fields: tuple[str, ...]


def read_lines(path: Path, separator: str | None = None) -> list[Line]:
    """Read the non-blank lines of a text file; without a separator, fields are separated by any white space.

    Invalid UTF-8 becomes a replacement character, which no number contains; in a preamble it does no harm.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return [
        Line(number, tuple(field.strip(AROUND) for field in line.strip().split(separator)))
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]


def is_number(text: str) -> bool:
    """Return whether a field is a number, or NaN."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def to_number(text: str, where: str) -> float:
    """Parse the number in a field, or raise an InputError that begins with `where`."""
    if not is_number(text):
        hint = "; write decimals with a point, not a comma" if "," in text else ""
        raise InputError(f"{where} is {text!r}, which is not a number{hint}")
    return float(text)


def without_header(lines: Sequence[Line]) -> Sequence[Line]:
    """Drop the first line if none of its fields is a number."""
    return lines[1:] if lines and not any(map(is_number, lines[0].fields)) else lines


def to_traces(path: Path, lines: Sequence[Line], columns: Sequence[str], keep: Mapping[str, str], time: str) -> Traces:
    """Convert lines of numbers to traces.

    `columns` are the names of a line's fields, `keep` maps the columns to keep to the names of their traces, and `time`
    is the column of time stamps in seconds.
    """
    if not lines:
        raise InputError(f"{path} contains no labels: it needs lines with {', '.join(columns)}")
    for line in lines:
        if len(line.fields) != len(columns):
            raise InputError(
                f"{path}, line {line.number}: {len(line.fields)} fields, but must be {len(columns)}: "
                f"{', '.join(columns)}; correct the line, or remove the file"
            )
    values = {column: _column(path, lines, columns.index(column), column) for column in (time, *keep)}
    return Traces(
        path, values[time], {name: values[column] for column, name in keep.items()}, [line.number for line in lines]
    )


def _column(path: Path, lines: Sequence[Line], place: int, name: str) -> NDArray[np.float64]:
    """Parse the numbers of one column."""
    try:
        return np.array([line.fields[place] for line in lines], np.float64)
    except ValueError:
        # Slower, but names the line.
        return np.array([to_number(line.fields[place], f"{path}, line {line.number}: {name}") for line in lines])
