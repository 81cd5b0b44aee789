"""Searches for a chain on devel: the paper's greedy one, step after step, and the exact optimum of the whole grid.

The paper's order and ranges are those of its section 5.1: median windows up to 20 s, centring, scaling, shifts forward
in time up to 10 s (501 and 250 frames at 25 Hz). Only odd windows are tried: an even one has no middle frame. The
greedy search chooses its window before the other steps. At that point smoothing costs variance, so it settles too
early. The exhaustive search compares every combination, with shifts both ways.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike, NDArray

from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess.chain import SMALLEST_STD, Array, PostProcessing, apply, fitted, mean_and_std
from ser_ray.postprocess.config import SearchMethod
from ser_ray.postprocess.crossfit import Chooser, crossfit_ccc
from ser_ray.postprocess.devel import Devel
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.sums import GridSums, added
from ser_ray.postprocess.table import best_steps, ccc_table, greedy_steps

MAX_LOST_SHARE = 0.5
"""Share of the gain on devel: if more of it is lost on unseen recordings, the choice is not reliable."""
MIN_LOST_CCC = 0.005
"""A smaller loss of CCC gives no warning, whatever its share of the gain."""


@dataclass(frozen=True, kw_only=True)
class StepGains:
    """Gain in pooled devel CCC by each step of a chain, added in order; 0 for a step that is not taken."""

    median: float = 0.0
    centre: float = 0.0
    scale: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """Result of a search.

    Args:
        chain: with the constants of devel.
        ccc: pooled devel CCC of `apply(chain, predictions)`; NaN if predictions and gold are the same constant.
        raw_ccc: pooled devel CCC of the predictions as they are.
        gains: of each step.
        crossfit_ccc: estimated CCC on unseen recordings (see `ser_ray.postprocess.crossfit`); NaN if it was not
            requested, or devel has only one recording.
        folds: number of folds of that estimate.
        table: devel CCC of every chain, by window, centre (off, on), scale (off, on) and shift; None if the search does
            not compute it.
        windows, shifts: axes of the table in frames; None without a table.
    """

    chain: PostProcessing
    ccc: float
    raw_ccc: float
    gains: StepGains
    crossfit_ccc: float = float("nan")
    folds: int = 1
    table: Float64[Array, "windows 2 2 shifts"] | None = None
    windows: Int[NDArray[np.integer], " windows"] | None = None
    shifts: Int[NDArray[np.integer], " shifts"] | None = None


def search_greedy(
    predictions: Sequence[ArrayLike],
    gold: Sequence[ArrayLike],
    *,
    max_window_frames: int = 501,
    max_shift_frames: int = 250,
    folds: int = 1,
) -> SearchResult:
    """Find the paper's chain: the best median window, then centring, scaling and a shift forward in time.

    Predictions are the raw ones of the devel partition; predictions and gold are one array of frames per recording.
    Windows 1, 3, ... and shifts 0, 1, ... up to the bounds are tried. Each step is kept if it raises the pooled devel
    CCC (by more than rounding, 1e-12); of equal windows or shifts the smallest is taken. Constants are fitted on the
    filtered predictions before the shift. If predictions or gold are constant, the chain has no step. With several
    folds the CCC on unseen recordings is estimated.

    Raises InputError if recordings or lengths do not match, there are none, values are not finite, or the grid is not
    legal.

    >>> gold = [0.0, 0.1, 0.4, 0.8, 0.6, 0.3, 0.1, 0.0]
    >>> ahead = [*gold[2:], 0.0, 0.0]  # two frames too early
    >>> search_greedy([ahead], [gold], max_window_frames=3, max_shift_frames=4).chain.shift
    2
    """
    grid = Grid(max_window_frames, max_shift_frames)
    devel = Devel.of(predictions, gold, folds)
    if len(devel.folds) > 1:
        return search_targets([devel], _all_sums([devel], grid), grid, ("greedy",))["greedy"][0]
    traces, labels = devel.traces()
    if _is_constant(labels):
        return _result_of(PostProcessing(), devel)

    def shifted(row: int, centre: int, scale: int) -> Array:
        filtered = Devel.of(apply(PostProcessing(median_window=grid.windows[row]), traces), labels)
        table = ccc_table(filtered.sums(Grid(1, max_shift_frames), 0))
        return table[0, centre, scale, max_shift_frames:]

    unshifted = ccc_table(devel.sums(Grid(max_window_frames, 0), 0))[..., 0]
    return _result_of(greedy_steps(unshifted, shifted, grid), devel)


def search_exhaustive(
    predictions: Sequence[ArrayLike],
    gold: Sequence[ArrayLike],
    *,
    max_window_frames: int = 501,
    max_shift_frames: int = 250,
    forward_only: bool = False,
    folds: int = 1,
) -> SearchResult:
    """Find the chain with the best pooled devel CCC of all combinations of steps (503,004 by default), with the table.

    Arguments and errors are those of `search_greedy`; shifts go both ways unless forward_only. Chains within 1e-12 of
    the best count as equal, and the simplest of them is taken: the one with the fewest steps, then the smallest window,
    the smallest shift, forward before backward, centring before scaling. If predictions or gold are constant, that is
    the chain without a step, and the table is 0 throughout.
    """
    grid = Grid(max_window_frames, max_shift_frames, forward_only)
    devel = Devel.of(predictions, gold, folds)
    return search_targets([devel], _all_sums([devel], grid), grid, ("exhaustive",))["exhaustive"][0]


def search_targets(
    devel: Sequence[Devel],
    sums: Sequence[Sequence[GridSums]],
    grid: Grid,
    methods: Sequence[SearchMethod],
    *,
    joint: bool = False,
) -> Mapping[SearchMethod, Sequence[SearchResult]]:
    """Run every search for each target on shared sums; return the results by method.

    `sums` are of each target and fold, `devel[target].sums(grid, fold)`. Jointly searched targets have the same
    recordings. They get the same steps, the best by the mean of their CCCs, with constants of their own; the table of
    an exhaustive search is then the mean of their tables.
    """
    choosers = {method: _chooser(method, grid, joint=joint) for method in methods}
    tables = [
        np.zeros((len(grid.windows), 2, 2, 2 * grid.max_shift_frames + 1))
        if _is_constant(one.traces()[1])
        else ccc_table(added(of_target))
        for one, of_target in zip(devel, sums, strict=True)
    ]
    unseen = _crossfit(devel, sums, list(choosers.values()), grid, joint=joint)
    results: dict[SearchMethod, Sequence[SearchResult]] = {}
    for (method, choose), cccs in zip(choosers.items(), unseen, strict=True):
        results[method] = [
            replace(_result_of(steps, one), crossfit_ccc=ccc, folds=len(one.folds))
            for steps, one, ccc in zip(choose(tables), devel, cccs, strict=True)
        ]
    if "exhaustive" in results:
        shown = [_mean(tables)] * len(tables) if joint else tables
        results["exhaustive"] = [
            replace(
                result,
                table=_within(grid, table).copy(),
                windows=np.asarray(grid.windows),
                shifts=np.asarray(grid.shifts),
            )
            for result, table in zip(results["exhaustive"], shown, strict=True)
        ]
    return results


def _all_sums(devel: Sequence[Devel], grid: Grid) -> list[list[GridSums]]:
    return [[one.sums(grid, fold) for fold in range(len(one.folds))] for one in devel]


def _chooser(method: SearchMethod, grid: Grid, *, joint: bool) -> Chooser:
    """Make a function that chooses each target's steps from the targets' tables over all shifts."""

    def steps(table: Array) -> PostProcessing:
        if method == "exhaustive":
            return best_steps(_within(grid, table), grid)
        unshifted = grid.max_shift_frames
        return greedy_steps(table[..., unshifted], lambda *indices: table[(*indices, slice(unshifted, None))], grid)

    def choose(tables: Sequence[Array]) -> Sequence[PostProcessing]:
        return [steps(_mean(tables))] * len(tables) if joint else [steps(table) for table in tables]

    return choose


def _crossfit(
    devel: Sequence[Devel], sums: Sequence[Sequence[GridSums]], choosers: Sequence[Chooser], grid: Grid, *, joint: bool
) -> list[list[float]]:
    """Estimate the CCC on unseen recordings, [methods][targets]."""
    if joint:
        return crossfit_ccc(devel, sums, choosers, grid)
    alone = [crossfit_ccc([one], [of_target], choosers, grid) for one, of_target in zip(devel, sums, strict=True)]
    return [[of_target[method][0] for of_target in alone] for method in range(len(choosers))]


def _mean(tables: Sequence[Array]) -> Array:
    return sum(tables[1:], tables[0]) / len(tables)


def _within(grid: Grid, table: Array) -> Array:
    """Select the part of a table over all shifts that is in the grid."""
    return table[..., grid.max_shift_frames :] if grid.forward_only else table


def _result_of(steps: PostProcessing, devel: Devel) -> SearchResult:
    """Make a result without a table: fit the chain's constants and compute its CCC with `apply`, as a user does."""
    # A target's filtered predictions may be constant in a joint search: then its chain does not scale.
    predictions, gold = devel.traces()
    filtered = apply(PostProcessing(median_window=steps.median_window), predictions)
    chain = fitted(replace(steps, scale=False), filtered, gold)
    chain = replace(chain, scale=steps.scale and chain.prediction_std > SMALLEST_STD)
    raw = ccc_pooled(predictions, gold)
    stage = replace(chain, median_window=1, centre=False, scale=False, shift=0)
    stages: dict[str, PostProcessing] = {}
    if chain.median_window > 1:
        stages["median"] = stage
    if chain.centre:
        stages["centre"] = stage = replace(stage, centre=True)
    if chain.scale:
        stages["scale"] = stage = replace(stage, scale=True)
    if chain.shift:
        stages["shift"] = stage = replace(stage, shift=chain.shift)
    reached, gains = raw, {}
    for step, stage in stages.items():
        value = ccc_pooled(apply(stage, filtered), gold)
        gains[step], reached = value - reached, value
    return SearchResult(chain=chain, ccc=reached, raw_ccc=raw, gains=StepGains(**gains))


def _is_constant(traces: Sequence[Array]) -> bool:
    """Check whether all frames of all recordings have one value, but for underflow."""
    return mean_and_std(traces)[1] <= SMALLEST_STD


def reliability_warning(result: SearchResult, recordings: int) -> str | None:
    """Make a reliability warning if devel, of so many recordings, is too small for the choice of a chain; else None.

    The warning concerns devel and the predictions, not the one chain. In benchmarks/bench_unseen.py few recordings, and
    predictions in which there is nothing to improve, get a warning most of the time. But of two chains that were chosen
    on devels of one kind, the one with a warning is hardly worse.
    """
    gain = result.ccc - result.raw_ccc
    if not gain > 0:  # nothing was chosen, or there is no CCC at all
        return None
    if result.folds < 2:
        return "devel has one recording, so nothing tells what the search brings on others"
    unseen = result.crossfit_ccc - result.raw_ccc
    lost = gain - unseen
    if math.isnan(lost) or lost < max(MIN_LOST_CCC, MAX_LOST_SHARE * gain):
        return None
    return (
        f"the search gains {gain:+.3f} on devel, but an estimated {unseen:+.3f} on recordings that it has not seen: "
        f"{recordings} recordings are too few to choose a chain by"
    )
