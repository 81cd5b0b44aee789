"""Time the searches for a post-processing chain beside the obvious loop, in one run, on one core.

Run `OPENBLAS_NUM_THREADS=1 python benchmarks/bench_postprocessing.py`; with more threads the loop's
dot products burn CPU time in waiting. The data are synthetic: 15 recordings of 7,500 frames, five
minutes at 25 Hz. Figures are process CPU time. The loop takes too long to run whole: it is timed on
a sample of its windows and chains, and what it would take for all of them is an estimate.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter

from ser_ray.postprocess import search_exhaustive, search_greedy

Array = NDArray[np.float64]

RECORDINGS, FRAMES = 15, 7500
WINDOWS, SHIFTS = range(1, 502, 2), range(-250, 251)
ROUNDS = 5
SAMPLED_WINDOWS, SAMPLED_CHAINS = 50, 1000


def main() -> None:
    predictions, gold = devel(np.random.default_rng(0))
    small = [p[:600] for p in predictions], [g[:600] for g in gold]
    search_greedy(*small), search_exhaustive(*small)  # imports and compiles

    per_window, per_chain = loop_costs(predictions, gold, np.random.default_rng(1))
    chains = len(WINDOWS) * 4 * len(SHIFTS)
    loop = len(WINDOWS) * per_window + chains * per_chain
    loop_greedy = len(WINDOWS) * per_window + (len(WINDOWS) + 2 + 251) * per_chain
    greedy = [cpu_s(lambda: search_greedy(predictions, gold)) for _ in range(ROUNDS)]
    exhaustive = [cpu_s(lambda: search_exhaustive(predictions, gold)) for _ in range(ROUNDS)]

    print(f"{RECORDINGS} recordings x {FRAMES:,} frames, {chains:,} chains, process CPU time")
    print(
        f"  one median window of the loop {1e3 * per_window:8.2f} ms"
        f"  (median of {SAMPLED_WINDOWS} sampled)\n"
        f"  one chain of the loop         {1e3 * per_chain:8.3f} ms"
        f"  (median of {SAMPLED_CHAINS:,} sampled)"
    )
    fastest = min(exhaustive)
    for name, seconds, note in (
        ("loop over all chains", loop, "estimated from the samples"),
        ("search_exhaustive", fastest, f"best of {ROUNDS}; median {np.median(exhaustive):.3f} s"),
        ("greedy as a loop", loop_greedy, "estimated from the samples"),
        ("search_greedy", min(greedy), f"best of {ROUNDS}; median {np.median(greedy):.3f} s"),
    ):
        print(f"  {name:22} {seconds:9.3f} s  {seconds / fastest:8.2f} x exhaustive  ({note})")
    print(f"  search_exhaustive is {loop / fastest:,.0f} times faster than the loop (estimate)")
    print(f"  {chains / fastest / 1e6:.2f} million chains per second")
    best = search_exhaustive(predictions, gold).ccc
    print(f"  devel CCC: greedy {search_greedy(predictions, gold).ccc:.4f}, exhaustive {best:.4f}")


def devel(rng: np.random.Generator) -> tuple[list[Array], list[Array]]:
    """Smooth gold; predictions that run two seconds ahead of it, halved, biased and noisy."""
    predictions, gold = [], []
    for _ in range(RECORDINGS):
        true = 3 * gaussian_filter1d(rng.standard_normal(FRAMES + 50), 60)
        gold.append(true[:FRAMES])
        predictions.append(0.5 * true[50:] + 0.2 + 0.3 * rng.standard_normal(FRAMES))
    return predictions, gold


def loop_costs(predictions: Sequence[Array], gold: Sequence[Array], rng: np.random.Generator) -> tuple[float, float]:
    """CPU seconds of the loop per median window and per chain."""
    y = np.concatenate(gold)
    windows = rng.choice(WINDOWS, SAMPLED_WINDOWS, replace=False)
    per_window, per_chain = [], []
    for window in windows:
        start = time.process_time()
        filtered = [median_filter(p, window, mode="nearest") for p in predictions]
        per_window.append(time.process_time() - start)
        for shift in rng.choice(SHIFTS, SAMPLED_CHAINS // SAMPLED_WINDOWS):
            centre, scale = rng.integers(2, size=2)
            start = time.process_time()
            loop_ccc(filtered, y, centre, scale, shift)
            per_chain.append(time.process_time() - start)
    return float(np.median(per_window)), float(np.median(per_chain))


def loop_ccc(filtered: Sequence[Array], y: Array, centre: bool, scale: bool, shift: int) -> float:
    """The CCC of one chain, as one would write it down."""
    x = np.concatenate(filtered)
    mean = x.mean()
    factor = y.std() / x.std() if scale else 1.0
    x = np.concatenate([f[np.clip(np.arange(f.size) - shift, 0, f.size - 1)] for f in filtered])
    x = (x - mean) * factor + (y.mean() if centre else mean)
    dx, dy = x - x.mean(), y - y.mean()
    return float(2 * (dx * dy).mean() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
