"""What it costs to open a corpus and to read from it, at 1, 10, 100 and 1,000 times the size of RECOLA.

    python benchmarks/bench_corpus.py [--folder DIR] [--scales 1 10 100 1000] [--picture FILE.png]

RECOLA is 46 recordings of five minutes. Index, manifest and everything in the shards that tells where a recording lies
are real and of that size; audio, gold and ratings are holes in the files, so that 0.46 TB take 0.8 GB of disk. The
hashes of the shards are made up, since opening does not read them. So this is the cost of the format and of our code; a
disk's own time comes on top. A first crop reads from a recording that nothing was read from before: the kernel makes
its 157 pages meanwhile. A random crop reads anywhere, from pages that are in memory. Each size is measured in a process
of its own; seconds are those of the clock, so that other programs on the machine lengthen them.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.corpus.store.manifest import manifest_text, sha256_of
from ser_ray.corpus.store.reader import Corpus, open_corpus
from ser_ray.corpus.store.schema import (
    INDEX,
    MANIFEST,
    PARTITIONS,
    SHARDS,
    Manifest,
    Recording,
    Shard,
    fingerprint,
    index_table,
)
from ser_ray.corpus.store.writer import SHARD_BYTES

RECORDINGS, SAMPLES, FRAMES = 46, 4_800_000, 7_500
TARGETS, RATERS, LABEL_RATE = ("arousal", "valence"), 6, 25.0
CROP_FRAMES = 500
HOLE_BYTES = 16_384
"""Zeros in a row from which on they become a hole."""
OPENINGS, CROPS = 7, 2_000
FIRST_BYTES = 2 * CROPS * CROP_FRAMES * SAMPLES // FRAMES
"""Of all crops, as int16."""


@dataclass(frozen=True)
class Costs:
    """Figures of one size; seconds as median and 99 % quantile, but for those of lists: the median.

    Args:
        recordings: how many.
        audio_bytes: of the shards, holes counted.
        index_bytes: of index.parquet.
        open_s: to open it.
        list_s: to make the recordings of all partitions, once per process.
        first_s: to crop 20 s of a recording that was not read before.
        random_s: to crop 20 s anywhere, of what is in memory.
        memory_bytes: what the process has grown by in memory of its own, mapped files apart, after all of that.
    """

    recordings: int
    audio_bytes: int
    index_bytes: int
    open_s: float
    list_s: float
    first_s: tuple[float, float]
    random_s: tuple[float, float]
    memory_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to make the files; default: a temporary folder")
    parser.add_argument("--scales", type=int, nargs="+", default=(1, 10, 100, 1000), help="default: 1 10 100 1000")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw cost against size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="bench_corpus-") as folder:
        if not makes_holes(Path(folder)):
            sys.exit(f"the file system of {folder} keeps no holes in files; choose another with --folder DIR")
        costs = {}
        for scale in arguments.scales:
            path = Path(folder) / str(scale)
            write_sparse(path, scale)
            with multiprocessing.get_context("spawn").Pool(1) as process:
                costs[scale] = process.apply(measure, (path,))
    print("\n".join(table(costs)))
    if arguments.picture:
        draw(costs, arguments.picture)


def makes_holes(folder: Path) -> bool:
    """Return whether files in a folder may have holes that take no room."""
    probe = folder / "probe"
    with probe.open("wb") as file:
        file.truncate(2**24)
        file.seek(2**24 - 4096)
        file.write(b"\1" * 4096)
        os.fsync(file.fileno())
    return 512 * probe.stat().st_blocks < 2**22


class Outline:
    """A file that keeps what is written to it, but not its long runs of zeros: those stay holes."""

    closed = False

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.size = 0

    def write(self, data: Any) -> int:
        """Keep a piece, unless it is a run of zeros."""
        view = memoryview(data).cast("B")
        if len(view) < HOLE_BYTES or np.frombuffer(view, np.uint8).any():
            self.pieces.append((self.size, bytes(view)))
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        """Return how much was written."""
        return self.size

    def flush(self) -> None:
        """Do nothing: pieces are kept as they come."""

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Take no more."""
        self.closed = True

    def save(self, path: Path) -> None:
        """Write the file with its holes."""
        with path.open("wb") as file:
            file.truncate(self.size)
            for offset, piece in self.pieces:
                file.seek(offset)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())  # lest the disk is busy with it later, when reading is measured


