"""Check the folder for results: whether and how fast it can be written, its free space, and its clock."""

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ser_ray.doctor.file_systems import IN_MEMORY, LOCAL, FreeSpace, file_system, nearest_existing, space
from ser_ray.doctor.finding import Finding, fail, ok, size, warn

SLOW_BYTES_PER_S = 10e6
"""On a signal, all trials of a node must save within two minutes. At this speed, 16 trials take 25 s."""
SLOW_FILES_PER_S = 10.0
"""A trial writes about ten files, which take one second at this speed."""
LEAST_FREE = 5e9
"""A trial has three checkpoints of 5 to 16 MB and its predictions, so 100 trials take up to 5 GB."""
LEAST_FILES = 10_000
CLOCK_S = 5.0
"""Drivers renew their heartbeat every 5 s, and count as lost after 60 s by the clock of the checking host."""
ELSEWHERE = "--results DIR on a file system that all nodes see and that you can write"
LARGE_BYTES, LARGE_FILES, LARGE_S = 16 * 2**20, 4, 10.0
"""Size and number of files written like checkpoints, which take 10 to 16 MB with the paper's network. No new file is
begun after LARGE_S."""
SMALL_BYTES, SMALL_FILES, SMALL_S = 4096, 50, 5.0
"""The same for small files, such as a trial's row."""
FREE_PARTS = 4
"""At most this fraction (1 / FREE_PARTS) of the free space is written."""


@dataclass(frozen=True)
class WriteSpeed:
    """Speed of writing to a folder, and the seconds by which its clock is ahead of this machine's."""

    bytes_per_s: float | None  # in files as large as checkpoints; None where there was no space for a test
    files_per_s: float
    clock_s: float


def findings(folder: Path, nodes: int) -> Iterator[Finding]:
    """Test a folder, which need not exist, for the results of a job with `nodes` nodes; nothing is left in it."""
    try:
        speed = measure_writing(folder)
        free = space(nearest_existing(folder))
    except OSError as error:
        yield check_error(folder, nearest_existing(folder), error)
        return
    yield check_speed(folder, speed, file_system(folder), nodes)
    yield check_space(free)
    yield check_clock(speed.clock_s)


def measure_writing(folder: Path) -> WriteSpeed:
    """Write, sync and rename files in a folder, read them back, and remove them.

    If the folder does not exist, its innermost existing parent is tested instead of creating it, since nodes that check
    at the same time could remove a folder that another is about to use.

    Raises:
        OSError: if any operation fails, or a file's contents differ from what was written.
    """
    existing = nearest_existing(folder)
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(existing))
    with tempfile.TemporaryDirectory(prefix=".ser_ray_doctor_", dir=existing) as own:
        files_per_s = _files_per_s(Path(own), os.urandom(SMALL_BYTES), SMALL_FILES, SMALL_S)
        clock_s = clock_ahead(Path(own) / "0")
        count = min(LARGE_FILES, space(existing).free // (FREE_PARTS * LARGE_BYTES))
        # random bytes, since a disk that compresses repeated ones would seem fast
        rate = _files_per_s(Path(own), os.urandom(LARGE_BYTES), count, LARGE_S) if count else None
    return WriteSpeed(None if rate is None else rate * LARGE_BYTES, files_per_s, clock_s)


def _files_per_s(folder: Path, content: bytes, count: int, most_s: float) -> float:
    """Write files as trials do, under a temporary name, synced and renamed; return the files per second."""
    started = time.monotonic()
    number = 0
    while number < count and (not number or time.monotonic() - started < most_s):
        temporary = folder / "temporary"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / str(number))
        number += 1
    rate = number / max(time.monotonic() - started, 1e-6)
    if (folder / str(number - 1)).read_bytes() != content:
        raise OSError(errno.EIO, "the data read back differ from the data written", str(folder))
    return rate


def clock_ahead(file: Path) -> float:
    """Return the seconds by which the clock that stamps a file, such as a file server's, is ahead of this machine's."""
    before = time.time()
    os.utime(file)
    after = time.time()
    return file.stat().st_mtime - (before + after) / 2


def check_error(folder: Path, existing: Path, error: OSError) -> Finding:
    """Judge the error of writing results to a folder; `existing` is the existing part of its path."""
    within = f" (in {existing})" if existing != folder else ""
    text = f"{folder} cannot be written{within}: {error.strerror or error}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return fail(
        "results", text, f"free disk space there, have your quota raised, or use {ELSEWHERE}" if full else ELSEWHERE
    )


def check_speed(folder: Path, speed: WriteSpeed, kind: str | None, nodes: int) -> Finding:
    """Judge the speed of a writable folder, and whether the job's other nodes see it."""
    large = "" if speed.bytes_per_s is None else f"{size(speed.bytes_per_s)}/s, "
    on = f", {kind}" if kind else ""
    text = f"{folder} can be written: {large}{speed.files_per_s:,.0f} small files/s{on}"
    if kind in IN_MEMORY:
        return warn("results", f"{text}: it is in this node's memory, and is lost when the node restarts", ELSEWHERE)
    if kind in LOCAL and nodes > 1:
        return warn("results", f"{text}: it is on this node's own disk, and other nodes may not see it", ELSEWHERE)
    slow = speed.bytes_per_s is not None and speed.bytes_per_s < SLOW_BYTES_PER_S
    if slow or speed.files_per_s < SLOW_FILES_PER_S:
        return warn(
            "results", f"{text}: trials will be slowed down by it", "--results DIR on a faster file system (scratch)"
        )
    return ok("results", text)


def check_space(free: FreeSpace) -> Finding:
    """Judge the free space for results."""
    files = "" if free.files is None else f", {free.files:,} more files"
    text = f"{size(free.free)} of {size(free.total)} free{files}"
    if free.free < LEAST_FREE:
        return warn(
            "room",
            f"{text}: 100 trials take up to {size(LEAST_FREE)}",
            "free disk space, or use --results DIR elsewhere",
        )
    if free.files is not None and free.files < LEAST_FILES:
        return warn("room", f"{text}: a trial writes about ten", "remove old files, or use --results DIR elsewhere")
    return ok("room", text)


def check_clock(ahead_s: float) -> Finding:
    """Judge the difference of clocks; at most a warning, since the file server's clock may be the wrong one."""
    if abs(ahead_s) <= CLOCK_S:
        return ok("clock", f"agrees with that of the results folder within {max(abs(ahead_s), 0.1):.1f} s")
    which = "behind" if ahead_s > 0 else "ahead of"
    return warn(
        "clock",
        f"{abs(ahead_s):.0f} s {which} that of the results folder: if clocks differ by a minute, a running driver may "
        "be considered lost, and a second one may start",
        "have the clocks of the nodes synchronised (chrony, NTP)",
    )
