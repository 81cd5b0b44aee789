"""Which chain of a table of CCCs is taken: the paper's way, step after step, or the best of all."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ser_ray.postprocess.chain import PostProcessing
from ser_ray.postprocess.grid import Grid

Array = NDArray[np.float64]

# Differences of CCC up to this are rounding: they make nothing better.
TIE = 1e-12


def greedy_steps(unshifted: Array, shifted: Callable[[int, int, int], Array], grid: Grid) -> PostProcessing:
    """Return the steps of the paper's chain: median window, centring, scaling, shift forward, each kept if it helps.

    Args:
        unshifted: [windows, centre (off, on), scale (off, on)], CCC without a shift.
        shifted: called with the indices of a window, centring and scaling; returns the CCCs [max_shift + 1] of these
            steps with shifts 0, 1, ... frames.
        grid: whose windows these are.

    Returns:
        The steps, without constants; of equal windows or shifts the smallest.
    """
    row = _first_best(unshifted[:, 0, 0])
    centre = int(unshifted[row, 1, 0] > unshifted[row, 0, 0] + TIE)
    scale = int(unshifted[row, centre, 1] > unshifted[row, centre, 0] + TIE)
    return PostProcessing(
        median_window=grid.windows[row],
        centre=bool(centre),
        scale=bool(scale),
        shift=_first_best(shifted(row, centre, scale)),
    )


def best_steps(table: Array, grid: Grid) -> PostProcessing:
    """Return the steps of the largest CCC; of equal ones the simplest.

    Simplest is what has the fewest steps, then the smallest window, the smallest shift, forward before backward,
    centring before scaling.

    Args:
        table: [windows, centre (off, on), scale (off, on), shifts] of the grid.
        grid: whose chains these are.

    Returns:
        The steps, without constants.
    """
    windows, shifts = np.asarray(grid.windows), np.asarray(grid.shifts)
    row, centre, scale, column = np.nonzero(table >= table.max() - TIE)
    window, shift = windows[row], shifts[column]
    steps = (window > 1).astype(int) + centre + scale + (shift != 0)
    simplest = np.lexsort((scale, shift < 0, np.abs(shift), window, steps))[0]
    return PostProcessing(
        median_window=window[simplest],
        centre=centre[simplest],
        scale=scale[simplest],
        shift=shift[simplest],
    )


def _first_best(values: Array) -> int:
    """Return the index of the first value that no other exceeds by more than rounding."""
    assert not np.isnan(values.max())
    return int(np.argmax(values >= values.max() - TIE))
