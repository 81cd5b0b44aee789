"""Cut labels with gaps into stretches of evenly spaced time stamps; each becomes a recording of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.source.traces import Traces

FEWEST_ROWS = 2
"""Two time stamps are needed to determine a rate."""

LARGEST_STEP = 1.5
"""A step longer than this many usual steps is a gap."""


@dataclass(frozen=True)
class Stretch:
    """Labels without a gap: the time stamps of the first and the last row, and the number of rows."""

    first: float
    last: float
    rows: int


def stretches(stamps: NDArray[np.float64], step: float) -> list[Stretch]:
    """Cut increasing time stamps, usually `step` apart, at their gaps; some stretches may be too short to use."""
    pieces = np.split(stamps, np.flatnonzero(np.diff(stamps) > LARGEST_STEP * step) + 1)
    return [Stretch(float(piece[0]), float(piece[-1]), piece.size) for piece in pieces if piece.size]


def usual_step(stamps: Iterable[NDArray[np.float64]]) -> float:
    """Return the median step between neighbouring time stamps of increasing columns; 0 where there is no step."""
    steps = np.concatenate([np.diff(column) for column in stamps])
    return float(np.median(steps)) if steps.size else 0.0


def shared(stamps: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the time stamps that all columns have in common, in increasing order."""
    common = stamps[0]
    for column in stamps[1:]:
        common = np.intersect1d(common, column)
    return common


def counted_from(traces: Traces, stretch: Stretch, unit_s: float) -> Traces:
    """Return the rows of a stretch, their time stamps converted from units of `unit_s` to seconds from its start."""
    rows = np.flatnonzero((traces.times_s >= stretch.first) & (traces.times_s <= stretch.last))
    return Traces(
        traces.path,
        (traces.times_s[rows] - stretch.first) * unit_s,
        {column: values[rows] for column, values in traces.values.items()},
        [traces.lines[int(row)] for row in rows],
    )


def numbered(name: str, found: Sequence[Stretch]) -> list[tuple[str, Stretch]]:
    """Name stretches: the given name for a single one, else NAME_1, NAME_2, ...

    Stretches that are too short are left out, but keep their number.
    """
    return [
        (name if len(found) == 1 else f"{name}_{number}", stretch)
        for number, stretch in enumerate(found, start=1)
        if stretch.rows >= FEWEST_ROWS
    ]


def left_out_warning(names: Sequence[str]) -> tuple[str, ...]:
    """Return a warning about stretches too short to use, if any; `names` has the original's name once per stretch."""
    if not names:
        return ()
    return (
        f"stretches with fewer than {FEWEST_ROWS} labels are left out, as their rate cannot be determined: "
        f"{len(names)}, such as in {names[0]}",
    )
