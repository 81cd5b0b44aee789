"""Cross-fitting: an estimate, from devel alone, of a search's gain on recordings that it has not seen.

A search always gains on the recordings by which it chooses a chain. Here each fold of recordings goes through the chain
that the same search chooses on all other folds, constants included. With x the resulting traces, y the gold, m_f the
mean over all of devel after the chain of fold f, and sums over each fold's own frames,

    cov = sum_f sum_t (x_t - m_f)(y_t - mean(y)) / n        var_x = sum_f sum_t (x_t - m_f)^2 / n
    b^2 = sum_f n_f ((m_f - mean(y))^2 + c_f e^2) / n       CCC = 2 cov / (var_x + var(y) + b^2)

where c_f is 1 if that chain centres, else 0, and e^2 is the squared standard error of the mean of x - y over
recordings: the expected squared error of a mean that is fitted on devel, for other recordings. The plain CCC of x and y
would be too low: if one fold lies high, the others lie low, and a chain centred on these moves it the wrong way.
benchmarks/bench_unseen.py compares this estimate, the plain one and the gain on devel with the gain on a thousand
unseen recordings.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ser_ray.postprocess.chain import SMALLEST_STD, Array, PostProcessing, apply
from ser_ray.postprocess.devel import Devel
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.sums import GridSums, added
from ser_ray.postprocess.table import ccc_table, moments

Chooser = Callable[[Sequence[Array]], Sequence[PostProcessing]]
"""Maps each target's table of CCCs, [windows, centre, scale, all shifts], to each target's steps."""


def crossfit_ccc(
    devel: Sequence[Devel], sums: Sequence[Sequence[GridSums]], choosers: Sequence[Chooser], grid: Grid
) -> list[list[float]]:
    """Estimate the CCC [methods][targets] that the chains of searches reach on unseen recordings.

    All targets have the same folds; `sums` are of each target and fold, `choosers` of each method. All are NaN if there
    is only one fold.
    """
    if len(devel[0].folds) < 2:
        return [[float("nan")] * len(devel) for _ in choosers]
    totals = [added(of_target) for of_target in sums]
    unseen = [[_Unseen(one.gold.mean(dtype=np.float64)) for one in devel] for _ in choosers]
    for fold, rests in enumerate(zip(*(_rests(of_target) for of_target in sums), strict=True)):
        tables = [ccc_table(rest) for rest in rests]
        for choose, of_method in zip(choosers, unseen, strict=True):
            targets = zip(choose(tables), rests, totals, devel, of_method, strict=True)
            for steps, rest, total, one, found in targets:
                chain = _fitted(steps, rest, grid)
                predictions, gold = one.traces(one.folds[fold])
                found.add(apply(chain, predictions), gold, _mean_over_all(chain, total, grid), centred=chain.centre)
    return [[found.ccc() for found in of_method] for of_method in unseen]


@dataclass
class _Unseen:
    """Sums over traces, each processed by a chain that was found without it; `gold_mean` is of all devel."""

    gold_mean: float
    frames: int = 0
    covariance: float = 0.0
    squares: float = 0.0
    gold_squares: float = 0.0
    bias: float = 0.0
    centred_frames: int = 0
    residuals: list[tuple[int, float]] = field(default_factory=list)
    """Frames of each recording, and the mean of its trace minus its gold."""

    def add(self, traces: Sequence[Array], gold: Sequence[Array], chain_mean: float, *, centred: bool) -> None:
        """Add the processed traces and gold of a fold; `chain_mean` is the mean of all of devel after its chain."""
        for trace, true in zip(traces, gold, strict=True):
            x, y = trace - chain_mean, true - self.gold_mean
            self.covariance += float(x @ y)
            self.squares += float(x @ x)
            self.gold_squares += float(y @ y)
            self.residuals.append((x.size, float((trace - true).mean())))
        frames = sum(trace.size for trace in traces)
        self.frames += frames
        self.bias += frames * (chain_mean - self.gold_mean) ** 2
        self.centred_frames += frames if centred else 0

    def ccc(self) -> float:
        """Compute the estimate; NaN for 0/0."""
        psi = self.squares + self.gold_squares + self.bias + self.centred_frames * self._squared_error()
        return 2 * self.covariance / psi if psi > 0 else float("nan")

    def _squared_error(self) -> float:
        """Compute the squared standard error over recordings of the mean residual."""
        mean = math.fsum(frames * residual for frames, residual in self.residuals) / self.frames
        spread = math.fsum((frames / self.frames * (residual - mean)) ** 2 for frames, residual in self.residuals)
        return spread * len(self.residuals) / (len(self.residuals) - 1)


def _fitted(steps: PostProcessing, sums: GridSums, grid: Grid) -> PostProcessing:
    """Fit a chain's constants to the recordings of the sums; constant predictions are not scaled."""
    found, row = moments(sums), grid.windows.index(steps.median_window)
    return replace(
        steps,
        scale=steps.scale and bool(found.prediction_std[row] > SMALLEST_STD),
        prediction_mean=float(found.prediction_mean[row]),
        prediction_std=float(found.prediction_std[row]),
        gold_mean=found.gold_mean,
        gold_std=found.gold_std,
    )


def _mean_over_all(chain: PostProcessing, total: GridSums, grid: Grid) -> float:
    """Compute the mean of all recordings after a chain from their sums."""
    row, column = grid.windows.index(chain.median_window), total.max_shift + chain.shift
    mean = float(total.references.prediction[row] + total.first[row, column] / total.frames)
    factor = chain.gold_std / chain.prediction_std if chain.scale else 1.0
    return (mean - chain.prediction_mean) * factor + (chain.gold_mean if chain.centre else chain.prediction_mean)


def _rests(sums: Sequence[GridSums]) -> Iterator[GridSums]:
    """Yield the sums of all other folds for each fold, by addition: subtraction from the total would lose digits."""
    after = [sums[-1]]
    for one in reversed(sums[1:-1]):
        after.append(added((one, after[-1])))
    before: GridSums | None = None
    for fold, one in enumerate(sums):
        parts = [part for part in (before, after.pop() if fold < len(sums) - 1 else None) if part is not None]
        yield added(parts)
        before = one if before is None else added((before, one))
