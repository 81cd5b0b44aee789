"""A training step of the paper's network in a thread, as Ray runs it: glibc as installed against our settings.

    python benchmarks/bench_allocator.py

Both sides run in turn, each in a process of its own; process CPU time of the median step, and page faults per step.
"""

import os
import statistics
import subprocess
import sys

from ser_ray.training.allocator import ENVIRONMENT

STEP = """
import resource, threading, time, torch
from ser_ray.models import ModelConfig, build
from ser_ray.training.loss import ccc_loss
from ser_ray.training.optimizers import make_optimizer
from ser_ray.training.config import TrainingConfig
torch.set_num_threads(1)
def work():
    torch.manual_seed(0)
    model = build(ModelConfig())
    optimizer = make_optimizer(TrainingConfig(), model.parameters())
    waveform, gold = torch.randn(5, 320_000), torch.randn(5, 500, 2)
    for _ in range(6):
        faults, begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
        optimizer.zero_grad()
        ccc_loss(model(waveform), gold).backward()
        optimizer.step()
        print(time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, flush=True)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
ROUNDS = 3


def steps(settings: dict[str, str]) -> list[tuple[float, int]]:
    """Return (seconds, page faults) of the steps after the first three."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | settings
    out = subprocess.run([sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, check=True)
    lines = [line.split() for line in out.stdout.splitlines()]
    return [(float(seconds), int(faults)) for seconds, faults in lines[3:]]


def main() -> None:
    """Run both sides in turn and print the ratio."""
    sides: dict[str, list[tuple[float, int]]] = {"as installed": [], "our settings": []}
    for _ in range(ROUNDS):
        sides["as installed"] += steps({})
        sides["our settings"] += steps(ENVIRONMENT)
    medians = {}
    for name, found in sides.items():
        medians[name] = statistics.median(seconds for seconds, _ in found)
        faults = statistics.median(count for _, count in found)
        print(f"{name:14s} {medians[name]:6.2f} s CPU per step, {faults:9,.0f} page faults, n = {len(found)}")
    print(f"ratio {medians['as installed'] / medians['our settings']:.2f}")


if __name__ == "__main__":
    main()
