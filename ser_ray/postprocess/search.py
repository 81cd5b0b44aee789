"""The paper's search for a chain: step after step, each kept if it makes the devel CCC better.

Order and ranges are those of section 5.1: median windows up to 20 s, centring, scaling, shifts
forward in time up to 10 s (501 and 250 frames at 25 Hz). Only odd windows are tried: an even one
has no middle frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ser_ray.errors import InputError
from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess.chain import (
    SMALLEST_STD,
    PostProcessing,
    apply,
    checked_traces,
    fitted,
    mean_and_std,
    whole,
)
from ser_ray.postprocess.grid import ccc_table

Array = NDArray[np.float64]

# Differences of CCC up to this are rounding: they make nothing better.
TIE = 1e-12
MAX_FRAMES = 10_001
MAX_CHAINS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class StepGains:
    """By how much each step of a chain, added in order, raises the pooled devel CCC; 0 where a step is not taken."""

    median: float = 0.0
    centre: float = 0.0
    scale: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """What a search found.

    Args:
        chain: the chain, with the constants of devel.
        ccc: pooled devel CCC of `apply(chain, predictions)`; NaN if predictions and gold are one
            and the same constant.
        raw_ccc: pooled devel CCC of the predictions as they are.
        gains: what each step added.
        table: [windows, centre (off, on), scale (off, on), shifts], the devel CCC of every chain;
            None if the search does not compute it.
        windows: [windows], odd lengths in frames, or None.
        shifts: [shifts], in frames, or None.
    """

    chain: PostProcessing
    ccc: float
    raw_ccc: float
    gains: StepGains
    table: Array | None = None
    windows: NDArray[np.int64] | None = None
    shifts: NDArray[np.int64] | None = None


def search_greedy(
    predictions: Sequence[ArrayLike],
    gold: Sequence[ArrayLike],
    *,
    max_window_frames: int = 501,
    max_shift_frames: int = 250,
) -> SearchResult:
    """Return the paper's chain: the best median window, then centring, scaling and a shift forward in time.

    Each step is kept if it raises the pooled devel CCC (by more than rounding, 1e-12); of equal
    windows or shifts the smallest is taken. Constants are fitted on the filtered predictions before
    the shift. Where predictions or gold are constant, the chain has no step.

    Args:
        predictions: raw predictions of the devel partition, one array of frames per recording.
        gold: its gold, likewise.
        max_window_frames: windows 1, 3, ... up to this odd number are tried.
        max_shift_frames: shifts 0, 1, ... up to this are tried.

    Returns:
        The chain and its devel CCC; no table.

    Raises:
        InputError: if recordings or lengths do not match, there are none, values are not finite, or
            the grid is not legal.
    """
    windows, max_shift = checked_grid(max_window_frames, max_shift_frames)
    traces, labels = checked_devel(predictions, gold)
    if is_constant(labels):
        return finished(PostProcessing(), traces, labels)
    unshifted = ccc_table(traces, labels, windows, 0)[..., 0]
    row = _first_best(unshifted[:, 0, 0])
    centre = int(unshifted[row, 1, 0] > unshifted[row, 0, 0] + TIE)
    scale = int(unshifted[row, centre, 1] > unshifted[row, centre, 0] + TIE)
    filtered = apply(PostProcessing(median_window=windows[row]), traces)
    shifted = ccc_table(filtered, labels, (1,), max_shift)
    shift = _first_best(shifted[0, centre, scale, max_shift:])
    chain = PostProcessing(median_window=windows[row], centre=bool(centre), scale=bool(scale), shift=shift)
    return finished(chain, traces, labels)


def finished(steps: PostProcessing, predictions: Sequence[Array], gold: Sequence[Array]) -> SearchResult:
    """Return the result of a search without a table.

    Args:
        steps: the chain found; its constants are fitted here.
        predictions: one array of frames per recording.
        gold: likewise.

    Returns:
        The chain with its constants, and its CCC as a user gets it, by `apply` and
        `ser_ray.metrics.ccc_pooled`.
    """
    filtered = apply(PostProcessing(median_window=steps.median_window), predictions)
    chain = fitted(steps, filtered, gold)
    raw = ccc_pooled(predictions, gold)
    stage = replace(chain, median_window=1, centre=False, scale=False, shift=0)
    added: dict[str, PostProcessing] = {}
    if chain.median_window > 1:
        added["median"] = stage
    if chain.centre:
        added["centre"] = stage = replace(stage, centre=True)
    if chain.scale:
        added["scale"] = stage = replace(stage, scale=True)
    if chain.shift:
        added["shift"] = stage = replace(stage, shift=chain.shift)
    reached, gains = raw, {}
    for step, stage in added.items():
        value = ccc_pooled(apply(stage, filtered), gold)
        gains[step], reached = value - reached, value
    return SearchResult(chain=chain, ccc=reached, raw_ccc=raw, gains=StepGains(**gains))


def is_constant(traces: Sequence[Array]) -> bool:
    """Return whether all frames of all recordings have one value, but for underflow."""
    return mean_and_std(traces)[1] <= SMALLEST_STD


def checked_grid(max_window_frames: int, max_shift_frames: int) -> tuple[tuple[int, ...], int]:
    """Return the windows and the largest shift of a search.

    Raises:
        InputError: if the longest window is even or below 1, the largest shift negative, or the
            grid too large.
    """
    window = whole("max_window_frames", max_window_frames)
    shift = whole("max_shift_frames", max_shift_frames)
    if not (1 <= window <= MAX_FRAMES and window % 2):
        raise InputError(f"max_window_frames is {window}, but must be odd and within 1 to {MAX_FRAMES}")
    if not 0 <= shift <= MAX_FRAMES:
        raise InputError(f"max_shift_frames is {shift}, but must be within 0 to {MAX_FRAMES}")
    windows = tuple(range(1, window + 1, 2))
    chains = len(windows) * 4 * (2 * shift + 1)
    if chains > MAX_CHAINS:
        raise InputError(
            f"max_window_frames {window} and max_shift_frames {shift} make a grid of {chains:,} chains, but at most"
            f" {MAX_CHAINS:,} are searched: lower one of them"
        )
    return windows, shift


def checked_devel(predictions: Sequence[ArrayLike], gold: Sequence[ArrayLike]) -> tuple[list[Array], list[Array]]:
    """Return devel predictions and gold as float64 arrays that match.

    Raises:
        InputError: if recordings or lengths do not match, there are none, one is empty, or values
            are not finite.
    """
    if len(predictions) != len(gold):
        raise InputError(f"predictions of {len(predictions)} recordings, but gold of {len(gold)}: a search needs both")
    x, y = checked_traces("predictions", predictions), checked_traces("gold", gold)
    if not x:
        raise InputError("predictions hold no recordings: a search needs those of the devel partition")
    for index, (p, g) in enumerate(zip(x, y, strict=True)):
        if p.size != g.size:
            raise InputError(
                f"recording {index} has {p.size} predicted frames, but {g.size} gold frames: cut them to one length"
            )
        if not p.size:
            raise InputError(f"recording {index} is empty: leave it out")
    return x, y


def _first_best(values: Array) -> int:
    """Return the index of the first value that no other exceeds by more than rounding."""
    assert not np.isnan(values.max())
    return int(np.argmax(values >= values.max() - TIE))
