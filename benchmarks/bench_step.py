"""A training step of the paper's network, 5 x 20 s, in one thread: plain PyTorch against the project's back ends.

    python benchmarks/bench_step.py [--rounds N] [--isa avx2]

Every side is a process of its own; they take turns, a step each. Process CPU time, medians [smallest-largest]; ratios
are of medians. Memory is the largest resident size above that of the process with its network and batch; what loading
code at the first call adds to it (numba and its kernels, libraries of PyTorch) stands beside it.

Sides: plain PyTorch, with glibc's allocator as installed and told to keep all buffers; the project's two back ends with
the settings that its workers get; the fused one with glibc as installed. `--isa avx2` takes AVX-512 from all of them.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ser_ray.training.allocator import ENVIRONMENT

SIDE = Path(__file__).with_name("training_side.py")
WARM_UP = 3


@dataclass
class Side:
    """A process that takes steps.

    Args:
        title: for the table.
        arguments: of training_side.py.
        settings: added to the environment.
    """

    title: str
    arguments: tuple[str, ...]
    settings: dict[str, str]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def start(self, environment: dict[str, str]) -> None:
        """Start the process and wait until its code is loaded."""
        self.process = subprocess.Popen(
            [sys.executable, str(SIDE), *self.arguments],
            env=environment | self.settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready = self._answer()

    def ask(self, what: str) -> dict[str, Any]:
        """Return the process's answer to `step` or `registers`."""
        assert self.process.stdin is not None
        print(what, file=self.process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """Let the process end."""
        self.process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.title}: the process ended, its reason stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def of(self, key: str) -> list[float]:
        """Return what each counted step measured."""
        return [step[key] for step in self.steps]

    @property
    def ms(self) -> float:
        """CPU time of the median step."""
        return 1e3 * statistics.median(self.of("cpu_s"))


def without_avx512() -> dict[str, str]:
    """Return the environment in which numba and PyTorch's libraries use AVX2 at most."""
    from numba.core import codegen

    features = re.sub(r"\+(avx512|avx10|evex512)", r"-\1", codegen.get_host_cpu_features())  # type: ignore[no-untyped-call]
    return {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": features,
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }


def take_turns(sides: list[Side], rounds: int) -> None:
    """Let the sides step in turn, each round beginning with another one; the first rounds are not counted."""
    for number in range(WARM_UP + rounds):
        first = number % len(sides)
        for side in sides[first:] + sides[:first]:
            step = side.ask("step")
            if number >= WARM_UP:
                side.steps.append(step)


def print_table(sides: list[Side]) -> None:
    installed, tuned, *_ = sides
    print(
        "| a training step, 5 x 20 s | CPU time, ms | faster than plain, buffers kept | than plain as installed ",
        end="",
    )
    print("| page faults | peak MB above the batch | of it code |")
    print("|---|---|---|---|---|---|---|")
    for side in sides:
        ms = [1e3 * seconds for seconds in side.of("cpu_s")]
        print(
            f"| {side.title} | {side.ms:,.0f} [{min(ms):,.0f}-{max(ms):,.0f}] | {tuned.ms / side.ms:.2f} x "
            f"| {installed.ms / side.ms:.2f} x | {statistics.median(side.of('faults')):,.0f} "
            f"| {max(side.of('peak_mb')):,.0f} | {side.ready['load_mb']:,.0f} |"
        )


def print_aims(sides: list[Side]) -> None:
    installed, tuned, _, fused, _ = sides
    per_round = [a / b for a, b in zip(tuned.of("cpu_s"), fused.of("cpu_s"), strict=True)]
    peak_mb = max(fused.of("peak_mb"))
    print(f"fused against plain, buffers kept {tuned.ms / fused.ms:5.2f}  (single rounds {min(per_round):.2f}", end="")
    print(f"-{max(per_round):.2f}); wanted at least 3.5, aimed at 4")
    print(f"fused against plain, as installed {installed.ms / fused.ms:5.2f}  wanted at least 7")
    print(
        f"fused, peak MB above the batch    {peak_mb:5.0f}  without its code {peak_mb - fused.ready['load_mb']:.0f}; ",
        end="",
    )
    print("wanted at most 300")


def main() -> None:
    """Run all sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="steps counted of each side")
    parser.add_argument("--isa", choices=("host", "avx2"), default="host", help="widest vector instructions")
    arguments = parser.parse_args()
    sides = [
        Side("plain PyTorch, glibc as installed", ("plain",), {}),
        Side("plain PyTorch, buffers kept", ("plain",), ENVIRONMENT),
        Side("reference back end", ("reference", "--prepare"), ENVIRONMENT),
        Side("fused back end", ("fused", "--prepare"), ENVIRONMENT),
        Side("fused back end, glibc as installed", ("fused",), {}),
    ]
    cold = Side("fused back end, nothing compiled yet", ("fused", "--prepare"), ENVIRONMENT)
    with tempfile.TemporaryDirectory() as cache:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        environment |= {"NUMBA_CACHE_DIR": cache}
        if arguments.isa == "avx2":
            environment |= without_avx512()
        cold.start(environment)
        registers = cold.ask("registers")
        cold.end()
        for side in sides:
            side.start(environment)
        take_turns(sides, arguments.rounds)
        for side in sides:
            side.end()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numba"))
    print(f"{versions}; torch uses {sides[0].ready['torch']}; numba's code names {registers['ymm']:,} ymm and", end=" ")
    print(f"{registers['zmm']:,} zmm registers; n = {arguments.rounds}\n")
    print_table(sides)
    print()
    print_aims(sides)
    print("\nfirst call of all layers, forward and backward (10 frames), s: CPU time, wall time")
    for title, side in (("fused, compiling", cold), ("fused, from numba's cache", sides[3]), ("plain", sides[1])):
        print(f"  {title:26s} {side.ready['load_cpu_s']:6.2f} {side.ready['load_s']:6.2f}")
    if arguments.isa == "avx2" and (registers["zmm"] or any(side.ready["torch"] != "AVX2" for side in sides)):
        sys.exit("AVX-512 was used: the figures above are not AVX2's")


if __name__ == "__main__":
    main()
