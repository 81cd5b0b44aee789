"""The chain of post-processing steps of a trained model's predictions: median filter, centring, scaling, shift.

The steps and their order are those of the paper (section 5.1). Means and deviations of the devel partition are part of
the chain, so that exactly the same steps are applied to the test partition and to any other audio.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter

from ser_ray.errors import InputError
from ser_ray.postprocess.grid import whole

Array = NDArray[np.float64]
Array1D = Float64[Array, " _"]
"""Values of one recording, one per frame."""

# Squares and ratios of squares of values within this stay finite in float64.
LARGEST_VALUE = 1e50
# A deviation up to this is zero but for underflow.
SMALLEST_STD = 1e-100


@dataclass(frozen=True, kw_only=True)
class PostProcessing:
    """A chain of median filter, centring, scaling about the mean, shift, in this order. Illegal values: InputError.

    Args:
        median_window: length of the median filter in frames; odd, 1 filters nothing.
        centre: whether predictions are moved from `prediction_mean` to `gold_mean`.
        scale: whether their deviations from `prediction_mean` are multiplied by `gold_std / prediction_std`.
        shift: frames by which predictions are moved later in time; negative moves them earlier.
        prediction_mean: mean of the filtered devel predictions, pooled over recordings.
        prediction_std: their population standard deviation.
        gold_mean: mean of the devel gold, pooled over recordings.
        gold_std: its population standard deviation.
    """

    median_window: int = 1
    centre: bool = False
    scale: bool = False
    shift: int = 0
    prediction_mean: float = 0.0
    prediction_std: float = 1.0
    gold_mean: float = 0.0
    gold_std: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields; NumPy's numbers become Python's."""
        window = whole("median_window", self.median_window)
        if window < 1 or window % 2 == 0:
            raise InputError(f"median_window is {window}, but must be an odd number of frames, 1 (no filter) or more")
        object.__setattr__(self, "median_window", window)
        object.__setattr__(self, "shift", whole("shift", self.shift))
        for name in ("centre", "scale"):
            object.__setattr__(self, name, bool(getattr(self, name)))
        for name in ("prediction_mean", "prediction_std", "gold_mean", "gold_std"):
            value = float(getattr(self, name))
            if not math.isfinite(value) or (name.endswith("std") and value < 0):
                legal = "finite" if name.endswith("mean") else "finite and not negative"
                raise InputError(f"{name} is {value}, but must be {legal}: fit it on the devel partition")
            object.__setattr__(self, name, value)
        if self.scale and self.prediction_std == 0:
            raise InputError(
                "prediction_std is 0, but scale is on: constant predictions have nothing to scale, switch scale off"
            )

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "PostProcessing":
        """Make the chain of a row of the table `postprocessing`."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def apply(chain: PostProcessing, predictions: Sequence[ArrayLike]) -> list[Array1D]:
    """Apply the steps of a chain to predictions; return new arrays, one per recording.

    Each recording is processed by itself. The median filter and the shift repeat the value at the recording's edge, so
    that a window may be longer than a recording; a shift by its length or more leaves only the edge value. Raises
    InputError if a recording is not one-dimensional, or has values that are not finite.

    >>> apply(PostProcessing(median_window=3, shift=1), [[0.0, 9.0, 1.0, 2.0, 3.0]])[0].tolist()
    [0.0, 0.0, 1.0, 2.0, 2.0]
    """
    return [
        _shifted(_rescaled(_median_filtered(trace, chain.median_window), chain), chain.shift)
        for trace in checked_traces("predictions", predictions)
    ]


def fitted(chain: PostProcessing, filtered: Sequence[Array1D], gold: Sequence[Array1D]) -> PostProcessing:
    """Fit the constants of a chain to devel, given its median-filtered predictions and its gold."""
    prediction_mean, prediction_std = mean_and_std(filtered)
    gold_mean, gold_std = mean_and_std(gold)
    return replace(
        chain, prediction_mean=prediction_mean, prediction_std=prediction_std, gold_mean=gold_mean, gold_std=gold_std
    )


def mean_and_std(traces: Sequence[Array1D]) -> tuple[float, float]:
    """Compute mean and population standard deviation of all frames; for a constant they are exact, the latter 0."""
    pooled = np.concatenate(traces)
    relative = pooled - pooled[0]
    mean = relative.mean()
    relative -= mean
    return float(pooled[0] + mean), math.sqrt(float(relative @ relative) / relative.size)


def _median_filtered(trace: Array1D, window: int) -> Array1D:
    """Compute the running median [frames] of a recording, with its edge values repeated beyond its ends."""
    if window == 1 or trace.size == 0:
        return trace.copy()
    # Beyond the recording's own length a window grows by one first and one last value at a time.
    # The median lies between these two, so it stays the same, and an enormous window costs nothing.
    half = min(window // 2, trace.size)
    padded = np.pad(trace, half, mode="edge")
    filtered: Array = median_filter(padded, size=2 * half + 1, mode="nearest")
    return filtered[half : half + trace.size].copy()


def _rescaled(trace: Array1D, chain: PostProcessing) -> Array1D:
    if not chain.centre and not chain.scale:
        return trace
    factor = chain.gold_std / chain.prediction_std if chain.scale else 1.0
    target = chain.gold_mean if chain.centre else chain.prediction_mean
    return (trace - chain.prediction_mean) * factor + target


def _shifted(trace: Array1D, shift: int) -> Array1D:
    if shift == 0 or trace.size == 0:
        return trace
    frames = min(abs(shift), trace.size)
    if shift > 0:
        return np.concatenate([np.repeat(trace[:1], frames), trace[: trace.size - frames]])
    return np.concatenate([trace[frames:], np.repeat(trace[-1:], frames)])


def checked_traces(name: str, traces: Sequence[ArrayLike]) -> list[Array1D]:
    """Convert traces to float64 arrays; raise InputError if one is not 1-D, not finite, or has values beyond 1e50.

    `name` is the name of the traces in messages.
    """
    checked = []
    for index, trace in enumerate(traces):
        values = np.asarray(trace, np.float64)
        if values.ndim != 1:
            raise InputError(
                f"{name}: recording {index} has shape {values.shape}, but {name} must be a list with one 1-D array"
                " of frames per recording"
            )
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise InputError(
                f"{name}: recording {index} has {bad} of {values.size} frames that are NaN or infinite: post-processing"
                " needs numbers, leave such frames or the recording out"
            )
        if values.size and np.abs(values).max() > LARGEST_VALUE:
            raise InputError(
                f"{name}: recording {index} has values beyond {LARGEST_VALUE:g}: no emotion is that strong"
            )
        checked.append(values)
    return checked
