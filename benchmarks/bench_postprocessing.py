"""The searches for a post-processing chain beside the obvious loop: time, memory, and how both grow with the data.

    python benchmarks/bench_postprocessing.py [--rounds N] [--quick] [--as-installed]

The data are made up: smooth gold, and predictions that are ahead of it and noisy; the main size is 15 recordings of
five minutes at 25 Hz. Every side is a process of its own, in one thread, with the allocator's settings that our workers
get; without them (--as-installed) the loop can take several times as long. Sides take turns, one search each, after one
that is not counted. Seconds are process CPU time. The loop takes too long to run whole: it is timed on windows and
chains drawn afresh in each round, and what it would take for all of them is an estimate, the median times their number.
The run fails if a table of all chains differs from the loop anywhere in these.

Memory is measured in further processes, fresh ones: the largest resident size during a search above that with the data
loaded and the code compiled; beside it the largest sum of arrays alive, as Python counts them.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from postprocessing_side import Size

from ser_ray.training.allocator import ENVIRONMENT

SIDE = Path(__file__).with_name("postprocessing_side.py")
TITLES = {
    "loop": "all chains as a loop (estimate)",
    "greedy_loop": "greedy as a loop (estimate)",
    "greedy": "`search_greedy`",
    "exhaustive": "`search_exhaustive`",
    "both": "both, and estimates for unseen recordings (10 folds)",
}
MOST_APART = 1e-9
MAIN = Size(15, 7500)
SIZES = (
    *(replace(MAIN, recordings=recordings) for recordings in (1, 5, 15, 60)),
    *(replace(MAIN, frames=frames) for frames in (250, 1500, 7500, 30_000)),
    *(replace(MAIN, max_window=window) for window in (51, 251, 501, 1001)),
    *(replace(MAIN, max_shift=shift) for shift in (25, 250, 1000)),
    Size(450, 250),
)
QUICK = Size(5, 1000, 51, 25)
QUICK_SIZES = (
    *(replace(QUICK, recordings=recordings) for recordings in (1, 5, 20)),
    *(replace(QUICK, frames=frames) for frames in (250, 1000, 4000)),
    *(replace(QUICK, max_window=window) for window in (11, 51, 201)),
    *(replace(QUICK, max_shift=shift) for shift in (5, 25, 100)),
    Size(100, 50, 51, 25),
)


@dataclass(frozen=True)
class Sampling:
    """How the sides are timed.

    Args:
        rounds: counted.
        windows: of the loop in each round.
        shifts: of the loop with each window.
    """

    rounds: int
    windows: int
    shifts: int


class Process:
    """A side's process.

    Args:
        name: of the side.
        environment: of the process.
    """

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.name = name
        command = [sys.executable, str(SIDE), name]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, size: Size, **more: Any) -> dict[str, Any]:
        """Return what the side says to a question."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"size": astuple(size), **more}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the process ended, its reason stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()


@dataclass
class Found:
    """What was measured of one size.

    Args:
        size: of the data and the grid.
        seconds: name -> CPU seconds of each round.
        devel_ccc: name -> what that search reached.
        chains: how many CCCs of tables were compared with the loop's.
        apart: by how much they differ at most.
        window_s: of the loop, each sampled window.
        chain_s: likewise, chains.
    """

    size: Size
    seconds: dict[str, list[float]] = field(default_factory=dict)
    devel_ccc: dict[str, float] = field(default_factory=dict)
    chains: int = 0
    apart: float = 0.0
    window_s: list[float] = field(default_factory=list)
    chain_s: list[float] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Return the median over rounds; of a loop, the estimate."""
        return statistics.median(self.seconds[name])

    def add_loop(self, sample: dict[str, Any]) -> None:
        """Add what a round of the loop tells of all windows and chains."""
        self.window_s += sample["window_s"]
        self.chain_s += sample["chain_s"]
        windows = len(self.size.grid.windows) * statistics.median(sample["window_s"])
        per_chain = statistics.median(sample["chain_s"])
        for name, chains in (("loop", self.size.grid.chains), ("greedy_loop", self.size.greedy_chains)):
            self.seconds.setdefault(name, []).append(windows + chains * per_chain)

    def add_search(self, name: str, answer: dict[str, Any]) -> None:
        """Add a round of a search."""
        self.seconds.setdefault(name, []).append(answer["cpu_s"])
        self.devel_ccc[name] = answer["devel_ccc"]

    def compare(self, table: Sequence[float], loop: Sequence[float]) -> None:
        """Compare some chains of a search's table with the loop's."""
        self.chains += len(loop)
        for one, other in zip(table, loop, strict=True):
            apart = abs(one - other)
            self.apart = math.inf if math.isnan(apart) else max(self.apart, apart)


def measure(names: Sequence[str], size: Size, sampling: Sampling, environment: dict[str, str]) -> Found:
    """Let new processes of the loop and of searches go over data of one size in turn.

    The first round is compared, but its time is not counted. A process has one size only: how glibc as installed deals
    with an array depends on the largest one that was freed before.
    """
    found = Found(size)
    loop, searches = Process("loop", environment), [Process(name, environment) for name in names]
    for number in range(sampling.rounds + 1):
        sample = loop.ask(size, draw=number, windows=sampling.windows, shifts=sampling.shifts)
        answers = [(one.name, one.ask(size, chains=sample["chains"])) for one in searches]
        for name, answer in answers:
            if "ccc" in answer:
                found.compare(answer["ccc"], sample["ccc"])
            if number:
                found.add_search(name, answer)
        if number:
            found.add_loop(sample)
    for process in (loop, *searches):
        process.end()
    return found


def memory(size: Size, environment: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return each side's memory at its peak, each in a fresh process."""
    found = {}
    for name in ("loop", "greedy", "exhaustive", "both"):
        process = Process(name, environment)
        more = {"draw": 0, "windows": 5, "shifts": 5} if name == "loop" else {}
        found[name] = process.ask(size, memory=True, **more)
        process.end()
    return found | {"greedy_loop": found["loop"]}


