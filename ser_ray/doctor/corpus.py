"""Check whether a corpus can be opened, and its reading speed."""

import os
import random
import time
from pathlib import Path

from ser_ray.doctor.finding import Finding, fail, ok, size, warn

SAMPLE_BYTES, READ_BYTES = 64 * 2**20, 2**20
SLOW_CORPUS = 50e6
"""A step reads 3 MB and takes a GPU some 20 ms. Below this speed, GPUs wait until the corpus is in the page cache."""


def finding(folder: Path) -> Finding:
    """Open a corpus, measure its reading speed and return the finding."""
    from ser_ray.corpus import open_corpus
    from ser_ray.corpus.store.schema import PARTITIONS, SHARDS
    from ser_ray.errors import InputError

    fix = "--corpus DIR, a folder that this node can read"
    try:
        corpus = open_corpus(folder)
        largest = max(corpus.manifest.shards, key=lambda shard: shard.size_bytes)
        rate = read_speed(folder / SHARDS / largest.name)
    except InputError as error:
        return fail("corpus", str(error), fix)
    except OSError as error:
        return fail("corpus", f"{folder} cannot be read: {error.strerror or error}", fix)
    return check_read_speed(corpus.name, sum(len(corpus.recordings(p)) for p in PARTITIONS), rate)


def read_speed(file: Path) -> float:
    """Measure the bytes per second of reading part of a file, from disk rather than from the page cache if possible."""
    with file.open("rb", buffering=0) as stream:
        length = os.fstat(stream.fileno()).st_size
        start = random.randrange(max(1, length - SAMPLE_BYTES))
        os.posix_fadvise(stream.fileno(), start, SAMPLE_BYTES, os.POSIX_FADV_DONTNEED)
        stream.seek(start)
        started, count = time.monotonic(), 0
        while count < SAMPLE_BYTES and (block := stream.read(READ_BYTES)):
            count += len(block)
        return count / max(time.monotonic() - started, 1e-6)


def check_read_speed(name: str, recordings: int, bytes_per_s: float) -> Finding:
    """Judge the speed at which a corpus is read."""
    text = f"{name}, {recordings:,} recordings, read at {size(bytes_per_s)}/s"
    if bytes_per_s < SLOW_CORPUS:
        return warn(
            "corpus",
            f"{text}: the first epochs will be slow",
            "copy it to the node's own disk, and use --corpus with that folder",
        )
    return ok("corpus", text)
