"""A network of a filterbank and a TCN, in one thread: a training step of 5 x 20 s, and whole recordings.

    python benchmarks/bench_filterbank.py [--rounds N]

The same network is written down in plain PyTorch, with the same sizes and dropout. Both train in this process, a step
each in turn, with the allocator's settings that workers get. Process CPU time, medians [smallest-largest]; times real
time are seconds of audio per second of CPU. The least possible time is that of the filterbank's three products of
matrices (outputs, and gradients of the filters), measured alone by the fastest call of PyTorch that computes them.
"""

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_ray.models import ModelConfig, build
from ser_ray.models.dropout import Draw
from ser_ray.training.allocator import ENVIRONMENT
from ser_ray.training.loss import ccc_loss
from ser_ray.training.numerics import prepare_process

BATCH, FRAMES, HOP, LABEL_RATE_HZ = 5, 500, 640, 25
RECORDING_FRAMES = 300 * LABEL_RATE_HZ
CONFIG = ModelConfig(
    front_end="filterbank", channels=(), kernels=(), pools=(), average=4, compression="log",
    normalization="recording", dropout=0.1, temporal="tcn", hidden=32,
)  # fmt: skip


class Plain(nn.Module):
    """The same network as one writes it down in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, 80, 400, stride=160, bias=False)
        self.entry = nn.Linear(40, 32)
        self.layers = nn.ModuleList(nn.Conv1d(32, 32, 5, dilation=d, padding=2 * d) for d in CONFIG.dilations)
        self.head = nn.Linear(32, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return predictions [B, frames, 2] for waveforms [B, samples]."""
        cosine, sine = self.filters(F.pad(waveform[:, None], (120, 120))).chunk(2, dim=1)
        x = torch.log(cosine.square() + sine.square() + 1e-4)
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        x = F.avg_pool1d(F.dropout(x, 0.1), 4).transpose(1, 2)
        x = self.entry(x).transpose(1, 2)
        for layer in self.layers:
            x = x + F.dropout(F.relu(layer(x)), 0.3)
        predictions: Tensor = self.head(x.transpose(1, 2))
        return predictions


def stepper(model: nn.Module, own: bool) -> Callable[[], None]:
    """Return a function that takes one training step on noise."""
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    waveform, gold = torch.randn(BATCH, HOP * FRAMES), torch.randn(BATCH, FRAMES, 2)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        ccc_loss(model(waveform, Draw(0, 0)) if own else model(waveform), gold).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def products() -> None:
    """Compute the outputs of the filters, and the gradient of the filters from gradients of the outputs."""
    windows, filters = torch.empty(BATCH * FRAMES * 4, 400), torch.empty(400, 80)
    windows.T @ (windows @ filters)


def timed(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each call in each round, after two rounds that are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 2):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            if number >= 2:
                seconds[name].append(time.process_time() - begin)
    return seconds


def print_rows(title: str, seconds: dict[str, list[float]], audio_s: float, plain: str) -> None:
    """Print a table of calls that compute the same audio."""
    print(f"| {title} | CPU time, ms | times real time | faster than plain |\n|---|---|---|---|")
    base = statistics.median(seconds[plain])
    for name, own in seconds.items():
        middle = statistics.median(own)
        spread = f"[{1e3 * min(own):,.0f}-{1e3 * max(own):,.0f}]"
        print(f"| {name} | {1e3 * middle:,.0f} {spread} | {audio_s / middle:,.0f} | {base / middle:.2f} x |")
    print()


def main() -> None:
    """Measure training steps and evaluation, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="steps counted of each side")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)
    prepare_process()
    own, plain = build(CONFIG), Plain()
    base_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timed({"own": stepper(own, own=True)}, 1)
    peak_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base_kb) / 1024
    calls = {"plain PyTorch": stepper(plain, own=False), "ser_ray": stepper(own, own=True), "least": products}
    print_rows("a training step", timed(calls, arguments.rounds), BATCH * FRAMES / LABEL_RATE_HZ, "plain PyTorch")
    recording = torch.randn(1, RECORDING_FRAMES * HOP)
    own.eval(), plain.eval()
    with torch.no_grad():
        calls = {"plain PyTorch, in one piece": lambda: plain(recording), "ser_ray, in chunks": lambda: own(recording)}
        seconds = timed(calls, max(3, arguments.rounds // 3))
    print_rows("a recording of 5 min", seconds, RECORDING_FRAMES / LABEL_RATE_HZ, "plain PyTorch, in one piece")
    print(f"peak of a step above the batch and the network, code included: {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
