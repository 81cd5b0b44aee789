"""Measures how fast a corpus is compared with its hashes, against reading the same bytes and doing nothing with them.

    python benchmarks/bench_verification.py [--gigabytes N] [--folder DIR]

Shards are random bytes in a folder of their own, written just before: they come from memory as far as they fit there,
so that this is the cost of hashing; a disk's own time comes on top for both. Both sides take as many threads as this
process has cores, and alternate; medians are told, by the clock, which other programs lengthen, and per core by the
time that this process had one.
"""

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ser_ray.allocation import cpus
from ser_ray.corpus.store.schema import SHARDS, Manifest, Shard
from ser_ray.corpus.store.verifying import BLOCK_BYTES, VerifiedShards, verify_shards

SHARD_BYTES = 2**28
ROUNDS = 5


def main() -> int:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, metavar="N", help="in all; default: 2")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where to write; default: the system's temporary one"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        manifest = _write(folder, max(1, round(options.gigabytes * 1e9 / SHARD_BYTES)))
        size = sum(shard.size_bytes for shard in manifest.shards)
        memory = VerifiedShards(folder / "remembered.json")
        reads, hashes = [], []
        for _ in range(ROUNDS):
            reads.append(_taken(lambda: _read(folder, manifest)))
            hashes.append(_taken(lambda: verify_shards(folder, manifest)))
        verify_shards(folder, manifest, memory)
        again, _ = _taken(lambda: verify_shards(folder, manifest, memory))
    (read, read_core), (hashed, hashed_core) = (
        map(statistics.median, zip(*took, strict=True)) for took in (reads, hashes)
    )
    print(f"{len(manifest.shards)} shards, {size / 1e9:.2f} GB, {cpus()} cores")
    print(f"read and dropped   {size / 1e9 / read:6.2f} GB/s   {size / 1e9 / read_core:6.2f} GB/s per core")
    print(f"read and hashed    {size / 1e9 / hashed:6.2f} GB/s   {size / 1e9 / hashed_core:6.2f} GB/s per core")
    print(f"ratio              {hashed / read:6.2f}        {hashed_core / read_core:6.2f}")
    print(f"remembered         {1e3 * again:6.2f} ms")
    return 0


def _write(folder: Path, count: int) -> Manifest:
    (folder / SHARDS).mkdir()
    shards = []
    for number in range(count):
        content = os.urandom(SHARD_BYTES)
        (folder / SHARDS / f"{number:05d}.arrow").write_bytes(content)
        shards.append(Shard(f"{number:05d}.arrow", hashlib.sha256(content).hexdigest(), SHARD_BYTES))
    return Manifest(
        name="random",
        label_rate=25.0,
        targets=("arousal",),
        shards=tuple(shards),
        fingerprint="0" * 16,
        index_sha256="0" * 64,
    )


def _read(folder: Path, manifest: Manifest) -> None:
    def read(shard: Shard) -> None:
        buffer = bytearray(BLOCK_BYTES)
        with (folder / SHARDS / shard.name).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    with ThreadPoolExecutor(min(cpus(), len(manifest.shards))) as pool:
        list(pool.map(read, manifest.shards))


def _taken(call: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that a call takes: by the clock, and of the cores that it had."""
    began, cores = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - cores


if __name__ == "__main__":
    sys.exit(main())
