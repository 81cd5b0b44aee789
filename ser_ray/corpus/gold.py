"""The gold standard of one recording, from the traces of several raters."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ser_ray.errors import InputError
from ser_ray.metrics import ccc, pearson

Method = Literal["mean", "ewe", "ccc_centred"]
METHODS: tuple[Method, ...] = get_args(Method)


def gold_standard(ratings: ArrayLike, method: str = "ewe") -> NDArray[np.float64]:
    """Return the gold standard of one recording.

    Args:
        ratings: [raters, frames], finite; at least one of each.
        method: "mean" of the raters; "ewe", the evaluator-weighted estimator (Grimm & Kroschel
            2005), in which a rater weighs Pearson's r with the mean of all raters (itself
            included), negatives cut to 0; "ccc_centred" as in the AVEC 2018 challenge (Ringeval et
            al.): the mean of the traces less each one's own mean, around the mean of the raters'
            means, in which a rater weighs its mean CCC with each of the others.

    Returns:
        float64 [frames]. Where no rater has a weight (all constant), all weigh the same.

    Raises:
        InputError: if the shape, a value or the method is not as above.
    """
    traces = np.asarray(ratings, np.float64)
    if traces.ndim != 2 or not traces.size:
        raise InputError(f"ratings have shape {traces.shape}, but must be [raters, frames], not empty")
    if not np.isfinite(traces).all():
        rater, frame = (int(i) for i in np.argwhere(~np.isfinite(traces))[0])
        raise InputError(f"ratings hold {traces[rater, frame]} at rater {rater}, frame {frame}: not a number")
    if method == "mean":
        return np.asarray(traces.mean(axis=0))
    if method == "ewe":
        return _weighted_mean(traces, ewe_weights(traces))
    if method == "ccc_centred":
        means = traces.mean(axis=1)
        centred = (traces - means[:, None]).mean(axis=0)
        return np.asarray(centred + _weighted_mean(means[:, None], agreement(traces)))
    raise InputError(f"gold standard is {method!r}, but must be one of {', '.join(METHODS)}")


def ewe_weights(traces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each rater's weight in the evaluator-weighted estimator.

    Args:
        traces: [raters, frames].

    Returns:
        [raters], Pearson's r with the mean of all, in [0, 1]; 0 for a rater without any movement.
    """
    mean = traces.mean(axis=0)
    return np.array([max(0.0, np.nan_to_num(pearson(trace, mean))) for trace in traces])


def agreement(traces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each rater's mean CCC with each of the other raters.

    Args:
        traces: [raters, frames].

    Returns:
        [raters], in [-1, 1]; 1 for a single rater; two equal constants count as 0.
    """
    n = len(traces)
    if n == 1:
        return np.ones(1)
    pairs = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            pairs[i, j] = pairs[j, i] = np.nan_to_num(ccc(traces[i], traces[j]))
    return np.asarray(pairs.sum(axis=1) / (n - 1))


def _weighted_mean(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total = weights.sum()
    return np.asarray(rows.mean(axis=0) if total == 0 else weights @ rows / total)
