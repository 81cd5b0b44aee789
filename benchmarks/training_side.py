"""One side of bench_step.py: a process that takes a training step whenever it is told to, and says what that took.

    python benchmarks/training_side.py plain|reference|fused [--prepare]

Says by a line of JSON when it is ready; then reads `step` or `registers`, a line each, and answers each with one.
"""

import argparse
import gc
import json
import re
import resource
import sys
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_ray.models import ModelConfig, build
from ser_ray.models.dropout import Draw
from ser_ray.training.config import TrainingConfig
from ser_ray.training.loss import ccc_loss
from ser_ray.training.numerics import prepare_process
from ser_ray.training.optimizers import make_optimizer

HOP, FRAMES = 640, 500


class Plain(nn.Module):
    """The paper's network as one writes it down in PyTorch, its weights in the order of the project's own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, 64, 8)
        self.conv2 = nn.Conv1d(64, 128, 6)
        self.conv3 = nn.Conv1d(128, 256, 6)
        self.lstm = nn.LSTM(256, 256, num_layers=2, batch_first=True)
        self.head = nn.Linear(256, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return predictions [B, frames, 2] for waveforms [B, samples]."""
        x = waveform.unsqueeze(1)
        x = F.dropout(F.max_pool1d(F.relu(self.conv1(F.pad(x, (3, 4)))), 10), 0.5, self.training)
        x = F.dropout(F.max_pool1d(F.relu(self.conv2(F.pad(x, (2, 3)))), 8), 0.5, self.training)
        x = F.dropout(F.max_pool1d(F.relu(self.conv3(F.pad(x, (2, 3)))), 8), 0.5, self.training)
        outputs, _ = self.lstm(x.transpose(1, 2))
        predictions: Tensor = self.head(outputs)
        return predictions


class Side:
    """A network of the paper's shape, a batch of noise and RMSprop.

    Args:
        name: plain, reference or fused.
    """

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        config = TrainingConfig()
        self.plain = name == "plain"
        self.model = Plain() if self.plain else build(ModelConfig(), "fused" if name == "fused" else "reference")
        self.optimizer = make_optimizer(config, self.model.parameters())
        self.waveform, self.gold = (
            torch.randn(config.batch_size, HOP * FRAMES),
            torch.randn(config.batch_size, FRAMES, 2),
        )
        self.steps = 0
        self.base_kb = resident_kb()
        begin, begin_cpu = time.perf_counter(), time.process_time()
        self._loss(self.waveform[:, : 10 * HOP], self.gold[:, :10]).backward()  # type: ignore[no-untyped-call]
        self.ready = {
            "load_s": time.perf_counter() - begin,
            "load_cpu_s": time.process_time() - begin_cpu,
            "load_mb": (resident_kb() - self.base_kb) / 1024,
        }

    def step(self) -> dict[str, float]:
        """Take one training step; return its CPU seconds, page faults and loss, and the peak above the base so far."""
        faults, begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self.waveform, self.gold)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        value = loss.item()
        seconds, usage = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF)
        self.steps += 1
        return {
            "cpu_s": seconds,
            "faults": usage.ru_minflt - faults,
            "peak_mb": (usage.ru_maxrss - self.base_kb) / 1024,
            "loss": value,
        }

    def _loss(self, waveform: Tensor, gold: Tensor) -> Tensor:
        return ccc_loss(self.model(waveform) if self.plain else self.model(waveform, Draw(0, self.steps)), gold)


def resident_kb() -> int:
    """Return this process's resident memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def registers() -> dict[str, float]:
    """Return how often numba's code names registers of 256 and 512 bits; right in the process that compiled it."""
    compiled = [x for x in gc.get_objects() if hasattr(type(x), "inspect_asm") and "ser_ray.models" in x.__module__]
    code = "".join(text for dispatcher in compiled for text in dispatcher.inspect_asm().values())
    return {width: len(re.findall(rf"%{width}\d", code)) for width in ("ymm", "zmm")}


def check_plain() -> None:
    """Stop unless the plain network computes what the project's does."""
    plain, own = Plain().eval(), build(ModelConfig(), "reference").eval()
    own.load_state_dict(dict(zip(own.state_dict(), plain.state_dict().values(), strict=True)))
    waveform = torch.randn(2, 10 * HOP)
    with torch.no_grad():
        torch.testing.assert_close(plain(waveform), own(waveform))


def serve(name: str) -> None:
    """Answer what stands on standard input until it ends."""
    side = Side(name)
    answers: dict[str, Callable[[], dict[str, float]]] = {"step": side.step, "registers": registers}
    print(json.dumps({"torch": torch.backends.cpu.get_cpu_capability(), **side.ready}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answers[line.strip()]()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("plain", "reference", "fused"))
    parser.add_argument("--prepare", action="store_true", help="call prepare_process, as a training does")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.prepare:
        prepare_process()
    if arguments.name == "plain":
        check_plain()
    thread = threading.Thread(target=serve, args=(arguments.name,))  # as Ray runs a trial
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