def print_main(found: Found, peaks: dict[str, dict[str, float]]) -> None:
    """Print the table of one size, and what stands behind it."""
    size, rounds = found.size, len(found.seconds["loop"])
    print(
        f"| {size.recordings} recordings x {size.frames:,} frames, {size.grid.chains:,} chains | CPU time, median "
        f"| best of {rounds} | loop over all / this | greedy loop / this | chains per second | peak MB above the data "
        "| of it arrays |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, title in TITLES.items():
        chains = size.greedy_chains if "greedy" in name else size.grid.chains
        median, peak = found.median(name), peaks[name]
        loops = [] if name in ("loop", "greedy_loop") else [found.median("loop"), found.median("greedy_loop")]
        ratios = [times(loop / median) for loop in loops] or ["", ""]
        print(
            f"| {title} | {seconds(median)} | {seconds(min(found.seconds[name]))} | {ratios[0]} | {ratios[1]} "
            f"| {chains / median:,.0f} | {peak['resident_mb']:.1f} | {peak['arrays_mb']:.1f} |"
        )
    window_ms, chain_ms = 1e3 * statistics.median(found.window_s), 1e3 * statistics.median(found.chain_s)
    reached = ", ".join(f"{name} {found.devel_ccc[name]:.4f}" for name in ("greedy", "exhaustive"))
    print(
        f"\nThe loop takes {window_ms:.2f} ms a window (median of {len(found.window_s)} sampled), {chain_ms:.3f} ms a "
        f"chain (of {4 * len(found.chain_s):,}). Greedy compares {size.greedy_chains:,} chains.\nDevel CCC: {reached}. "
        f"Tables against the loop, {found.chains:,} CCCs compared: at most {found.apart:.1e} apart."
    )


def print_sizes(found: Iterable[Found]) -> None:
    """Print cost against size, a row each."""
    print(
        "| recordings | frames | windows up to | shifts up to | chains | loop (estimate) | greedy | exhaustive "
        "| loop / exhaustive | greedy, ns per median | exhaustive, ns per median | exhaustive, ns per chain |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for one in found:
        size, (loop, greedy, exhaustive) = one.size, map(one.median, ("loop", "greedy", "exhaustive"))
        print(
            f"| {size.recordings:,} | {size.frames:,} | {size.max_window:,} | {size.max_shift:,} "
            f"| {size.grid.chains:,} | {seconds(loop)} | {seconds(greedy)} | {seconds(exhaustive)} "
            f"| {times(loop / exhaustive)} | {1e9 * greedy / size.medians:.1f} | {1e9 * exhaustive / size.medians:.1f} "
            f"| {1e9 * exhaustive / size.grid.chains:,.0f} |"
        )


def seconds(value: float) -> str:
    """Return seconds with three digits, or milliseconds."""
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s" if value >= 0.1 else f"{1e3 * value:.3g} ms"


def times(ratio: float) -> str:
    """Return a ratio with about three digits."""
    return f"{ratio:,.0f} x" if ratio >= 100 else f"{ratio:.3g} x"


def main() -> None:
    """Run all sides and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="searches counted of each side; fewer of each size")
    parser.add_argument("--quick", action="store_true", help="small sizes and two rounds, for a try")
    parser.add_argument("--as-installed", action="store_true", help="without the allocator's settings")
    arguments = parser.parse_args()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"OPENBLAS_NUM_THREADS": "1"} | ({} if arguments.as_installed else ENVIRONMENT)
    size, sizes, rounds = (QUICK, QUICK_SIZES, 2) if arguments.quick else (MAIN, SIZES, arguments.rounds)
    each = Sampling(min(rounds, 5), windows=4, shifts=2)

    main_size = measure(("greedy", "exhaustive", "both"), size, Sampling(rounds, windows=10, shifts=10), environment)
    of_sizes = {size: main_size}
    for one in sizes:
        if one not in of_sizes:
            of_sizes[one] = measure(("greedy", "exhaustive"), one, each, environment)
    peaks = memory(size, environment)

    allocator = "glibc as installed" if arguments.as_installed else "glibc told to keep all buffers, as our workers are"
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba"))
    print(f"{versions}; {allocator}; one thread\n")
    print_main(main_size, peaks)
    print("\nCost against size:\n")
    print_sizes([of_sizes[one] for one in sizes])
    print(f"\nMedians of {each.rounds} rounds; the size above as there. Of each window there is a median per frame.")
    apart = max(one.apart for one in of_sizes.values())
    if not apart < MOST_APART:
        sys.exit(f"tables and loop are up to {apart:.1e} apart, but must be within {MOST_APART:g}: a search is wrong")


if __name__ == "__main__":
    main()
