"""The CCC of every chain of a grid in closed form, from its sums, and the choice of a chain from such a table."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ser_ray.postprocess.chain import SMALLEST_STD, Array, PostProcessing
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.sums import GridSums

# Differences of CCC up to this are rounding, not an improvement.
TIE = 1e-12

# A variance below this part of the mean square is zero but for rounding.
_RELATIVE_VARIANCE = 1e-14


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and population deviations of filtered predictions [windows] and gold; a constant has deviation 0."""

    prediction_mean: Array
    prediction_std: Array
    gold_mean: float
    gold_std: float


def moments(sums: GridSums) -> Moments:
    """Compute the moments of a set of recordings, with predictions not shifted."""
    unshifted = sums.max_shift
    mean = sums.first[:, unshifted] / sums.frames
    gold_mean = sums.gold_first / sums.frames
    return Moments(
        sums.references.prediction + mean,
        np.sqrt(_variance(sums.second[:, unshifted] / sums.frames, mean)),
        sums.references.gold + gold_mean,
        float(np.sqrt(_variance(np.array(sums.gold_second / sums.frames), np.array(gold_mean)))),
    )


def ccc_table(sums: GridSums) -> Array:
    """Compute the pooled CCC of each chain of a grid, with constants fitted on the same recordings.

    With x the filtered prediction (mean m, deviation u before the shift), y the gold (deviation v) and s = v / u where
    predictions are scaled, 1 where not, a chain's prediction is s (x - m) + m, or + mean(y) where it is centred; so

        CCC = 2 s cov(x, y) / (s^2 var(x) + v^2 + b^2),   b = s (mean(x) - m) [+ m - mean(y) if not centred]

    with the moments of x after the shift, which leaves a small bias b even after centring. Where the filtered
    predictions or the gold are constant, CCC is 0. The table is [windows, centre (off, on), scale (off, on), shifts].
    """
    fitted, frames = moments(sums), sums.frames
    windows, shifts = sums.first.shape
    table = np.zeros((windows, 2, 2, shifts))
    if fitted.gold_std <= SMALLEST_STD:
        return table
    varies = fitted.prediction_std > SMALLEST_STD
    factor = np.divide(fitted.gold_std, fitted.prediction_std, out=np.zeros(windows), where=varies)

    mean = sums.first / frames
    drift = mean - mean[:, sums.max_shift, None]
    variance = np.maximum(sums.second / frames - mean**2, 0.0)
    covariance = sums.product / frames - mean * (sums.gold_first / frames)
    covariance[~varies] = 0.0
    bias = (fitted.prediction_mean - fitted.gold_mean)[:, None]
    for centre in (0, 1):
        for scale in (0, 1):
            s = factor[:, None] if scale else 1.0
            residual = s * drift if centre else s * drift + bias
            psi = s**2 * variance + fitted.gold_std**2 + residual**2
            table[:, centre, scale] = 2 * s * covariance / psi
    return table


def _variance(mean_square: Array, mean: Array) -> Array:
    """Compute a variance from moments about a reference; 0 if it is only rounding."""
    variance: Array = mean_square - mean**2
    return np.where(variance > _RELATIVE_VARIANCE * mean_square, variance, 0.0)


def greedy_steps(unshifted: Array, shifted: Callable[[int, int, int], Array], grid: Grid) -> PostProcessing:
    """Choose the steps of the paper's chain: median window, centring, scaling, shift forward, each kept if it helps.

    `unshifted` contains the CCCs [windows, centre (off, on), scale (off, on)] without a shift. `shifted` returns the
    CCCs with shifts 0, 1, ... frames for the indices of a window, centring and scaling. Of equal windows or shifts the
    smallest is taken. The steps have no constants.
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
    """Choose the steps, without constants, of the largest CCC in a table of a grid; of equal ones the simplest.

    The simplest has the fewest steps, then the smallest window, the smallest shift, forward before backward, centring
    before scaling.
    """
    windows, shifts = np.asarray(grid.windows), np.asarray(grid.shifts)
    row, centre, scale, column = np.nonzero(table >= table.max() - TIE)
    window, shift = windows[row], shifts[column]
    steps = (window > 1).astype(int) + centre + scale + (shift != 0)
    simplest = np.lexsort((scale, shift < 0, np.abs(shift), window, steps))[0]
    return PostProcessing(
        median_window=window[simplest], centre=centre[simplest], scale=scale[simplest], shift=shift[simplest]
    )


def _first_best(values: Array) -> int:
    """Find the index of the first value that no other exceeds by more than rounding."""
    assert not np.isnan(values.max())
    return int(np.argmax(values >= values.max() - TIE))
