"""A whole recording of 300 s through the paper's network: one pass against chunks, time and memory.

    python benchmarks/bench_evaluation.py

Both sides run in turn, each in a process of its own; process CPU time and peak memory above the loaded model, medians.
"""

import statistics
import subprocess
import sys

SIDE = """
import resource, sys, time, torch, zlib
from ser_ray.models import ModelConfig, build
from ser_ray.training.evaluate import CHUNK_FRAMES
from ser_ray.training.numerics import prepare_process
prepare_process()
torch.manual_seed(0)
model = build(ModelConfig()).eval()
waveform = torch.randn(1, 4_800_000)
with torch.no_grad():
    model(waveform[:, :6400])
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    if sys.argv[1] == "one pass":
        predictions = model(waveform)
    else:
        state, parts = None, []
        for start in range(0, 7500, CHUNK_FRAMES):
            end = min(start + CHUNK_FRAMES, 7500)
            part, state = model.recur(model.features_between(waveform, start, end), state)
            parts.append(part)
        predictions = torch.cat(parts, dim=1)
    seconds = time.process_time() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
print(seconds, peak / 1024, zlib.crc32(predictions.numpy().tobytes()))
"""
ROUNDS = 3


def main() -> None:
    """Run both sides in turn and print the ratios."""
    found: dict[str, list[tuple[float, float]]] = {"one pass": [], "in chunks": []}
    contents = set()
    for _ in range(ROUNDS):
        for side, figures in found.items():
            command = [sys.executable, "-c", SIDE, side]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            figures.append((float(out[0]), float(out[1])))
            contents.add(out[2])
    medians = {side: [statistics.median(values) for values in zip(*f, strict=True)] for side, f in found.items()}
    for side, (seconds, peak_mb) in medians.items():
        print(f"{side:10s} {seconds:6.2f} s CPU  {peak_mb:8.0f} MB above the model  n = {ROUNDS}")
    (whole_s, whole_mb), (chunk_s, chunk_mb) = medians["one pass"], medians["in chunks"]
    print(f"ratio      {whole_s / chunk_s:6.2f}        {whole_mb / chunk_mb:8.1f}")
    print("predictions are equal bit for bit" if len(contents) == 1 else "PREDICTIONS DIFFER")


if __name__ == "__main__":
    main()
