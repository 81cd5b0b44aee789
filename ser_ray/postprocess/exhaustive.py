"""The exact optimum of the whole grid of chains on devel, and the CCC of every chain in it.

The greedy search picks its window before it knows the other steps, where smoothing costs variance,
and so settles too early. This search looks at every combination, with shifts both ways.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ser_ray.postprocess.chain import PostProcessing
from ser_ray.postprocess.grid import ccc_table
from ser_ray.postprocess.search import (
    TIE,
    SearchResult,
    checked_devel,
    checked_grid,
    finished,
    is_constant,
)


def search_exhaustive(
    predictions: Sequence[ArrayLike],
    gold: Sequence[ArrayLike],
    *,
    max_window_frames: int = 501,
    max_shift_frames: int = 250,
    forward_only: bool = False,
) -> SearchResult:
    """Return the chain with the best pooled devel CCC of all combinations of steps (503,004 by default).

    Chains within 1e-12 of the best count as equal, and the simplest of them is taken: the one with
    the fewest steps, then the smallest window, the smallest shift, forward before backward,
    centring before scaling. Where predictions or gold are constant, that is the chain without a
    step, and the table is 0 throughout.

    Args:
        predictions: raw predictions of the devel partition, one array of frames per recording.
        gold: its gold, likewise.
        max_window_frames: windows 1, 3, ... up to this odd number are searched.
        max_shift_frames: shifts up to this are searched, forward and backward in time.
        forward_only: leave the shifts backward out.

    Returns:
        The chain, its devel CCC, and the table of all.

    Raises:
        InputError: if recordings or lengths do not match, there are none, values are not finite, or
            the grid is not legal.
    """
    lengths, max_shift = checked_grid(max_window_frames, max_shift_frames)
    traces, labels = checked_devel(predictions, gold)
    if is_constant(labels):
        table = np.zeros((len(lengths), 2, 2, 2 * max_shift + 1))
    else:
        table = ccc_table(traces, labels, lengths, max_shift)
    windows, shifts = np.asarray(lengths), np.arange(-max_shift, max_shift + 1)
    if forward_only:
        table, shifts = table[..., max_shift:].copy(), shifts[max_shift:]
    result = finished(_simplest_best(table, windows, shifts), traces, labels)
    return replace(result, table=table, windows=windows, shifts=shifts)


def _simplest_best(table: NDArray[np.float64], windows: NDArray[np.int64], shifts: NDArray[np.int64]) -> PostProcessing:
    """Return the chain of the largest entry; of equal ones the simplest."""
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
