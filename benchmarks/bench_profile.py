"""Where a training step's time goes, layer by layer, and how near each layer comes to what this core can do.

    python benchmarks/bench_profile.py [--rounds N]

The paper's network, 5 x 20 s, one thread, buffers kept; the two back ends take turns in one process, a step each.
Process CPU time, medians. Each layer starts from what the one below it gave, and the backward pass goes from layer to
layer in the same way, so the parts add up to the step.

Work is what the fused back end does, not what the formula says: a convolution's forward pass computes no dropped values
(with few inputs per output it computes all, side by side), its backward pass touches the values that won their pool,
were positive and were kept, counted in this very step. Random bits, maxima and logistic functions are not counted.
Bytes are what has to be read and written once; of the LSTM, the recurrent weights once per frame, from the cache.

A layer's limit is its work over the measured peak or its bytes over the measured bandwidth, whichever is longer.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ser_ray.models import ModelConfig, build, kernels
from ser_ray.models.dropout import Draw, Dropout
from ser_ray.training.config import TrainingConfig
from ser_ray.training.loss import ccc_loss
from ser_ray.training.numerics import prepare_process
from ser_ray.training.optimizers import make_optimizer

FRAMES = 500
CHAIN = 8
MODEL, TRAINING = ModelConfig(), TrainingConfig()
CONVS = tuple(f"conv{i + 1}" for i in range(len(MODEL.pools)))
Part = tuple[str, str]


@dataclass(frozen=True)
class Work:
    """What a part of the step does.

    Args:
        flops: additions and multiplications.
        bytes: read and written at least.
        cached: whether those bytes come from the cache, not from memory.
    """

    flops: float
    bytes: float
    cached: bool = False


@dataclass(frozen=True)
class Core:
    """What this core can do: operations per second in a loop and in torch.mm, bytes per second."""

    peak: float
    library: float
    memory: float
    cache: float

    def limit_s(self, work: Work) -> float:
        """Return the seconds that the work takes at least."""
        return max(work.flops / self.peak, work.bytes / (self.cache if work.cached else self.memory))

    def bound(self, work: Work) -> str:
        """Return what sets the limit."""
        if self.limit_s(work) == work.flops / self.peak:
            return "arithmetic"
        return "cache" if work.cached else "memory"


class Steps:
    """Training steps of one back end, cut at the borders of its layers.

    Args:
        backend: reference or fused.
    """

    def __init__(self, backend: str) -> None:
        torch.manual_seed(0)
        self.model = build(MODEL, "fused" if backend == "fused" else "reference")
        self.optimizer = make_optimizer(TRAINING, self.model.parameters())
        self.waveform = torch.randn(TRAINING.batch_size, MODEL.hop * FRAMES)
        self.gold = torch.randn(TRAINING.batch_size, FRAMES, len(MODEL.targets))
        self.seconds: dict[Part, list[float]] = {}
        self.positive: dict[str, int] = {}
        self.number = 0

    def take(self) -> None:
        """Take one step and keep the seconds of each part."""
        self.optimizer.zero_grad(set_to_none=True)
        x, ends = self.waveform.unsqueeze(-1), []
        for name, layer in self._layers():
            start = x.detach().requires_grad_(name != "conv1")
            x = self._timed((name, "forward"), layer, start)
            ends.append((name, start, x))
            if name in CONVS:
                self.positive[name] = int(torch.count_nonzero(x))
        grad = None
        for name, start, end in reversed(ends):
            self._timed((name, "backward"), end.backward, grad)
            grad = start.grad
        self._timed(("optimiser", "step"), self.optimizer.step)
        self.number += 1

    def _layers(self) -> list[tuple[str, Callable[[Tensor], Tensor]]]:
        draw, model = Draw(0, self.number), self.model

        def block(i: int) -> Callable[[Tensor], Tensor]:
            return lambda x: model.blocks[i](x, dropout=Dropout(MODEL.dropout, i, draw))

        return [
            *((name, block(i)) for i, name in enumerate(CONVS)),
            ("lstm", lambda x: model.lstm(x)[0]),
            ("head + loss", lambda x: ccc_loss(model.head(x), self.gold)),
        ]

    def _timed(self, part: Part, call: Callable[..., Any], *arguments: Any) -> Any:
        begin = time.process_time()
        result = call(*arguments)
        self.seconds.setdefault(part, []).append(time.process_time() - begin)
        return result


def fused_work(positive: dict[str, int]) -> dict[Part, Work]:
    """Return what each part of the fused back end's step does.

    Args:
        positive: of each convolution, the values of its output that are positive.
    """
    work = {}
    B, T, inputs = TRAINING.batch_size, MODEL.hop * FRAMES, 1
    for name, C, K, P in zip(CONVS, MODEL.channels, MODEL.kernels, MODEL.pools, strict=True):
        taps, outputs = K * inputs, B * T // P * C
        computed = outputs if kernels.is_narrow(taps, P) else outputs * (1 - MODEL.dropout)
        x_bytes, kept_bytes = 4 * B * T * inputs, 5 * outputs  # values of 4 bytes, the winner's number 1
        work[name, "forward"] = Work(2 * taps * P * computed, x_bytes + kept_bytes)
        gradients = 1 if name == "conv1" else 2  # of the weights, of the input
        work[name, "backward"] = Work(
            2 * taps * positive[name] * gradients, x_bytes * gradients + kept_bytes + 4 * outputs
        )
        T, inputs = T // P, C
    H, steps, macs, weights = MODEL.hidden, B * T, 0, 0
    for layer in range(MODEL.lstm_layers):
        macs += steps * 4 * H * ((H if layer else inputs) + H)
        weights += 4 * T * 4 * H * H
    work["lstm", "forward"], work["lstm", "backward"] = Work(2 * macs, weights, True), Work(4 * macs, weights, True)
    macs = steps * H * len(MODEL.targets)
    work["head + loss", "forward"] = Work(2 * macs, 4 * steps * H)
    work["head + loss", "backward"] = Work(4 * macs, 8 * steps * H)
    # per parameter: gradient, mean square, momentum and weight are read, all but the first are written
    work["optimiser", "step"] = Work(10 * MODEL.parameters, 7 * 4 * MODEL.parameters)
    return work


@njit(error_model="numpy", fastmath={"contract"})
def multiply_add(x, repeats, a, b):  # type: ignore[no-untyped-def]
    """Pass x, which fits the fastest cache, through CHAIN multiply-adds again and again."""
    for _ in range(repeats):
        for i in range(x.size):
            v = x[i]
            for _ in range(CHAIN):
                v = v * a + b
            x[i] = v


@njit(error_model="numpy", fastmath={"contract", "reassoc"})
def read(x, repeats):  # type: ignore[no-untyped-def]
    """Return the sum of x, read again and again."""
    total = x.dtype.type(0)
    for _ in range(repeats):
        for i in range(x.size):
            total += x[i]
    return total


def measure_core() -> Core:
    """Return the best of some runs of each loop: arithmetic, the library's product, copy, reads from the cache."""
    half, small, repeats = np.float32(0.5), np.ones(2048, np.float32), 20_000
    recurrent, passes = np.ones(4 * MODEL.hidden**2, np.float32), 500
    source, target = np.ones(2**26, np.float32), np.ones(2**26, np.float32)
    a, b, c = torch.ones(2048, 2048), torch.ones(2048, 2048), torch.empty(2048, 2048)
    return Core(
        peak=2 * CHAIN * small.size * repeats / fastest(lambda: multiply_add(small, repeats, half, half)),
        library=2 * 2048**3 / fastest(lambda: torch.mm(a, b, out=c)),
        memory=2 * source.nbytes / fastest(lambda: np.copyto(target, source)),
        cache=recurrent.nbytes * passes / fastest(lambda: read(recurrent, passes)),
    )


