"""The CCC of every chain of a grid in closed form, out of its sums, without applying any of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_ray.postprocess.chain import SMALLEST_STD
from ser_ray.postprocess.sums import GridSums

Array = NDArray[np.float64]

# A variance below this part of the mean square is what rounding left of none.
_RELATIVE_VARIANCE = 1e-14


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and population deviations of filtered predictions and gold, from which a chain's constants are taken.

    Args:
        prediction_mean: [windows].
        prediction_std: [windows]; 0 where the filtered predictions are constant.
        gold_mean: of the gold.
        gold_std: of the gold; 0 if it is constant.
    """

    prediction_mean: Array
    prediction_std: Array
    gold_mean: float
    gold_std: float


def moments(sums: GridSums) -> Moments:
    """Return the moments of a set of recordings, the predictions not shifted."""
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
    """Return the pooled CCC of each chain of a grid, with constants fitted on the same recordings.

    With x the filtered prediction (mean m, deviation u before the shift), y the gold (deviation v) and s = v / u where
    predictions are scaled, 1 where not, a chain's prediction is s (x - m) + m, or + mean(y) where it is centred; so

        CCC = 2 s cov(x, y) / (s^2 var(x) + v^2 + b^2),   b = s (mean(x) - m) [+ m - mean(y) if not centred]

    with the moments of x after the shift, which leaves a small bias b even after centring. Where the filtered
    predictions or the gold are constant, CCC is 0.

    Args:
        sums: of the recordings.

    Returns:
        [windows, centre (off, on), scale (off, on), shifts].
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
    """Return a variance out of moments about a reference, 0 where rounding is all there is of it."""
    variance: Array = mean_square - mean**2
    return np.where(variance > _RELATIVE_VARIANCE * mean_square, variance, 0.0)
