"""Make the gold standard of one recording from the traces of several raters, and measure their agreement.

A rater's value is NaN in frames that the rater did not rate. The gold standard of a frame is made from the raters who
rated it, and two raters are compared over the frames that both rated.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray

from ser_ray.errors import InputError
from ser_ray.metrics import ccc, pearson

Method = Literal["mean", "ewe", "ccc_centred"]
METHODS: tuple[Method, ...] = get_args(Method)


def gold_standard(ratings: ArrayLike, method: str = "ewe") -> Float64[NDArray[np.float64], " frames"]:
    """Combine the ratings of one recording into its gold standard.

    Ratings are [raters, frames], NaN where a rater gave none; every rater must rate some frame, and every frame must
    have a rater. The methods are:

    - "mean".
    - "ewe", the evaluator-weighted estimator (Grimm & Kroschel 2005): a rater's weight is Pearson's r with the mean of
      all raters (itself included), negative values set to 0.
    - "ccc_centred", as in AVEC 2018 (Ringeval et al.): the unweighted mean of the centred traces plus a weighted mean
      of the raters' means; a rater's weight is its mean CCC with each of the others.

    Where the weights of a frame's raters add up to 0 (such as all raters constant), their weights are equal.

    Raises:
        InputError: if the shape, a value or the method is not as above.
    """
    traces = _checked(ratings, method)
    if method == "mean":
        return np.asarray(np.nanmean(traces, axis=0))
    weights = rater_weights(traces, method)
    if method == "ewe":
        return _weighted_mean(traces, weights)
    means = np.nanmean(traces, axis=1)
    centred = np.nanmean(traces - means[:, None], axis=0)
    return np.asarray(centred + _weighted_mean(means[:, None], weights))


def rater_weights(ratings: ArrayLike, method: str) -> Float64[NDArray[np.float64], " raters"]:
    """Return each rater's weight in `gold_standard`, on an arbitrary scale.

    The weights are 1 for "mean", `ewe_weights` for "ewe", and `agreement` for "ccc_centred".
    """
    traces = _checked(ratings, method)
    if method == "mean":
        return np.ones(len(traces))
    return ewe_weights(traces) if method == "ewe" else agreement(traces)


def ewe_weights(traces: Float64[NDArray[np.float64], "raters frames"]) -> Float64[NDArray[np.float64], " raters"]:
    """Return Pearson's r of each rater with the mean of all raters, over the rater's own frames, in [0, 1].

    It is 0 for a rater whose trace is constant.
    """
    mean = np.nanmean(traces, axis=0)
    present = ~np.isnan(traces)
    pairs = zip(traces, present, strict=True)
    return np.array([max(0.0, np.nan_to_num(pearson(trace[spoken], mean[spoken]))) for trace, spoken in pairs])


def agreement(traces: Float64[NDArray[np.float64], "raters frames"]) -> Float64[NDArray[np.float64], " raters"]:
    """Return each rater's mean CCC with the other raters, in [-1, 1]; 1 for a single rater.

    A pair is compared over the frames that both rated, and left out if there are none. A pair of equal constants counts
    as 0, and so does a rater without any pair.
    """
    n = len(traces)
    if n == 1:
        return np.ones(1)
    present = ~np.isnan(traces)
    pairs, met = np.zeros((n, n)), np.zeros((n, n), np.int64)
    for i in range(n):
        for j in range(i):
            both = present[i] & present[j]
            met[i, j] = met[j, i] = both.any()
            pairs[i, j] = pairs[j, i] = np.nan_to_num(ccc(traces[i][both], traces[j][both]))
    return np.asarray(pairs.sum(axis=1) / np.maximum(1, met.sum(axis=1)))


def cronbach_alpha(traces: Float64[NDArray[np.float64], "raters frames"]) -> float:
    """Return Cronbach's alpha of the raters of one recording, at most 1.

    k / (k - 1) * (1 - sum of the raters' variances / variance of their sum), over the frames that all k raters rated
    (Cronbach 1951). The divisor of the variances (n or n - 1) cancels. The result is NaN for a single rater, for fewer
    than two such frames, and where the sum is constant.
    """
    k = len(traces)
    whole = traces[:, ~np.isnan(traces).any(axis=0)]
    if k < 2 or whole.shape[1] < 2:
        return float("nan")
    # Less its first value, a constant trace is exactly zero, whereas its mean may be rounded.
    moved = whole - whole[:, :1]
    of_sum = moved.sum(axis=0).var()
    return float(k / (k - 1) * (1 - moved.var(axis=1).sum() / of_sum)) if of_sum > 0 else float("nan")


def _checked(ratings: ArrayLike, method: str) -> NDArray[np.float64]:
    """Return ratings as float64; refuse those from which no gold standard can be made."""
    if method not in METHODS:
        raise InputError(f"gold standard is {method!r}, but must be one of {', '.join(METHODS)}")
    traces = np.asarray(ratings, np.float64)
    if traces.ndim != 2 or not traces.size:
        raise InputError(f"ratings have shape {traces.shape}, but must be [raters, frames], not empty")
    if np.isinf(traces).any():
        rater, frame = (int(i) for i in np.argwhere(np.isinf(traces))[0])
        raise InputError(
            f"ratings contain {traces[rater, frame]} at rater {rater}, frame {frame}, but must be finite, or NaN for "
            "no rating"
        )
    silent = np.isnan(traces)
    if silent.all(axis=1).any():
        raise InputError(
            f"rater {int(silent.all(axis=1).argmax())} has no rating in any of {traces.shape[1]} frames (all NaN): "
            "leave the rater out"
        )
    alone = silent.all(axis=0)
    if alone.any():
        raise InputError(
            f"no rater has a rating at frame {int(alone.argmax())} ({int(alone.sum())} such frames; all NaN): every "
            "frame needs one"
        )
    return traces


def _weighted_mean(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted mean of each column's numbers; the plain mean where the weights add up to 0."""
    present = ~np.isnan(rows)
    plain = np.nanmean(rows, axis=0)
    # Where all raters rated all frames, keep this order of summation: fingerprints of synthetic corpora depend on it.
    total = weights.sum() if present.all() else weights @ present
    summed = weights @ np.where(present, rows, 0)
    return np.asarray(np.divide(summed, total, out=plain, where=total != 0))