def fastest(call: Callable[[], object]) -> float:
    """Return the least CPU seconds of six calls, the first not counted."""
    seconds = []
    for _ in range(6):
        begin = time.process_time()
        call()
        seconds.append(time.process_time() - begin)
    return min(seconds[1:])


def print_table(reference: dict[Part, float], fused: dict[Part, float], work: dict[Part, Work], core: Core) -> None:
    print("| part | | reference ms | fused ms | ratio | GFLOP | GFLOP/s | of peak | limit ms | set by |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for part, done in work.items():
        seconds, flops = fused[part], done.flops
        print(
            f"| {part[0]} | {part[1]} | {1e3 * reference[part]:.1f} | {1e3 * seconds:.1f} "
            f"| {reference[part] / seconds:.1f} | {flops / 1e9:.2f} | {flops / seconds / 1e9:.0f} "
            f"| {100 * flops / seconds / core.peak:.0f} % | {1e3 * core.limit_s(done):.1f} | {core.bound(done)} |"
        )
    all_reference, all_fused = sum(reference.values()), sum(fused.values())
    flops, limit = sum(done.flops for done in work.values()), sum(core.limit_s(done) for done in work.values())
    print(
        f"| **step** | | {1e3 * all_reference:.0f} | {1e3 * all_fused:.0f} | {all_reference / all_fused:.1f} "
        f"| {flops / 1e9:.1f} | {flops / all_fused / 1e9:.0f} | {100 * flops / all_fused / core.peak:.0f} % "
        f"| {1e3 * limit:.0f} | |"
    )


def main() -> None:
    """Measure the core and both back ends, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="steps counted of each back end")
    rounds = parser.parse_args().rounds
    prepare_process()
    core = measure_core()
    sides = {name: Steps(name) for name in ("reference", "fused")}
    for _ in range(2 + rounds):
        for side in sides.values():
            side.take()
    medians = {
        name: {part: statistics.median(values[2:]) for part, values in side.seconds.items()}
        for name, side in sides.items()
    }
    print(f"torch {version('torch')}, numba {version('numba')}; one core, float32; n = {rounds}")
    print(f"peak: {core.peak / 1e9:.0f} GFLOP/s in a loop of multiply-adds (torch.mm: {core.library / 1e9:.0f})")
    print(f"copy of 256 MB: {core.memory / 1e9:.0f} GB/s; 1 MB read from the cache: {core.cache / 1e9:.0f} GB/s\n")
    print_table(medians["reference"], medians["fused"], fused_work(sides["fused"].positive), core)


if __name__ == "__main__":
    main()
