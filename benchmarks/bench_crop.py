"""A random crop of 20 s, normalised float32: from the memory-mapped shards against seeking in FLAC files.

    python benchmarks/bench_crop.py

The same recordings of the small built-in corpus, 400 crops a side in turn, files in the page cache; medians.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from ser_ray.corpus import open_corpus
from ser_ray.corpus.synthetic.generate import built_in

CROPS = 400
FRAMES = 500


def main() -> None:
    """Time both sides and print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = open_corpus(built_in("synthetic-demo", folder))
        recordings = corpus.recordings("train")
        for recording in recordings:
            soundfile.write(Path(folder) / f"{recording.name}.flac", corpus.audio(recording), corpus.sample_rate)
        rng = np.random.default_rng(0)
        seconds: dict[str, list[float]] = {"flac": [], "shards": []}
        for _ in range(CROPS):
            recording = recordings[rng.integers(len(recordings))]
            start = int(rng.integers(recording.frames - FRAMES))
            begin = time.perf_counter()
            from_shards, _ = corpus.crop(recording, start, FRAMES)
            between = time.perf_counter()
            raw, _ = soundfile.read(
                Path(folder) / f"{recording.name}.flac", FRAMES * corpus.hop, start * corpus.hop, dtype="int16"
            )
            from_flac = ((raw - recording.mean) / recording.std).astype(np.float32)
            seconds["flac"].append(time.perf_counter() - between)
            seconds["shards"].append(between - begin)
            np.testing.assert_allclose(from_shards, from_flac, atol=1e-4)
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    for side, value in medians.items():
        print(f"{side:7s} {1e3 * value:7.3f} ms per crop, n = {CROPS}")
    print(f"ratio   {medians['flac'] / medians['shards']:7.1f}")


if __name__ == "__main__":
    main()
