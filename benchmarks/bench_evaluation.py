"""Whole recordings through the paper's network: one pass against chunks, files, and recordings side by side.

    python benchmarks/bench_evaluation.py

All sides run in turn, each in a process of its own, on noise in a corpus and a WAV file; medians. Time is process CPU
time. Memory is the peak above the process with the loaded model, before it has computed anything: all of it
(ru_maxrss), and without mapped files, which the kernel may drop (RssAnon, looked at every few milliseconds).
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOP, SECONDS_PER_FRAME = 640, 0.04
SHORT, HOUR = 7500, 90_000
BESIDE = 15
ROUNDS = 3
SIDES = {
    "300 s, one pass": ("one_pass", SHORT, 1),
    "300 s, in chunks": ("in_chunks", SHORT, 1),
    "1 h, one pass": ("one_pass", HOUR, 1),
    "1 h, in chunks": ("in_chunks", HOUR, 1),
    "1 h, a WAV file": ("file", HOUR, 1),
    "15 x 300 s, one row": ("in_one_row", SHORT, BESIDE),
    "15 x 300 s, 15 rows": ("in_all_rows", SHORT, BESIDE),
}
PAIRS = (
    ("300 s, one pass", "300 s, in chunks"),
    ("1 h, one pass", "1 h, in chunks"),
    ("1 h, one pass", "1 h, a WAV file"),
    ("15 x 300 s, one row", "15 x 300 s, 15 rows"),
)


def main() -> None:
    """Run all sides in turn, print what each took, and how they compare."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        start("write", folder)
        for _ in range(ROUNDS):
            for side in SIDES:
                found[side].append(json.loads(start(side, folder)))
        differences = [difference(Path(folder), *pair) for pair in PAIRS]
    figures = {
        side: {name: statistics.median(run[name] for run in runs) for name in runs[0]} for side, runs in found.items()
    }
    print(f"{'':21s}{'CPU s':>8s}{'per hour':>10s}{'MB above':>10s}{'anonymous':>11s}   n = {ROUNDS}")
    for side, (_, frames, recordings) in SIDES.items():
        own = figures[side]
        per_hour = own["cpu_s"] * 3600 / (frames * SECONDS_PER_FRAME * recordings)
        print(f"{side:21s}{own['cpu_s']:8.2f}{per_hour:10.2f}{own['peak_mb']:10.0f}{own['anonymous_mb']:11.0f}")
    for (one, other), apart in zip(PAIRS, differences, strict=True):
        times, memory = (figures[one][name] / figures[other][name] for name in ("cpu_s", "peak_mb"))
        said = f"{apart:.1e} apart at most" if apart else "equal bit for bit"
        print(f"{one} / {other}: CPU time {times:.2f}, memory {memory:.1f}; {said}")


def difference(folder: Path, one: str, other: str) -> float:
    """Return by how much the predictions of two sides differ at most."""
    import numpy as np  # not before all sides have run: a process begins with the peak of the one that starts it

    return float(np.abs(np.load(folder / f"{one}.npy") - np.load(folder / f"{other}.npy")).max())


def start(side: str, folder: str) -> str:
    """Run one side in a process of its own; return what it prints."""
    command = [sys.executable, __file__, side, folder]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def write(folder: Path) -> None:
    """Write a corpus with a recording of each length, and the longer one as a WAV file."""
    import numpy as np
    import soundfile

    from ser_ray.corpus import CorpusWriter

    rng = np.random.default_rng(0)
    with CorpusWriter(folder / "corpus", name="noise", label_rate=25, targets=("arousal", "valence")) as writer:
        for frames in (SHORT, HOUR):
            audio = rng.integers(-3000, 3000, frames * HOP, dtype=np.int16)
            writer.add(str(frames), "devel", "s", audio, None)
    soundfile.write(folder / "hour.wav", audio, 16000)


def run(side: str, folder: Path) -> None:
    """Predict as one side does, keep the first prediction, and print what it took as JSON."""
    import numpy as np
    import torch

    from ser_ray.corpus import open_corpus
    from ser_ray.corpus.importing.audio import decode
    from ser_ray.models import ModelConfig, build
    from ser_ray.predict import predict_audio
    from ser_ray.trained import TrainedModel
    from ser_ray.training.evaluate import WaveformSource, predict_recordings, predict_waveforms
    from ser_ray.training.numerics import prepare_process

    kind, frames, times = SIDES[side]
    prepare_process()
    torch.manual_seed(0)
    model = build(ModelConfig()).eval()
    corpus = open_corpus(folder / "corpus")
    recording = next(r for r in corpus.recordings("devel") if r.frames == frames)

    def one_pass() -> list[Any]:
        with torch.no_grad():
            return [model(torch.from_numpy(corpus.crop(recording, 0, frames)[0])[None])[0].numpy()]

    def in_rows(rows: int) -> list[Any]:
        source = WaveformSource(frames, lambda start, stop: corpus.waveform(recording, start, stop))
        return predict_waveforms(model, [source] * times, rows=rows)

    sides: dict[str, Callable[[], list[Any]]] = {
        "one_pass": one_pass,
        "in_chunks": lambda: predict_recordings(model, corpus, [recording]),
        "file": lambda: [
            predict_audio(TrainedModel(model, model.config, 25.0, 0), decode(folder / "hour.wav").samples)
        ],
        "in_one_row": lambda: in_rows(1),
        "in_all_rows": lambda: in_rows(times),
    }
    with measured() as taken:
        # what is loaded and compiled on first use counts as memory, and not as time
        samples = 10 * HOP
        waveform = np.ones(samples, np.float32) if kind == "file" else corpus.waveform(recording, 0, samples)
        with torch.no_grad():
            model(torch.from_numpy(waveform)[None])
        begin = time.process_time()
        predictions = sides[kind]()
        taken["cpu_s"] = time.process_time() - begin
    np.save(folder / f"{side}.npy", predictions[0])
    print(json.dumps(taken))


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Give a dictionary that in the end holds the peaks of memory above what it was."""
    taken: dict[str, float] = {}
    base_mb, base_anonymous = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, anonymous_mb()
    peak, ended = base_anonymous, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.004):
            peak = max(peak, anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield taken
    finally:
        ended.set()
        watcher.join()
    taken["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - base_mb
    taken["anonymous_mb"] = peak - base_anonymous


def anonymous_mb() -> float:
    """Return this process's resident memory that is no file."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not tell RssAnon")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        run(sys.argv[1], Path(sys.argv[2]))
