"""On a GPU: the parts of a training step of the paper's network, and its evaluation; reference and fused back end.

    python benchmarks/bench_gpu.py

All sides run in turn in one process, with deterministic algorithms, as a training has it. CUDA events around the parts
of a step, medians; memory above what is held before it; ratios to the first line. Without a GPU it says so and ends.
"""

import statistics
import time
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ser_ray.models import ModelConfig, build
from ser_ray.models.config import Backend
from ser_ray.models.dropout import Draw
from ser_ray.models.network import Network
from ser_ray.training.config import Precision, TrainingConfig
from ser_ray.training.evaluate import GPU_ROWS, WaveformSource, predict_waveforms
from ser_ray.training.loss import ccc_loss
from ser_ray.training.numerics import in_precision, prepare_process
from ser_ray.training.optimizers import make_optimizer

DEVICE = "cuda"
BATCH, FRAMES, HOP = 5, 500, 640
RECORDINGS, RECORDING_FRAMES = 15, 7500
WARM_UP, ROUNDS, STEPS, EVALUATION_ROUNDS = 3, 10, 5, 3
PARTS = ("CNN fwd", "LSTM fwd", "LSTM bwd", "CNN bwd", "optimiser")
MB = 1e6


@dataclass
class Side:
    """A back end in a precision, with a network of its own, and what was measured of it.

    Args:
        name: for the tables.
        precision: of the network.
        model: it.
        optimizer: of its weights.
        steps: milliseconds of the parts of each step.
        peaks: memory of each step in MB, above what was held before it.
    """

    name: str
    precision: Precision
    model: Network
    optimizer: torch.optim.Optimizer
    steps: list[list[float]] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def step(self, waveform: Tensor, gold: Tensor, number: int) -> None:
        """Train one step; the loss's gradient stops at the features, and goes on into the CNN from there."""
        prepare_process(self.precision)
        self.optimizer.zero_grad(set_to_none=True)
        held = start_measuring()
        events = [torch.cuda.Event(enable_timing=True) for _ in range(len(PARTS) + 1)]  # type: ignore[no-untyped-call]
        events[0].record()
        with in_precision(self.precision, waveform.device):
            features = self.model.features(waveform, Draw(0, number))
        events[1].record()
        cut = features.detach().requires_grad_()
        with in_precision(self.precision, waveform.device):
            predictions, _ = self.model.recur(cut)
        loss = ccc_loss(predictions.float(), gold)
        events[2].record()
        loss.backward()  # type: ignore[no-untyped-call]
        events[3].record()
        features.backward(cut.grad)  # type: ignore[no-untyped-call]
        events[4].record()
        self.optimizer.step()
        events[5].record()
        torch.cuda.synchronize()
        self.steps.append([a.elapsed_time(b) for a, b in pairwise(events)])
        self.peaks.append((torch.cuda.max_memory_allocated() - held) / MB)


def start_measuring() -> int:
    """Wait for the GPU, forget its peak of memory, and return the bytes that are held."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def make_side(backend: Backend, precision: Precision) -> Side:
    torch.manual_seed(0)
    model = build(ModelConfig(), backend).to(DEVICE)
    optimizer = make_optimizer(TrainingConfig(), model.parameters())
    return Side(f"{backend}, {precision}", precision, model, optimizer)


def print_differences(sides: list[Side], waveform: Tensor) -> None:
    """Print how far the sides' features are from the first one's, with equal weights and masks."""
    found = []
    for side in sides:
        prepare_process(side.precision)
        with torch.no_grad(), in_precision(side.precision, waveform.device):
            found.append(side.model.features(waveform, Draw(0, 0)).float())
    for side, features in zip(sides[1:], found[1:], strict=True):
        difference = float((features - found[0]).abs().max() / found[0].abs().max())
        print(f"{side.name}: differs from {sides[0].name} by {difference:.1e} of the largest feature")


def bench_steps(sides: list[Side]) -> None:
    waveform = torch.randn(BATCH, FRAMES * HOP, device=DEVICE)
    gold = torch.randn(BATCH, FRAMES, 2, device=DEVICE)
    print_differences(sides, waveform)
    for side in sides:
        for number in range(WARM_UP):  # the first one compiles
            side.step(waveform, gold, number)
        side.steps.clear()
        side.peaks.clear()
    for turn in range(ROUNDS):
        for side in sides:
            for number in range(STEPS):
                side.step(waveform, gold, WARM_UP + turn * STEPS + number)
    print(f"\na training step, {BATCH} x {FRAMES * HOP} samples, n = {ROUNDS * STEPS}, medians in ms")
    print(f"{'':22s}{''.join(f'{part:>11s}' for part in PARTS)}{'step':>10s}{'ratio':>8s}{'MB':>9s}{'samples/s':>15s}")
    first = statistics.median(map(sum, sides[0].steps))
    for side in sides:
        parts = [statistics.median(values) for values in zip(*side.steps, strict=True)]
        step = statistics.median(map(sum, side.steps))
        print(
            f"{side.name:22s}{''.join(f'{part:11.2f}' for part in parts)}{step:10.2f}{first / step:8.2f}"
            f"{max(side.peaks):9.0f}{BATCH * FRAMES * HOP / step * 1e3:15,.0f}"
        )


def bench_evaluation(sides: list[Side]) -> None:
    waveform = np.random.default_rng(0).standard_normal(RECORDING_FRAMES * HOP, np.float32)
    sources = [WaveformSource(RECORDING_FRAMES, lambda start, stop: waveform[start:stop])] * RECORDINGS
    runs = [(side, rows) for side in sides for rows in (1, GPU_ROWS)]
    seconds: list[list[float]] = [[] for _ in runs]
    peaks = [0.0 for _ in runs]
    for turn in range(EVALUATION_ROUNDS + 1):
        for i, (side, rows) in enumerate(runs):
            prepare_process(side.precision)
            held, begin = start_measuring(), time.perf_counter()
            predict_waveforms(side.model, sources, rows=rows)
            torch.cuda.synchronize()
            if turn > 0:  # the first one compiles
                seconds[i].append(time.perf_counter() - begin)
                peaks[i] = max(peaks[i], (torch.cuda.max_memory_allocated() - held) / MB)
    samples = RECORDINGS * RECORDING_FRAMES * HOP
    print(f"\n{RECORDINGS} recordings of {RECORDING_FRAMES * HOP} samples, n = {EVALUATION_ROUNDS}, medians in s")
    print(f"{'':34s}{'all':>10s}{'ratio':>8s}{'MB':>9s}{'samples/s':>15s}")
    first = statistics.median(seconds[0])
    for (side, rows), own, peak in zip(runs, seconds, peaks, strict=True):
        title = f"{side.name}, {'one by one' if rows == 1 else 'batched'}"
        median = statistics.median(own)
        print(f"{title:34s}{median:10.3f}{first / median:8.2f}{peak:9.0f}{samples / median:15,.0f}")


def main() -> None:
    """Run all sides in turn and print the tables."""
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing to measure")
        return
    prepare_process()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    pairs: list[tuple[Backend, Precision]] = [
        ("reference", "float32"),
        ("fused", "float32"),
        ("reference", "tf32"),
        ("fused", "tf32"),
        ("reference", "bf16"),  # where the fused back end stands aside
    ]
    sides = [make_side(backend, precision) for backend, precision in pairs]
    bench_steps(sides)
    bench_evaluation(sides[:2])


if __name__ == "__main__":
    main()
