"""Convert traces with time stamps to frames: check the time stamps, and resample traces of other rates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.source.description import Alignment
from ser_ray.corpus.source.traces import Traces
from ser_ray.corpus.store.schema import SAMPLE_RATE, samples_per_frame
from ser_ray.errors import InputError

RATE_TOLERANCE = 2e-5
"""Largest relative difference between the rate of evenly spaced time stamps and a possible rate: 6 ms in 300 s."""


LARGEST = 1e6


@dataclass(frozen=True)
class Framing:
    """Rules that convert the rows of all recordings to frames.

    Args:
        hop: samples per frame.
        alignment: whether frame i carries the label at its "start" or at its "end"; None takes row i, or for resampled
            traces the alignment that their first time stamp suggests.
        resample: whether traces may have any times; otherwise each row is a frame.
        lag_s: delay of the raters after the speech; labels are moved earlier by this time.
    """

    hop: int
    alignment: Alignment | None = None
    resample: bool = False
    lag_s: float = 0.0

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return SAMPLE_RATE / self.hop

    @property
    def lag_frames(self) -> int:
        """The lag in frames."""
        return round(self.lag_s * self.rate_hz)


def to_frames(traces: Traces, framing: Framing) -> dict[str, NDArray[np.float64]]:
    """Convert every column of a file to frames; time stamps count from the recording's start.

    Without resampling, frames are the rows, except for those that alignment and lag drop at the start. With resampling,
    frames before a column's first value and after its last are NaN.
    """
    if framing.resample:
        return _resampled(traces, framing)
    check_times(traces)
    begin = framing.lag_frames
    at_start = abs(traces.times_s[0]) < 0.5 / framing.rate_hz
    if framing.alignment == "end" and at_start:
        begin += 1
    elif framing.alignment == "start" and not at_start:
        raise InputError(
            f"{traces.path}, line {traces.lines[0]}: the first time is {traces.times_s[0]:g} s, so there is no label "
            "at the start of the first frame; import with --alignment end"
        )
    return {column: values[begin:] for column, values in traces.values.items()}


def _resampled(traces: Traces, framing: Framing) -> dict[str, NDArray[np.float64]]:
    check_order(traces)
    times = traces.times_s - framing.lag_s
    at_end = framing.alignment == "end"
    if framing.alignment is None and times.size > 1:
        at_end = abs(traces.times_s[0] / float(np.median(np.diff(traces.times_s))) - 1) < 0.25
    # instants up to the last row
    instants = (np.arange(int(times[-1] * framing.rate_hz + 1e-6) + 2) + at_end) / framing.rate_hz
    instants = instants[instants <= times[-1] + 1e-6]
    return {
        column: at_instants(times, values, instants, 1 / framing.rate_hz) for column, values in traces.values.items()
    }


def at_instants(
    times_s: NDArray[np.float64], values: NDArray[np.float64], instants_s: NDArray[np.float64], step_s: float
) -> NDArray[np.float64]:
    """Resample a trace at other increasing times, `step_s` apart, without looking ahead of any of them: [instants].

    The value at an instant is the mean of the rows in the step that ends there. If the step has no rows, it is the last
    row before; if there is none yet, it is NaN. A trace whose rows are exactly at the instants is unchanged.
    """
    slack = 1e-6  # time stamps and instants are rounded decimal fractions
    until = np.searchsorted(times_s, instants_s + slack, side="right")
    since = np.minimum(np.searchsorted(times_s, instants_s - step_s + slack, side="right"), np.maximum(until - 1, 0))
    bounds = np.stack([since, np.maximum(until, since)], axis=1).ravel()
    sums = np.add.reduceat(np.append(values, 0.0), bounds)[::2]
    return np.where(until > 0, sums / np.maximum(until - since, 1), np.nan)


def check_order(traces: Traces) -> None:
    """Refuse traces with fewer than two rows, or whose times do not increase, naming the line."""
    times, path = traces.times_s, traces.path
    if times.size < 2:
        raise InputError(f"{path} has {times.size} row, but the rate can only be determined from at least 2")
    if not np.isfinite(times).all():
        row = int(np.argmin(np.isfinite(times)))
        raise InputError(
            f"{path}, line {traces.lines[row]}: time is {times[row]}, but must be a finite number of seconds"
        )
    steps = np.diff(times)
    _refuse_first(traces, steps == 0, "the same time as the row before: remove one of them")
    _refuse_first(traces, steps < 0, "a time before that of the row before: sort the rows by time")


def _refuse_first(traces: Traces, bad: NDArray[np.bool_], what: str) -> None:
    """Raise an InputError for the first bad step between rows, if any."""
    if bad.any():
        row, times = int(np.argmax(bad)) + 1, traces.times_s
        raise InputError(
            f"{traces.path}, line {traces.lines[row]}: time {times[row]:g} s after {times[row - 1]:g} s, {what}"
        )


def check_times(traces: Traces) -> int:
    """Check traces whose rows are the frames of a recording, in order; return the hop in samples.

    The first time stamp must be 0, or one frame where time stamps mark a frame's end.

    Raises:
        InputError: if times are missing, repeated, descending, uneven, begin elsewhere, or have a rate at which a frame
            is not a whole number of samples.
    """
    check_order(traces)
    steps = np.diff(traces.times_s)
    step = float(np.median(steps))
    resample = "or resample the labels with --label-rate HZ"
    _refuse_first(
        traces, steps > 1.5 * step, f"a gap in time: fill in the missing rows, split the recording there, {resample}"
    )
    _refuse_first(traces, steps < 0.5 * step, f"irregular times: space the rows evenly, {resample}")
    return _hop(traces, step)


def _hop(traces: Traces, step: float) -> int:
    """Return the samples per frame of traces whose times increase in even steps."""
    times = traces.times_s
    span = float(times[-1] - times[0])
    even = times[0] + span / (times.size - 1) * np.arange(times.size)
    jitter = np.abs(times - even)
    if jitter.max() > 0.5 * step:
        row = int(np.argmax(jitter))
        raise InputError(
            f"{traces.path}, line {traces.lines[row]}: time {times[row]:g} s, irregular times: evenly spaced rows "
            f"would have {even[row]:g} s here"
        )
    rate = (times.size - 1) / span
    fitting = SAMPLE_RATE / max(1, round(SAMPLE_RATE / rate))
    if abs(fitting - rate) <= (RATE_TOLERANCE + 2 * float(jitter.max()) / span) * rate:
        rate = fitting
    try:
        hop = samples_per_frame(rate)
    except InputError as error:
        raise InputError(f"{traces.path}: {error}; import with --label-rate and one of them") from error
    if min(abs(times[0]), abs(times[0] - hop / SAMPLE_RATE)) > 0.25 * step:
        raise InputError(
            f"{traces.path}, line {traces.lines[0]}: the first time is {times[0]:g} s, but must be 0, or "
            f"{hop / SAMPLE_RATE:g} where time stamps mark the end of a frame; cut the audio so that it begins with "
            "the labels and count times from there, or import with --label-rate"
        )
    return hop


def check_range(traces: Traces, columns: Iterable[str]) -> None:
    """Refuse columns with values beyond LARGEST, naming column and line; NaN is accepted."""
    for column in columns:
        large = np.abs(traces.values[column]) > LARGEST
        if large.any():
            row = int(np.argmax(large))
            raise InputError(
                f"{traces.path}, line {traces.lines[row]}: {column} is {traces.values[column][row]:g} at "
                f"{traces.times_s[row]:g} s, but labels are expected in [-1, 1], and values beyond {LARGEST:g} are "
                "refused"
            )


def check_numbers(traces: Traces, columns: Sequence[str]) -> None:
    """Refuse columns with values that are not numbers, naming column and line."""
    for column in columns:
        good = np.isfinite(traces.values[column])
        if not good.all():
            row = int(np.argmin(good))
            raise InputError(
                f"{traces.path}, line {traces.lines[row]}: {column} is {traces.values[column][row]} at "
                f"{traces.times_s[row]:g} s ({int((~good).sum())} such rows): every frame needs a label; for a test "
                "recording without labels, remove the file"
            )
