"""The corpus: whether it can be opened, and how fast it is read."""

import os
import random
import time
from pathlib import Path

from ser_ray.doctor.finding import Finding, fail, ok, size, warn

SAMPLE_BYTES, READ_BYTES = 64 * 2**20, 2**20
SLOW_CORPUS = 50e6
"""A step reads 3 MB and takes a GPU some 20 ms: slower, and GPUs wait until the corpus is in the page cache."""


def corpus_finding(folder: Path) -> Finding:
    """Open a corpus, read some of it and return what there is to say.

    Args:
        folder: of shards.
    """
    from ser_ray.corpus import open_corpus
    from ser_ray.corpus.store.schema import PARTITIONS, SHARDS
    from ser_ray.errors import InputError

    seen = "--corpus DIR, a folder that this node sees, too"
    try:
        corpus = open_corpus(folder)
        largest = max(corpus.manifest.shards, key=lambda shard: shard.size_bytes)
        rate = read_speed(folder / SHARDS / largest.name)
    except InputError as error:
        return fail("corpus", str(error), seen)
    except OSError as error:
        return fail("corpus", f"{folder} cannot be read: {error.strerror or error}", seen)
    return check_corpus(corpus.name, sum(len(corpus.recordings(p)) for p in PARTITIONS), rate)


def read_speed(file: Path) -> float:
    """Return how many bytes of a file are read in a second: somewhere in it, and from the disk where that can be had.

    Args:
        file: not empty.
    """
    with file.open("rb", buffering=0) as stream:
        length = os.fstat(stream.fileno()).st_size
        start = random.randrange(max(1, length - SAMPLE_BYTES))
        os.posix_fadvise(stream.fileno(), start, SAMPLE_BYTES, os.POSIX_FADV_DONTNEED)
        stream.seek(start)
        began, count = time.monotonic(), 0
        while count < SAMPLE_BYTES and (block := stream.read(READ_BYTES)):
            count += len(block)
        return count / max(time.monotonic() - began, 1e-6)


def check_corpus(name: str, recordings: int, bytes_per_s: float) -> Finding:
    """Judge how fast a corpus is read.

    Args:
        name: of the corpus.
        recordings: in it.
        bytes_per_s: read.
    """
    text = f"{name}, {recordings:,} recordings, read at {size(bytes_per_s)}/s"
    if bytes_per_s < SLOW_CORPUS:
        return warn(
            "corpus", f"{text}: first epochs will wait for it", "copy it to the node's own disk, and --corpus there"
        )
    return ok("corpus", text)
