"""Is the estimate of what a search brings on unseen recordings right, and are the right searches warned of?

    python benchmarks/bench_unseen.py [--trials N] [--seed N]

In each trial a devel partition is drawn, both searches choose a chain by it, and the gain of that chain (its CCC less
that of raw predictions) is estimated from devel and taken on a thousand unseen recordings of the same kind. Estimates
are the gain on devel itself, a plain cross-fit (each fold of recordings through the chain chosen on all others, pooled
CCC), and `crossfit_ccc`. Bias is an estimate's mean difference from the true gain, with its standard error; RMSE is
that of single trials.

Trials come in groups that share their unseen recordings, as regimes of one kind do: their sums give the CCC of any
chain at once, and are held against a chain that is applied. Standard errors are those of groups. Data are made up, and
small like the grid, so that there can be many trials: recordings of 600 frames, windows to 61 frames, shifts to 30.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess import PostProcessing, SearchResult, apply
from ser_ray.postprocess.config import SearchMethod
from ser_ray.postprocess.devel import MAX_FOLDS, Devel
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.search import reliability_warning, search_targets
from ser_ray.postprocess.sums import GridSums, added
from ser_ray.postprocess.table import best_steps, ccc_table, greedy_steps, moments

Array = NDArray[np.float64]

GRID = Grid(61, 30)
METHODS: tuple[SearchMethod, ...] = ("greedy", "exhaustive")
GROUPS, UNSEEN = 20, 1000
SMOOTH_FRAMES = 12
ALL_STEPS = PostProcessing(
    median_window=21, centre=True, scale=True, shift=-7, prediction_mean=0.3, prediction_std=0.6, gold_mean=0.1
)
"""A chain that sums are checked by."""
ESTIMATES = ("gain on devel", "plain cross-fit", "`crossfit_ccc`")


@dataclass(frozen=True)
class Kind:
    """Recordings of one kind. Gold has about mean 0 and deviation 1.

    Args:
        frames: of a recording.
        between: part of the gold's variance that is the recording's own level.
        signal: deviation of the gold in the predictions, before the factor.
        smooth_noise: deviation of noise as smooth as the gold.
        level_noise: deviation of noise that is the same throughout a recording.
        white_noise: deviation of noise of each frame.
        ahead: frames by which predictions are ahead of the gold.
        factor: that predictions are multiplied by.
        offset: added to predictions.
    """

    frames: int = 600
    between: float = 0.5
    signal: float = 0.7
    smooth_noise: float = 0.6
    level_noise: float = 0.5
    white_noise: float = 0.6
    ahead: int = 8
    factor: float = 0.5
    offset: float = 0.2

    def draw(self, rng: np.random.Generator, recordings: int) -> tuple[Array, Array]:
        """Return predictions and gold, [recordings, frames]."""
        level, within = np.sqrt(self.between), np.sqrt(1 - self.between)
        true = within * smooth(rng, recordings, self.frames + self.ahead)
        true += level * rng.standard_normal((recordings, 1))
        noise = self.smooth_noise * smooth(rng, recordings, self.frames)
        noise += self.level_noise * rng.standard_normal((recordings, 1))
        noise += self.white_noise * rng.standard_normal((recordings, self.frames))
        return self.factor * (self.signal * true[:, self.ahead :] + noise) + self.offset, true[:, : self.frames]


def smooth(rng: np.random.Generator, recordings: int, frames: int) -> Array:
    """Return noise of deviation 1 that changes within about SMOOTH_FRAMES frames, [recordings, frames]."""
    room = frames + 8 * SMOOTH_FRAMES  # the convolution is circular: what wraps around is cut off
    spectrum = np.fft.rfft(rng.standard_normal((recordings, room)))
    kernel = np.exp(-0.5 * (2 * np.pi * np.fft.rfftfreq(room) * SMOOTH_FRAMES) ** 2)
    smoothed: Array = np.fft.irfft(spectrum * kernel, room)[:, :frames] * np.sqrt(2 * SMOOTH_FRAMES * np.sqrt(np.pi))
    return smoothed


@dataclass(frozen=True)
class Regime:
    """What devel partitions are drawn as.

    Args:
        title: for the table.
        recordings: of devel.
        kind: of recordings.
    """

    title: str
    recordings: int
    kind: Kind


AHEAD = Kind()
REGIMES = (
    Regime("15 recordings that differ much, a delay", 15, AHEAD),
    Regime("15 that differ little, a delay", 15, replace(AHEAD, between=0.2)),
    Regime("15, noisy", 15, replace(AHEAD, signal=0.2, ahead=0)),
    Regime("30, a delay", 30, AHEAD),
    Regime("6, a delay", 6, AHEAD),
    Regime("3, a delay", 3, AHEAD),
    Regime("10 short ones (150 frames), a delay", 10, replace(AHEAD, frames=150)),
    Regime("15, predictions that are noise", 15, replace(AHEAD, signal=0)),
    # deviation 1, and noise like the gold: no step can help
    Regime(
        "15, nothing to be gained",
        15,
        Kind(signal=0.9, smooth_noise=0.308, level_noise=0.308, white_noise=0, ahead=0, factor=1, offset=0),
    ),
)


@dataclass(frozen=True)
class Trial:
    """What one search came to.

    Args:
        group: trials of a group share their unseen recordings.
        true: the gain on these.
        estimates: of it, in the order of ESTIMATES.
        warned: whether the search has a reliability warning.
    """

    group: int
    true: float
    estimates: tuple[float, ...]
    warned: bool


class Unseen:
    """A thousand recordings of a kind, and what any chain of the grid comes to on them.

    Args:
        kind: of recordings.
        rng: they are drawn by.
    """

    def __init__(self, kind: Kind, rng: np.random.Generator) -> None:
        predictions, gold = (list(traces) for traces in kind.draw(rng, UNSEEN))
        self._sums = Devel.of(predictions, gold).sums(GRID, 0)
        self.raw = self.ccc(PostProcessing())
        found, applied = self.ccc(ALL_STEPS), ccc_pooled(apply(ALL_STEPS, predictions), gold)
        if not abs(found - applied) < 1e-9:
            sys.exit(
                f"sums of unseen recordings give a CCC of {found}, but the applied chain {applied}: sums are wrong"
            )

    def ccc(self, chain: PostProcessing) -> float:
        """Return the pooled CCC after a chain."""
        sums, n = self._sums, self._sums.frames
        at = GRID.windows.index(chain.median_window), GRID.max_shift_frames + chain.shift
        mean, gold = sums.first[at] / n, sums.gold_first / n
        factor = chain.gold_std / chain.prediction_std if chain.scale else 1.0
        target = chain.gold_mean if chain.centre else chain.prediction_mean
        centre = (sums.references.prediction[at[0]] + mean - chain.prediction_mean) * factor + target
        psi = factor**2 * (sums.second[at] / n - mean**2) + sums.gold_second / n - gold**2
        psi += (centre - sums.references.gold - gold) ** 2
        return float(2 * factor * (sums.product[at] / n - mean * gold) / psi)


def trials(
    regime: Regime, groups: Sequence[Unseen], count: int, rng: np.random.Generator
) -> Iterator[tuple[Trial, ...]]:
    """Yield a trial per method, for each devel partition drawn."""
    for number in range(count):
        group = number % len(groups)
        unseen = groups[group]
        predictions, gold = (list(traces) for traces in regime.kind.draw(rng, regime.recordings))
        devel = Devel.of(predictions, gold, MAX_FOLDS)
        sums = [devel.sums(GRID, fold) for fold in range(len(devel.folds))]
        found = search_targets([devel], [sums], GRID, METHODS)
        plain = plain_crossfit(devel, sums)
        of_methods = []
        for method in METHODS:
            result: SearchResult = found[method][0]
            cccs = result.ccc, plain[method], result.crossfit_ccc
            of_methods.append(
                Trial(
                    group,
                    unseen.ccc(result.chain) - unseen.raw,
                    tuple(ccc - result.raw_ccc for ccc in cccs),
                    reliability_warning(result, regime.recordings) is not None,
                )
            )
        yield tuple(of_methods)


def plain_crossfit(devel: Devel, sums: Sequence[GridSums]) -> dict[SearchMethod, float]:
    """Return each method's pooled CCC of all traces, each fold's after the chain chosen on all others."""
    processed: dict[SearchMethod, list[Array]] = {method: [] for method in METHODS}
    labels: list[Array] = []
    for fold, recordings in enumerate(devel.folds):
        rest = added(one for number, one in enumerate(sums) if number != fold)
        table, fitted = ccc_table(rest), moments(rest)
        predictions, gold = devel.traces(recordings)
        labels += gold
        for method in METHODS:
            steps = chosen(method, table)
            row = GRID.windows.index(steps.median_window)
            chain = replace(
                steps,
                prediction_mean=float(fitted.prediction_mean[row]),
                prediction_std=float(fitted.prediction_std[row]),
                gold_mean=fitted.gold_mean,
                gold_std=fitted.gold_std,
            )
            processed[method] += apply(chain, predictions)
    return {method: ccc_pooled(traces, labels) for method, traces in processed.items()}


def chosen(method: SearchMethod, table: Array) -> PostProcessing:
    """Return what a method chooses by a table over all shifts."""
    unshifted = GRID.max_shift_frames
    if method == "exhaustive":
        return best_steps(table, GRID)
    return greedy_steps(table[..., unshifted], lambda *indices: table[(*indices, slice(unshifted, None))], GRID)


def print_estimates(found: dict[tuple[Regime, SearchMethod], list[Trial]]) -> None:
    """Print how far each estimate is off."""
    print("| devel | search | true gain | " + " | ".join(f"{name}: bias | RMSE" for name in ESTIMATES) + " |")
    print("|---|---|---|" + "---|---|" * len(ESTIMATES))
    for (regime, method), all_trials in found.items():
        true = np.array([trial.true for trial in all_trials])
        cells = []
        for number in range(len(ESTIMATES)):
            off = np.array([trial.estimates[number] for trial in all_trials]) - true
            bias, error = mean_and_error(off, [trial.group for trial in all_trials])
            cells.append(f"{bias:+.4f} ± {error:.4f} | {np.sqrt(np.mean(off**2)):.4f}")
        print(f"| {regime.title} | {method} | {true.mean():+.4f} | " + " | ".join(cells) + " |")


def print_warned(found: dict[tuple[Regime, SearchMethod], list[Trial]]) -> None:
    """Print the gains of trials with a warning and of the others, in each regime and in all together."""
    titled = {(regime.title, method): all_trials for (regime, method), all_trials in found.items()}
    for method in METHODS:
        titled["all of these", method] = [one for (_, of), those in found.items() if of == method for one in those]
    print("| devel | search | warned | their gain on devel | on unseen | holds | others' gain on devel", end="")
    print(" | on unseen | holds |\n|---|---|---|---|---|---|---|---|---|")
    for (title, method), all_trials in titled.items():
        cells = []
        for warned in (True, False):
            those = [(one.estimates[0], one.true) for one in all_trials if one.warned is warned]
            devel, true = (statistics.fmean(gains) for gains in zip(*those, strict=True)) if those else (0.0, 0.0)
            cells.append(f"{devel:+.4f} | {true:+.4f} | {true / devel:.0%}" if devel > 0 else " | | ")
        share = statistics.fmean(one.warned for one in all_trials)
        print(f"| {title} | {method} | {share:.0%} | " + " | ".join(cells) + " |")


def mean_and_error(values: Array, groups: Sequence[int]) -> tuple[float, float]:
    """Return the mean, and its standard error by groups: within one, values have a cause in common."""
    of_group = np.bincount(groups, values) / np.bincount(groups)
    return float(values.mean()), float(of_group.std(ddof=1) / np.sqrt(of_group.size))


def main() -> None:
    """Run all regimes and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400, help=f"devel partitions of each regime, at least {GROUPS}")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.trials < GROUPS:
        parser.error(f"--trials is {arguments.trials}, but must be at least {GROUPS}: there is one per group")
    rng = np.random.default_rng(arguments.seed)
    unseen: dict[Kind, list[Unseen]] = {}
    found: dict[tuple[Regime, SearchMethod], list[Trial]] = {}
    for regime in REGIMES:
        if regime.kind not in unseen:
            unseen[regime.kind] = [Unseen(regime.kind, rng) for _ in range(GROUPS)]
        drawn = list(trials(regime, unseen[regime.kind], arguments.trials, rng))
        found |= {(regime, method): list(of) for method, of in zip(METHODS, zip(*drawn, strict=True), strict=True)}
    print(
        f"{arguments.trials} devel partitions of each regime, each against one of {GROUPS} sets of {UNSEEN:,} unseen "
        f"recordings.\nRecordings of {Kind.frames} frames, windows up to {GRID.max_window_frames}, shifts up to "
        f"{GRID.max_shift_frames}; {MAX_FOLDS} folds, or one per recording; seed {arguments.seed}\n"
    )
    print_estimates(found)
    print("\nTrials with a reliability warning, and others: mean gains, and how much of that on devel holds\n")
    print_warned(found)


if __name__ == "__main__":
    main()
