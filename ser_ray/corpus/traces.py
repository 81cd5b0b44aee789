"""Traces over time as label files hold them, and what must be true of them to become frames."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.schema import SAMPLE_RATE, samples_per_frame
from ser_ray.errors import InputError

RATE_TOLERANCE = 2e-5
"""Relative; what evenly spaced stamps may differ from a rate that fits: 6 ms in 300 s."""


@dataclass(frozen=True)
class Traces:
    """The traces of one label file.

    Args:
        path: of the file, for messages.
        times_s: [rows], as written.
        values: per column [rows].
        lines: [rows], line numbers in the file, for messages.
    """

    path: Path
    times_s: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]
    lines: Sequence[int]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.times_s.size


def read_rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Return what a text table holds.

    Args:
        path: of a file with a header, its fields divided by commas or semicolons.

    Returns:
        The names of the columns, the rows, and the line number of each row. Blank lines are left out.

    Raises:
        InputError: if it is no text, is empty, names a column twice, or a row has more or fewer fields than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = ";" if ";" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            numbered = [(reader.line_num, [field.strip() for field in row]) for row in reader if any(row)]
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
            hint = " (decimals written with a comma? use points, or ; between the columns)" if separator == "," else ""
            raise InputError(f"{path}, line {line}: {len(row)} fields, but the header has {len(header)}{hint}")
    return header, [row for _, row in numbered[1:]], [line for line, _ in numbered[1:]]


def read_traces(path: Path) -> Traces:
    """Return the traces of a CSV file: a column time in seconds, and further columns that are numbers.

    Args:
        path: of the file.

    Returns:
        Every column but time. A column that holds texts is left out.

    Raises:
        InputError: if the table is malformed, has no time, or a number in it cannot be read.
    """
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
        pass  # the next lines find the field and say so
    for text, line in zip(texts, lines, strict=True):
        try:
            float(text or "nan")
        except ValueError as error:
            hint = "; decimals take a point, not a comma" if "," in text else ""
            raise InputError(f"{path}, line {line}: {column} is {text!r}, which is not a number{hint}") from error
    raise AssertionError("unreachable: numpy reads every number that float reads")


def check_times(traces: Traces) -> int:
    """Return the hop of traces whose rows are the frames of a recording, in order.

    Args:
        traces: of one recording; row i is frame i. The first stamp is 0, or one frame where stamps mark a frame's end.

    Returns:
        Samples per frame.

    Raises:
        InputError: if times are missing, repeated, descending, uneven, begin elsewhere, or come at a rate that is not a
            whole number of samples.
    """
    times, path = traces.times_s, traces.path
    if times.size < 2:
        raise InputError(f"{path} has {times.size} row: it takes two to tell the rate")
    if not np.isfinite(times).all():
        row = int(np.argmin(np.isfinite(times)))
        raise InputError(f"{path}, line {traces.lines[row]}: time is {times[row]}, but must be in seconds")
    steps = np.diff(times)
    step = float(np.median(steps))
    for bad, what in (
        (steps == 0, "the same time as the row before: remove one of them"),
        (steps < 0, "a time before that of the row before: sort the rows by time"),
        (steps > 1.5 * step, "a gap in time: fill in the missing rows or split the recording there"),
        (steps < 0.5 * step, "irregular times: rows must be evenly spaced"),
    ):
        if bad.any():
            row = int(np.argmax(bad)) + 1
            raise InputError(
                f"{path}, line {traces.lines[row]}: time {times[row]:g} s after {times[row - 1]:g} s, {what}"
            )
    return _hop(traces, step)


def _hop(traces: Traces, step: float) -> int:
    """Return samples per frame of traces whose times rise in even steps."""
    times = traces.times_s
    span = float(times[-1] - times[0])
    even = times[0] + span / (times.size - 1) * np.arange(times.size)
    jitter = np.abs(times - even)
    if jitter.max() > 0.5 * step:
        row = int(np.argmax(jitter))
        raise InputError(
            f"{traces.path}, line {traces.lines[row]}: time {times[row]:g} s, irregular times: even rows would "
            f"be at {even[row]:g} s here"
        )
    rate = (times.size - 1) / span
    fitting = SAMPLE_RATE / max(1, round(SAMPLE_RATE / rate))
    if abs(fitting - rate) <= (RATE_TOLERANCE + 2 * float(jitter.max()) / span) * rate:
        rate = fitting
    try:
        hop = samples_per_frame(rate)
    except InputError as error:
        raise InputError(f"{traces.path}: {error}; bring the labels to one of them first") from error
    if min(abs(times[0]), abs(times[0] - hop / SAMPLE_RATE)) > 0.25 * step:
        raise InputError(
            f"{traces.path}, line {traces.lines[0]}: the first time is {times[0]:g} s, but must be 0, or "
            f"{hop / SAMPLE_RATE:g} where stamps mark the end of a frame"
        )
    return hop


def check_numbers(traces: Traces, columns: Sequence[str]) -> None:
    """Refuse columns with values that are not numbers.

    Args:
        traces: of one file.
        columns: those to look at.

    Raises:
        InputError: naming column and line.
    """
    for column in columns:
        good = np.isfinite(traces.values[column])
        if not good.all():
            row = int(np.argmin(good))
            raise InputError(
                f"{traces.path}, line {traces.lines[row]}: {column} is {traces.values[column][row]} at "
                f"{traces.times_s[row]:g} s ({int((~good).sum())} such rows): every frame needs a label; for a test "
                "set without labels leave the file out"
            )
