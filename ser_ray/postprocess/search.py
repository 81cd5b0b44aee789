"""The searches for a chain on devel: the paper's, step after step, and the exact optimum of the whole grid.

The paper's order and ranges are those of its section 5.1: median windows up to 20 s, centring, scaling, shifts forward
in time up to 10 s (501 and 250 frames at 25 Hz). Only odd windows are tried: an even one has no middle frame. That
search picks its window before it knows the other steps, where smoothing costs variance, and so settles too early; the
exhaustive one looks at every combination, with shifts both ways.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess.chain import SMALLEST_STD, PostProcessing, apply, fitted, mean_and_std
from ser_ray.postprocess.choice import best_steps, greedy_steps
from ser_ray.postprocess.config import Method
from ser_ray.postprocess.crossfit import Chooser, crossfit_ccc
from ser_ray.postprocess.devel import Devel
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.sums import GridSums, added
from ser_ray.postprocess.table import ccc_table

Array = NDArray[np.float64]


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
        crossfit_ccc: the CCC that unseen recordings are estimated to get (see `ser_ray.postprocess.crossfit`); NaN
            where it was not asked for, or devel has but one recording.
        folds: in which that was estimated.
        table: [windows, centre (off, on), scale (off, on), shifts], the devel CCC of every chain;
            None if the search does not compute it.
        windows: [windows], odd lengths in frames, or None.
        shifts: [shifts], in frames, or None.
    """

    chain: PostProcessing
    ccc: float
    raw_ccc: float
    gains: StepGains
    crossfit_ccc: float = float("nan")
    folds: int = 1
    table: Array | None = None
    windows: NDArray[np.int64] | None = None
    shifts: NDArray[np.int64] | None = None


def search_greedy(
    predictions: Sequence[ArrayLike],
    gold: Sequence[ArrayLike],
    *,
    max_window_frames: int = 501,
    max_shift_frames: int = 250,
    folds: int = 1,
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
        folds: of recordings, in which the CCC on unseen ones is estimated; 1 for no estimate.

    Returns:
        The chain and its devel CCC; no table.

    Raises:
        InputError: if recordings or lengths do not match, there are none, values are not finite, or
            the grid is not legal.
    """
    grid = Grid(max_window_frames, max_shift_frames)
    devel = Devel.of(predictions, gold, folds)
    if len(devel.folds) > 1:
        return search_targets([devel], _all_sums([devel], grid), grid, ("greedy",))["greedy"][0]
    traces, labels = devel.traces()
    if _is_constant(labels):
        return _finished(PostProcessing(), devel)

    def shifted(row: int, centre: int, scale: int) -> Array:
        filtered = Devel.of(apply(PostProcessing(median_window=grid.windows[row]), traces), labels)
        table = ccc_table(filtered.sums(Grid(1, max_shift_frames), 0))
        return table[0, centre, scale, max_shift_frames:]

    unshifted = ccc_table(devel.sums(Grid(max_window_frames, 0), 0))[..., 0]
    return _finished(greedy_steps(unshifted, shifted, grid), devel)


def search_exhaustive(
    predictions: Sequence[ArrayLike],
    gold: Sequence[ArrayLike],
    *,
    max_window_frames: int = 501,
    max_shift_frames: int = 250,
    forward_only: bool = False,
    folds: int = 1,
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
        folds: of recordings, in which the CCC on unseen ones is estimated; 1 for no estimate.

    Returns:
        The chain, its devel CCC, and the table of all.

    Raises:
        InputError: if recordings or lengths do not match, there are none, values are not finite, or
            the grid is not legal.
    """
    grid = Grid(max_window_frames, max_shift_frames, forward_only)
    devel = Devel.of(predictions, gold, folds)
    return search_targets([devel], _all_sums([devel], grid), grid, ("exhaustive",))["exhaustive"][0]


def search_targets(
    devel: Sequence[Devel],
    sums: Sequence[Sequence[GridSums]],
    grid: Grid,
    methods: Sequence[Method],
    *,
    joint: bool = False,
) -> Mapping[Method, Sequence[SearchResult]]:
    """Return what each search finds for each target, out of sums that all of them share.

    Args:
        devel: of each target; jointly searched ones have the same recordings.
        sums: of each target and fold, `devel[target].sums(grid, fold)`.
        grid: of chains.
        methods: which searches.
        joint: choose the same steps for all targets, by the mean of their CCCs; constants are each target's own.

    Returns:
        Method -> a result per target; those of the exhaustive search with its table, jointly the table of the mean.
    """
    choosers = {method: _chooser(method, grid, joint=joint) for method in methods}
    tables = [
        np.zeros((len(grid.windows), 2, 2, 2 * grid.max_shift_frames + 1))
        if _is_constant(one.traces()[1])
        else ccc_table(added(of_target))
        for one, of_target in zip(devel, sums, strict=True)
    ]
    unseen = _crossfit(devel, sums, list(choosers.values()), grid, joint=joint)
    results: dict[Method, Sequence[SearchResult]] = {}
    for (method, choose), cccs in zip(choosers.items(), unseen, strict=True):
        results[method] = [
            replace(_finished(steps, one), crossfit_ccc=ccc, folds=len(one.folds))
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


def _chooser(method: Method, grid: Grid, *, joint: bool) -> Chooser:
    """Return what chooses each target's steps by the targets' tables over all shifts."""

    def steps(table: Array) -> PostProcessing:
        if method == "exhaustive":
            return best_steps(_within(grid, table), grid)
        unshifted = grid.max_shift_frames
        return greedy_steps(table[..., unshifted], lambda *indices: table[(*indices, slice(unshifted, None))], grid)

    def choose(tables: Sequence[Array]) -> Sequence[PostProcessing]:
        return [steps(_mean(tables))] * len(tables) if joint else [steps(table) for table in tables]

    return choose


def _crossfit(
    devel: Sequence[Devel],
    sums: Sequence[Sequence[GridSums]],
    choosers: Sequence[Chooser],
    grid: Grid,
    *,
    joint: bool,
) -> list[list[float]]:
    """Return the CCC on unseen recordings, [methods][targets]."""
    if joint:
        return crossfit_ccc(devel, sums, choosers, grid)
    alone = [crossfit_ccc([one], [of_target], choosers, grid) for one, of_target in zip(devel, sums, strict=True)]
    return [[of_target[method][0] for of_target in alone] for method in range(len(choosers))]


def _mean(tables: Sequence[Array]) -> Array:
    return sum(tables[1:], tables[0]) / len(tables)


def _within(grid: Grid, table: Array) -> Array:
    """Return the part of a table over all shifts that is in the grid."""
    return table[..., grid.max_shift_frames :] if grid.forward_only else table


def _finished(steps: PostProcessing, devel: Devel) -> SearchResult:
    """Return the result of a search without a table: the chain with its constants, and its CCC as a user gets it.

    Args:
        steps: the chain found; its constants are fitted here. Where its filtered predictions are constant, as one
            target's may be when targets are searched jointly, it does not scale.
        devel: of the target.
    """
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
    """Return whether all frames of all recordings have one value, but for underflow."""
    return mean_and_std(traces)[1] <= SMALLEST_STD
