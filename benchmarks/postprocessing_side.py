"""One side of bench_postprocessing.py: a process that searches whenever it is told to, and says what that took.

    python benchmarks/postprocessing_side.py loop|greedy|exhaustive|both

Reads lines of JSON, each with a size, and answers each with one. The loop draws the windows and chains that it times;
what a search says of the same chains is asked for by "chains". With "memory" it tells the peak instead of the time.
"""

import ctypes
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter

from ser_ray.postprocess import SearchResult, search_exhaustive, search_greedy
from ser_ray.postprocess.devel import MAX_FOLDS, Devel
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.search import search_targets

Array = NDArray[np.float64]
Data = tuple[list[Array], list[Array]]
Chain = tuple[int, int, int, int]
"""Median window, centring, scaling, shift."""

AHEAD = 50


@dataclass(frozen=True)
class Size:
    """How much there is to search.

    Args:
        recordings: of devel.
        frames: of each.
        max_window: median windows 1, 3, ... up to this.
        max_shift: shifts up to this, both ways.
    """

    recordings: int
    frames: int
    max_window: int = 501
    max_shift: int = 250

    @property
    def grid(self) -> Grid:
        """The chains."""
        return Grid(self.max_window, self.max_shift)

    @property
    def medians(self) -> int:
        """How many medians there are to take."""
        return len(self.grid.windows) * self.recordings * self.frames

    @property
    def greedy_chains(self) -> int:
        """How many chains the paper's search compares: each window, centring, scaling, each shift forward."""
        return len(self.grid.windows) + 2 + self.max_shift + 1


def devel(size: Size) -> Data:
    """Return smooth gold, and predictions that run ahead of it, halved, biased and noisy."""
    rng = np.random.default_rng(0)
    predictions, gold = [], []
    for _ in range(size.recordings):
        true = 3 * gaussian_filter1d(rng.standard_normal(size.frames + AHEAD), 60)
        gold.append(true[: size.frames])
        predictions.append(0.5 * true[AHEAD:] + 0.2 + 0.3 * rng.standard_normal(size.frames))
    return predictions, gold


class Loop:
    """The obvious loop: every window's medians once, every chain's CCC as one would write it down.

    Args:
        size: what is searched.
        data: predictions and gold.
    """

    def __init__(self, size: Size, data: Data) -> None:
        self.size = size
        self.predictions, gold = data
        self.gold = np.concatenate(gold)

    def sample(self, draw: int, windows: int, shifts: int) -> dict[str, Any]:
        """Time some windows, drawn by number `draw`, and with each the four chains of some shifts.

        Returns:
            The seconds of each window and of each chain, the mean of four, and the chains with their CCCs.
        """
        rng, grid = np.random.default_rng(draw), self.size.grid
        window_s, chain_s, chains, cccs = [], [], [], []
        for window in rng.choice(grid.windows, min(windows, len(grid.windows)), replace=False).tolist():
            begin = time.process_time()
            filtered = [median_filter(trace, window, mode="nearest") for trace in self.predictions]
            window_s.append(time.process_time() - begin)
            for shift in rng.choice(grid.shifts, shifts).tolist():
                four = [(window, centre, scale, shift) for centre in (0, 1) for scale in (0, 1)]
                begin = time.process_time()
                cccs += [self.ccc(filtered, chain) for chain in four]
                chain_s.append((time.process_time() - begin) / 4)
                chains += four
        return {"window_s": window_s, "chain_s": chain_s, "chains": chains, "ccc": cccs}

    def ccc(self, filtered: Sequence[Array], chain: Chain) -> float:
        """Return the CCC of one chain."""
        _, centre, scale, shift = chain
        x, y = np.concatenate(filtered), self.gold
        mean = x.mean()
        factor = y.std() / x.std() if scale else 1.0
        x = np.concatenate([f[np.clip(np.arange(f.size) - shift, 0, f.size - 1)] for f in filtered])
        x = (x - mean) * factor + (y.mean() if centre else mean)
        dx, dy = x - x.mean(), y - y.mean()
        return float(2 * (dx * dy).mean() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def greedy(size: Size, data: Data) -> SearchResult:
    """Search as the paper does."""
    return search_greedy(*data, max_window_frames=size.max_window, max_shift_frames=size.max_shift)


def exhaustive(size: Size, data: Data) -> SearchResult:
    """Search the whole grid."""
    return search_exhaustive(*data, max_window_frames=size.max_window, max_shift_frames=size.max_shift)


def both(size: Size, data: Data) -> SearchResult:
    """Search by both methods, and estimate what each brings on unseen recordings, as a trial does."""
    one, grid = Devel.of(*data, MAX_FOLDS), size.grid
    sums = [one.sums(grid, fold) for fold in range(len(one.folds))]
    return search_targets([one], [sums], grid, ("greedy", "exhaustive"))["exhaustive"][0]


SEARCHES: dict[str, Callable[[Size, Data], SearchResult]] = {"greedy": greedy, "exhaustive": exhaustive, "both": both}


class Side:
    """A search, or the loop, with the data of the last size.

    Args:
        name: loop, greedy, exhaustive or both.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.size, self.data = Size(0, 0), devel(Size(0, 0))
        if name in SEARCHES:
            small = Size(3, 60, 21, 10)
            SEARCHES[name](small, devel(small))  # imports and compiles

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked and return what it took."""
        size = Size(*question["size"])
        if size != self.size:
            self.size, self.data = size, devel(size)
        if self.name == "loop":
            loop = Loop(size, self.data)
            ask = {key: question[key] for key in ("draw", "windows", "shifts")}
            return memory(lambda: loop.sample(**ask)) if question.get("memory") else loop.sample(**ask)
        if question.get("memory"):
            return memory(lambda: SEARCHES[self.name](size, self.data))
        begin = time.process_time()
        result = SEARCHES[self.name](size, self.data)
        seconds = time.process_time() - begin
        if result.table is None:
            return {"cpu_s": seconds, "devel_ccc": result.ccc}
        at = [
            result.table[window // 2, centre, scale, shift + size.max_shift]
            for window, centre, scale, shift in question.get("chains", ())
        ]
        return {"cpu_s": seconds, "devel_ccc": result.ccc, "ccc": at}


def memory(work: Callable[[], object]) -> dict[str, float]:
    """Return by how much the process's resident memory rises at most, and how much of that arrays are."""
    # what was freed before is given back, lest work finds its memory there
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
    base = status_mb("VmRSS")
    work()
    resident = status_mb("VmHWM") - base
    tracemalloc.start()
    work()
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"resident_mb": resident, "arrays_mb": arrays / 2**20}


def status_mb(name: str) -> float:
    """Return what the kernel says of this process's memory."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"this kernel does not tell {name}")


def main() -> None:
    """Answer what stands on standard input until it ends."""
    side = Side(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(side.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
