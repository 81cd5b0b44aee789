"""Concordance correlation coefficient: the only definition that ser_ray uses for scores.

CCC (Lin 1989; Eq. 3 of the paper) of prediction x and gold y:

    CCC = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2)

with population moments (divided by n), in float64, in two passes. A partition's CCC is pooled: one CCC over the frames
of all its recordings, as in the challenges and in the paper's own code. The mean over recordings is a different number
(they differ by 0.1 on real data). It is reported beside the pooled CCC, never instead of it.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ser_ray.errors import InputError

Variant = Literal["population", "avec"]


def ccc(prediction: ArrayLike, gold: ArrayLike, *, variant: Variant = "population") -> float:
    """Compute the concordance correlation coefficient (Eq. 3) of two arrays of equal size, flattened.

    It lies in [-1, 1]: 0 if exactly one of the two is constant, NaN for 0/0 (both constant and equal), for no values,
    and where an input is NaN. The variant "avec" divides the variances by n - 1 and the covariance by n, as the scoring
    scripts of the AVEC challenges do: its value at perfect agreement is (n - 1) / n.

    >>> round(ccc([0.0, 0.5, 1.0], [0.1, 0.5, 0.9]), 4)
    0.9756
    """
    x, y = _flat_pair(prediction, gold)
    if variant not in ("population", "avec"):
        raise InputError(f"CCC variant is {variant!r}, but must be 'population' or 'avec'")
    n = x.size
    if n == 0 or (variant == "avec" and n == 1):
        return float("nan")
    # Less its first value a constant is exactly zero, so that 0/0 is recognised however the means are rounded.
    dx, dy = x - x[0], y - y[0]
    mean_x, mean_y = dx.mean(), dy.mean()
    dx, dy = dx - mean_x, dy - mean_y
    var_divisor = n if variant == "population" else n - 1
    bias = (x[0] - y[0]) + (mean_x - mean_y)
    psi = (dx @ dx + dy @ dy) / var_divisor + bias * bias
    return float(2 * (dx @ dy) / n / psi) if psi != 0 else float("nan")


def ccc_pooled(predictions: Sequence[ArrayLike], gold: Sequence[ArrayLike]) -> float:
    """Compute one CCC over the frames of all recordings, given one array per recording; NaN if there are no frames."""
    _check_recordings(predictions, gold)
    if not len(predictions):
        return float("nan")
    return ccc(np.concatenate([np.ravel(p) for p in predictions]), np.concatenate([np.ravel(g) for g in gold]))


def ccc_per_recording(predictions: Sequence[ArrayLike], gold: Sequence[ArrayLike]) -> float:
    """Compute the mean of the recordings' own CCCs; NaN if there are no recordings or one of them has no CCC."""
    _check_recordings(predictions, gold)
    if not len(predictions):
        return float("nan")
    return float(np.mean([ccc(p, g) for p, g in zip(predictions, gold, strict=True)]))


def pearson(prediction: ArrayLike, gold: ArrayLike) -> float:
    """Compute Pearson's correlation coefficient r, the CCC that the best affine map of the prediction would reach.

    NaN if one of the two is constant or empty.
    """
    x, y = _flat_pair(prediction, gold)
    if x.size == 0:
        return float("nan")
    dx, dy = x - x[0], y - y[0]
    dx, dy = dx - dx.mean(), dy - dy.mean()
    scale = float(np.sqrt(dx @ dx) * np.sqrt(dy @ dy))
    return float(dx @ dy / scale) if scale != 0 else float("nan")


def _flat_pair(prediction: ArrayLike, gold: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(prediction, np.float64).ravel(), np.asarray(gold, np.float64).ravel()
    if x.size != y.size:
        raise InputError(f"prediction has {x.size} values and gold {y.size}: CCC compares them frame by frame")
    return x, y


def _check_recordings(predictions: Sequence[ArrayLike], gold: Sequence[ArrayLike]) -> None:
    if len(predictions) != len(gold):
        raise InputError(f"predictions of {len(predictions)} recordings, but gold of {len(gold)}")
    for number, (p, g) in enumerate(zip(predictions, gold, strict=True)):
        if np.size(p) != np.size(g):
            raise InputError(f"recording {number}: {np.size(p)} predicted frames, but {np.size(g)} gold frames")