def outline(recordings: int) -> Outline:
    """Return a shard of silent recordings, as `CorpusWriter` would write it."""
    batch = silent_batch()
    shard = Outline()
    with pa.ipc.new_file(pa.PythonFile(shard, mode="w"), batch.schema) as writer:
        for _ in range(recordings):
            writer.write_batch(batch)
    return shard


def silent_batch() -> pa.RecordBatch:
    """Return one recording with gold and the traces of all raters, everything 0."""

    def column(count: int, kind: Any) -> Any:
        return pa.LargeListArray.from_arrays(pa.array([0, count], pa.int64()), pa.array(np.zeros(count, kind)))

    pairs = [(target, f"R{rater + 1}") for target in TARGETS for rater in range(RATERS)]
    ends = pa.array(FRAMES * np.arange(len(pairs) + 1, dtype=np.int64))
    traces = pa.LargeListArray.from_arrays(ends, pa.array(np.zeros(FRAMES * len(pairs), np.float32)))
    names = [pa.array(values) for values in zip(*pairs, strict=True)]
    raters = pa.StructArray.from_arrays([*names, traces], names=["target", "rater", "ratings"])
    columns = {
        "audio": column(SAMPLES, np.int16),
        **{f"gold_{target}": column(FRAMES, np.float32) for target in TARGETS},
        "raters": pa.ListArray.from_arrays(pa.array([0, len(pairs)], pa.int32()), raters),
    }
    return pa.record_batch(columns)


def write_sparse(path: Path, scale: int) -> None:
    """Write a corpus of so many times RECOLA, its shards full of holes."""
    (path / SHARDS).mkdir(parents=True)
    count, per_shard = scale * RECORDINGS, SHARD_BYTES // silent_batch().nbytes
    shards: list[Shard] = []
    for first in range(0, count, per_shard):
        held = min(per_shard, count - first)
        if first == 0 or held < per_shard:
            shape = outline(held)
        shards.append(Shard(f"{len(shards):05d}.arrow", f"{len(shards):064x}", shape.size))
        shape.save(path / SHARDS / shards[-1].name)
    recordings = list(rows(count, per_shard))
    pq.write_table(index_table(recordings), path / INDEX)
    manifest = Manifest(
        name=f"{scale} x RECOLA",
        label_rate=LABEL_RATE,
        targets=TARGETS,
        shards=tuple(shards),
        fingerprint=fingerprint(shards, recordings, targets=TARGETS, label_rate=LABEL_RATE),
        index_sha256=sha256_of(path / INDEX),
    )
    (path / MANIFEST).write_text(manifest_text(manifest), encoding="utf-8")


def rows(count: int, per_shard: int) -> Iterator[Recording]:
    """Yield recordings as an index has them."""
    for number in range(count):
        yield Recording(
            name=f"recording_{number:05d}",
            partition=PARTITIONS[number % len(PARTITIONS)],
            speaker=f"S{number // 2:05d}",
            samples=SAMPLES,
            frames=FRAMES,
            mean=0.01 * (number % 977) / 3,
            std=1000 + number / 7,
            labelled=True,
            shard=f"{number // per_shard:05d}.arrow",
            batch=number % per_shard,
            extra={"sex": "fm"[number % 2], "language": "French"},
        )


def measure(path: Path) -> Costs:
    """Return what a corpus costs; to be called in a process that has done nothing else."""
    warm = open_corpus(path)  # what libraries import when they are first used is not of the corpus
    crop_s(warm, (warm.recordings("train")[0], 0))
    del warm
    before = own_memory()
    opening = []
    for _ in range(OPENINGS):
        begin = time.perf_counter()
        corpus = open_corpus(path)
        opening.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    recordings = [recording for partition in PARTITIONS for recording in corpus.recordings(partition)]
    listing = time.perf_counter() - begin
    rng = np.random.default_rng(0)
    np.ones(FIRST_BYTES, np.uint8)  # given back at once: a virtual machine may have to wait for memory it never used
    first = [crop_s(fresh, place) for fresh, place in first_places(path, recordings, rng)]
    chosen = [place_in(recordings[number], rng) for number in rng.integers(len(recordings), size=CROPS)]
    for place in chosen:
        crop_s(corpus, place)
    anywhere = [crop_s(corpus, chosen[number]) for number in rng.permutation(CROPS)]
    return Costs(
        recordings=len(recordings),
        audio_bytes=sum(shard.size_bytes for shard in corpus.manifest.shards),
        index_bytes=(path / INDEX).stat().st_size,
        open_s=statistics.median(opening),
        list_s=listing,
        first_s=median_and_worst(first),
        random_s=median_and_worst(anywhere),
        memory_bytes=own_memory() - before,
    )


