"""Importing recordings of 44.1 kHz: time and memory against their number, and one process against one per core.

    python benchmarks/bench_import.py [--recordings 25 100 400] [--seconds 60]

Recordings are links to one stereo file, with labels and six raters each, so that the sources take no room; the corpora
do: 32 kB a second. Memory is the peak of the process that writes and, where there are several, of the largest worker.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ser_ray import allocation
from ser_ray.corpus.mimics.people import person

RATE_HZ = 25


def main() -> None:
    """Import sources of several sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, nargs="+", default=[25, 100, 400])
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    cores = allocation.cpus()
    print(f"{arguments.seconds:g} s of 44.1 kHz stereo each, six raters; {cores} cores")
    print("recordings  processes   time s   x real time   peak MB   worker MB")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        write_source(source, max(arguments.recordings), arguments.seconds)
        for recordings in arguments.recordings:
            limit(source, recordings)
            speeds = {}
            for jobs in dict.fromkeys((1, cores)):
                seconds, peak, worker = import_once(source, Path(folder) / "out", jobs)
                speeds[jobs] = recordings * arguments.seconds / seconds
                print(
                    f"{recordings:10d}  {jobs:9d}  {seconds:7.1f}  {speeds[jobs]:12.0f}  {peak:8.0f}  "
                    f"{worker if jobs > 1 else float('nan'):10.0f}"
                )
            print(f"ratio of speeds, {cores} processes to 1: {speeds[cores] / speeds[1]:.2f}")


def write_source(source: Path, recordings: int, seconds: float) -> None:
    """Write a folder in the layout `table`, its recordings links to one."""
    one = person(1, seconds, 0)
    one.write_audio(source / "audio" / "r00000.wav", 44_100, channels=2)
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    raters = {f"{target}_{rater}": trace for target, by in one.ratings.items() for rater, trace in by.items()}
    columns = {"labels": {target: one.gold(target) for target in one.ratings}, "raters": raters}
    for kind, traces in columns.items():
        (source / kind).mkdir()
        rows = [",".join(["time", *traces])]
        rows += [",".join(f"{value:.4f}" for value in row) for row in zip(times, *traces.values(), strict=True)]
        (source / kind / "r00000.csv").write_text("\n".join(rows) + "\n")
    for number in range(1, recordings):
        for kind, suffix in (("audio", "wav"), ("labels", "csv"), ("raters", "csv")):
            os.link(source / kind / f"r00000.{suffix}", source / kind / f"r{number:05d}.{suffix}")


def limit(source: Path, recordings: int) -> None:
    """Let the table list so many recordings."""
    rows = [f"r{number:05d},{'devel' if number == 0 else 'train'},S{number}" for number in range(recordings)]
    (source / "recordings.csv").write_text("\n".join(["name,partition,speaker", *rows]) + "\n")


def import_once(source: Path, out: Path, jobs: int) -> tuple[float, float, float]:
    """Return the seconds of an import in a process of its own, and the peak memory of it and of its workers in MB."""
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--one", str(source), str(out), str(jobs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    shutil.rmtree(out)
    peak, worker = map(float, done.stdout.split())
    return seconds, peak, worker


def one(source: str, out: str, jobs: str) -> None:
    """Import, and print peak memory."""
    from ser_ray.corpus.importing.ingest import import_corpus

    import_corpus("table", source, out, jobs=int(jobs))
    print(*(resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        main()
