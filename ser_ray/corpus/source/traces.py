"""Traces over time in label files, and readers of such files."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.errors import InputError

COMMENT = "#"
"""Prefix of the lines that some tools write above a table's header."""


@dataclass(frozen=True)
class Traces:
    """Traces of one label file: times [rows] as written, values [rows] per column, and line numbers for messages."""

    path: Path
    times_s: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]
    lines: Sequence[int]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.times_s.size

    def scaled(self, unit_s: float) -> "Traces":
        """Convert the time stamps from units of `unit_s` seconds to seconds."""
        return replace(self, times_s=self.times_s * unit_s)


def read_rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Read a text table separated by commas, semicolons or tabs; return its columns, rows, and each row's line number.

    Blank lines are skipped, and so are lines before the header that begin with #.

    Raises:
        InputError: if it is not text, is empty, names a column twice, or a row has more or fewer fields than the
            header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            skipped, at, first = 0, 0, file.readline()
            while first.startswith(COMMENT):
                skipped, at, first = skipped + 1, file.tell(), file.readline()
            separator = ";" if ";" in first else "\t" if "\t" in first and "," not in first else ","
            file.seek(at)
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            numbered = [(skipped + reader.line_num, [field.strip() for field in row]) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a text table in UTF-8 ({error}): save it as CSV") from error
    if not numbered:
        raise InputError(f"{path} is empty: it needs a header and rows")
    header = numbered[0][1]
    lowered = [name.lower() for name in header]
    if len(set(lowered)) != len(header):
        twice = next(name for name in lowered if lowered.count(name) > 1)
        raise InputError(f"{path} has two columns {twice!r}: remove one")
    for line, row in numbered[1:]:
        if len(row) != len(header):
            hint = (
                (" (decimals written with a comma? write them with a point, or separate the columns by ;)")
                if separator == ","
                else ""
            )
            raise InputError(f"{path}, line {line}: {len(row)} fields, but the header has {len(header)}{hint}")
    return header, [row for _, row in numbered[1:]], [line for line, _ in numbered[1:]]


def read_traces(path: Path) -> Traces:
    """Read the traces of a CSV file: a column time in seconds, and every further column of numbers."""
    header, rows, lines = read_rows(path)
    time = next((name for name in header if name.lower() == "time"), None)
    if time is None:
        raise InputError(f"{path} has no column time (in seconds), only {', '.join(header)}")
    if not rows:
        raise InputError(f"{path} has a header, but no rows")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    times = _numbers(path, "time", columns.pop(time), lines)
    values = {
        name: _numbers(path, name, texts, lines) for name, texts in columns.items() if any(map(_has_digit, texts))
    }
    return Traces(path, times, values, lines)


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text) or text.lower() == "nan"


def _numbers(path: Path, column: str, texts: Sequence[str], lines: Sequence[int]) -> NDArray[np.float64]:
    try:
        return np.array([text or "nan" for text in texts], np.float64)
    except ValueError:
        pass  # the loop below finds the field and names its line
    for text, line in zip(texts, lines, strict=True):
        try:
            float(text or "nan")
        except ValueError as error:
            hint = "; write decimals with a point, not a comma" if "," in text else ""
            raise InputError(f"{path}, line {line}: {column} is {text!r}, which is not a number{hint}") from error
    raise AssertionError("unreachable: numpy reads every number that float reads")