def first_places(
    path: Path, recordings: Sequence[Recording], rng: np.random.Generator
) -> Iterator[tuple[Corpus, tuple[Recording, int]]]:
    """Yield places in recordings that an opened corpus has not read from before, each with that corpus."""
    left = CROPS
    while left:
        corpus = open_corpus(path)
        for number in rng.permutation(len(recordings))[:left]:
            left -= 1
            yield corpus, place_in(recordings[number], rng)


def place_in(recording: Recording, rng: np.random.Generator) -> tuple[Recording, int]:
    """Return a recording with the first frame of a crop somewhere in it."""
    return recording, int(rng.integers(recording.frames - CROP_FRAMES, endpoint=True))


def crop_s(corpus: Corpus, place: tuple[Recording, int]) -> float:
    """Return the seconds of one crop of 20 s."""
    begin = time.perf_counter()
    corpus.crop(*place, CROP_FRAMES)
    return time.perf_counter() - begin


def median_and_worst(seconds: Sequence[float]) -> tuple[float, float]:
    """Return median and 99 % quantile."""
    return statistics.median(seconds), float(np.quantile(seconds, 0.99))


def own_memory() -> int:
    """Return the memory of this process that is no mapped file."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return 1024 * int(line.split()[1])


def table(costs: dict[int, Costs]) -> list[str]:
    """Return the figures as lines, with the ratio to the smallest size beside each."""
    base = costs[min(costs)]
    lines = [
        f"{'size':>6} {'recordings':>10} {'shards':>9} {'index':>9} {'open':>17} {'list':>17} "
        f"{'first crop':>17} {'99 %':>8} {'random crop':>17} {'99 %':>8} {'memory':>9}"
    ]
    for scale, cost in sorted(costs.items()):
        lines.append(
            f"{scale:>5,}x {cost.recordings:>10,} {cost.audio_bytes / 1e9:>6.1f} GB {cost.index_bytes / 1e3:>6,.0f} kB "
            f"{_ms(cost.open_s, base.open_s)} {_ms(cost.list_s, base.list_s)} "
            f"{_ms(cost.first_s[0], base.first_s[0])} {1e3 * cost.first_s[1]:>5.2f} ms "
            f"{_ms(cost.random_s[0], base.random_s[0])} {1e3 * cost.random_s[1]:>5.2f} ms "
            f"{cost.memory_bytes / 1e6:>6.1f} MB"
        )
    return lines


def _ms(seconds: float, base: float) -> str:
    return f"{1e3 * seconds:>7.2f} ms {seconds / base:>5.1f}x"


def draw(costs: dict[int, Costs], file: Path) -> None:
    """Draw each cost against the number of recordings, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    ordered = sorted(costs.values(), key=lambda cost: cost.recordings)
    count = [cost.recordings for cost in ordered]
    for label, seconds in (
        ("open", [cost.open_s for cost in ordered]),
        ("first crop of a recording, 20 s", [cost.first_s[0] for cost in ordered]),
        ("random crop, 20 s", [cost.random_s[0] for cost in ordered]),
        ("random crop, 99 %", [cost.random_s[1] for cost in ordered]),
    ):
        axes.loglog(count, seconds, marker="o", label=label)
    axes.axhline(2.0, color="grey", linewidth=0.8, linestyle="--")
    axes.axhline(1e-3, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="recordings of five minutes", ylabel="seconds")
    axes.set_title("Cost against size: 46 recordings are RECOLA, dashed what is aimed at")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
