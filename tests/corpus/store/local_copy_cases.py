"""Corpora to be copied, processes that copy them, and what lies in a folder of copies."""

import contextlib
import filecmp
import os
import subprocess
import sys
import textwrap

import numpy as np

from ser_ray.corpus import CorpusWriter, open_corpus

CHILD = """
import os, sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from ser_ray.corpus.store.local_copy import local_copy

def log(line):
    print(line, flush=True)

{before}
copy = local_copy(Path({source!r}), Path({folder!r}), log, {on_block})
print("AT", copy, flush=True)
sys.stdin.readline()
"""
STOP_IN_THE_MIDDLE = """
calls = 0
def on_block():
    global calls
    calls += 1
    if calls == 3:
        print("MIDDLE", flush=True)
        sys.stdin.readline()
"""


def write(out, recordings=4, seconds=1, seed=0, name="c"):
    """A corpus with a shard per recording."""
    rng = np.random.default_rng(seed)
    with CorpusWriter(out, name=name, label_rate=25, targets=("arousal",), shard_bytes=1) as writer:
        for number in range(recordings):
            audio = rng.integers(-9000, 9000, 16000 * seconds).astype(np.int16)
            writer.add(f"r{number}", "train", "s", audio, rng.normal(size=(25 * seconds, 1)).astype(np.float32))
    return out


def child(source, folder, *, before="", on_block="lambda: None"):
    script = textwrap.dedent(CHILD).format(
        path=sys.path, source=str(source), folder=str(folder), before=before, on_block=on_block
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextlib.contextmanager
def children(*processes):
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def lines_until(process, begin):
    """What a process prints, up to a line that begins so."""
    lines = []
    while not lines or not lines[-1].startswith(begin):
        line = process.stdout.readline()
        assert line, f"it ended: {lines}"
        lines.append(line.rstrip("\n"))
    return lines


def finished(process):
    """What a process prints that is let go on to its end."""
    out, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 0, out
    return out


def place(folder):
    return folder / f"ser_ray-corpora-{os.getuid()}"


def copy_of(source, folder):
    return place(folder) / open_corpus(source).fingerprint


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_equal(source, copy):
    assert files(copy) == files(source)
    assert filecmp.cmpfiles(source, copy, files(source), shallow=False) == (files(source), [], [])


def size_of(folder):
    return sum((folder / name).stat().st_size for name in files(folder))
