"""The level at which audio becomes int16: as it is, unless int16 would cut it off or lose it."""

import math

import numpy as np
from numpy.typing import NDArray

FINE_SUBTYPES = frozenset({"PCM_24", "PCM_32", "FLOAT", "DOUBLE"})
"""Types of samples that tell more of a quiet recording than int16 can."""
QUIET = 2.0**-8
"""Of full scale: below it int16 has fewer than 8 of its 16 bits left."""
FLOAT_SUBTYPES = frozenset({"FLOAT", "DOUBLE"})
CODEC_OVERSHOOT = 1.5
"""So far lossy codecs go beyond full scale by themselves, with audio that was within: it is cut off, as players do."""
SILENT = 2.0**-20
"""Of full scale: below it even the finer types hold little but their own rounding."""


def peak_of(samples: NDArray[np.float32]) -> float:
    """Return the largest distance from 0 of samples; 0 of none."""
    return float(max(samples.max(), -samples.min())) if samples.size else 0.0


def full_scale(peak: float, subtype: str) -> float:
    """Return the value that is to become the largest of int16.

    It is 1 for a recording that int16 holds as it is; its peak for one that goes beyond full scale, or that is of a
    finer type and so quiet that int16 would lose it. `subtype` is libsndfile's name of the file's type of samples.
    """
    beyond = peak > (1 if subtype in FLOAT_SUBTYPES else CODEC_OVERSHOOT)
    quiet = SILENT <= peak < QUIET and subtype in FINE_SUBTYPES
    return peak if beyond or quiet else 1.0


def level_warning(path: object, scale: float) -> str:
    """Return the warning for a recording whose peak, `scale`, became the largest value of int16."""
    if scale > 1:
        return f"{path} goes beyond full scale, to {scale:.6g}: it is scaled down by that peak"
    return (
        f"{path} is so quiet that 16 bits would lose it (its peak is {20 * math.log10(scale):.1f} dB of full scale): "
        "it is scaled up by its peak"
    )
