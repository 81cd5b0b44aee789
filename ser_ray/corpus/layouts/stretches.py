"""Stretches of even stamps, into which labels with gaps are cut: each becomes a recording of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.source.traces import Traces

FEWEST_ROWS = 2
"""It takes two stamps to tell a rate."""

LARGEST_STEP = 1.5
"""Steps further apart are a gap."""


@dataclass(frozen=True)
class Stretch:
    """Labels without a gap, by the stamps of the first and the last, and the number of rows."""

    first: float
    last: float
    rows: int


def stretches(stamps: NDArray[np.float64], step: float) -> list[Stretch]:
    """Return rising stamps, usually `step` apart, cut at their gaps, in order; some may be too short to be used."""
    pieces = np.split(stamps, np.flatnonzero(np.diff(stamps) > LARGEST_STEP * step) + 1)
    return [Stretch(float(piece[0]), float(piece[-1]), piece.size) for piece in pieces if piece.size]


def usual_step(stamps: Iterable[NDArray[np.float64]]) -> float:
    """Return the median step between neighbours, of several columns of rising stamps; 0 where there is none."""
    steps = np.concatenate([np.diff(column) for column in stamps])
    return float(np.median(steps)) if steps.size else 0.0


def shared(stamps: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the stamps that all columns have, rising."""
    common = stamps[0]
    for column in stamps[1:]:
        common = np.intersect1d(common, column)
    return common


def counted_from(traces: Traces, stretch: Stretch, unit_s: float) -> Traces:
    """Return the rows of a stretch, their stamps, in units of `unit_s` seconds, counted from its begin."""
    rows = np.flatnonzero((traces.times_s >= stretch.first) & (traces.times_s <= stretch.last))
    return Traces(
        traces.path,
        (traces.times_s[rows] - stretch.first) * unit_s,
        {column: values[rows] for column, values in traces.values.items()},
        [traces.lines[int(row)] for row in rows],
    )


def numbered(name: str, found: Sequence[Stretch]) -> list[tuple[str, Stretch]]:
    """Return stretches with names: the given one if there is one alone, else NAME_1, NAME_2, ...

    Those that are too short are left out, but counted.
    """
    return [
        (name if len(found) == 1 else f"{name}_{number}", stretch)
        for number, stretch in enumerate(found, start=1)
        if stretch.rows >= FEWEST_ROWS
    ]


def left_out_warning(names: Sequence[str]) -> tuple[str, ...]:
    """Return a warning for stretches too short to be used, given the name of what was cut once per stretch, if any."""
    if not names:
        return ()
    return (
        f"stretches with fewer than {FEWEST_ROWS} labels are left out, as they tell no rate: {len(names)}, such as in "
        f"{names[0]}",
    )
