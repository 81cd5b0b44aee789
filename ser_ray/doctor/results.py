"""The folder for results: whether it can be written, how fast, how much room it has, and what time it keeps."""

import errno
from collections.abc import Iterator
from pathlib import Path

from ser_ray.doctor.file_systems import IN_MEMORY, LOCAL, Mount, Room, mount_here, nearest, room
from ser_ray.doctor.finding import Finding, fail, ok, size, warn
from ser_ray.doctor.writing import Written, try_writing

SLOW_BYTES_PER_S = 10e6
"""On a signal all trials of a node save within two minutes: 16 take 25 s at this speed. Much slower is too late."""
SLOW_FILES_PER_S = 10.0
"""A trial leaves about ten files: at this speed, one second of it all."""
LEAST_FREE = 5e9
"""Three checkpoints of 5 to 16 MB a trial, and its predictions: 100 trials take up to 5 GB."""
LEAST_FILES = 10_000
CLOCK_S = 5.0
"""Drivers say every 5 s that they are there, and count as lost after 60 s by the clock of the host that looks."""
ELSEWHERE = "--results DIR on a file system that all nodes see and that you may write"


def results_findings(folder: Path, nodes: int) -> Iterator[Finding]:
    """Try a folder for results and yield what there is to say of it.

    Args:
        folder: need not exist; nothing is left in it.
        nodes: of the job.
    """
    try:
        written = try_writing(folder)
        there = room(nearest(folder))
    except OSError as error:
        yield check_error(folder, nearest(folder), error)
        return
    yield check_results(folder, written, mount_here(folder), nodes)
    yield check_room(there)
    yield check_clock(written.clock_s)


def check_error(folder: Path, place: Path, error: OSError) -> Finding:
    """Judge that results cannot be written.

    Args:
        folder: of them.
        place: what is there of its path.
        error: that trying raised.
    """
    within = f" (in {place})" if place != folder else ""
    text = f"{folder} cannot be written{within}: {error.strerror or error}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return fail("results", text, f"make room there or have your quota raised, or {ELSEWHERE}" if full else ELSEWHERE)


def check_results(folder: Path, written: Written, mount: Mount | None, nodes: int) -> Finding:
    """Judge the speed of a folder that can be written, and whether other nodes see it.

    Args:
        folder: of the results.
        written: how writing went.
        mount: the file system that it lies on; None where that is not known.
        nodes: of the job.
    """
    speed = "" if written.bytes_per_s is None else f"{size(written.bytes_per_s)}/s, "
    on = f", {mount.kind}" if mount else ""
    text = f"{folder} can be written: {speed}{written.files_per_s:,.0f} small files/s{on}"
    if mount and mount.kind in IN_MEMORY:
        return warn("results", f"{text}: it is in this node's memory, and lost when the node restarts", ELSEWHERE)
    if mount and mount.kind in LOCAL and nodes > 1:
        return warn("results", f"{text}: it is on this node's own disk, and other nodes may not see it", ELSEWHERE)
    slow = written.bytes_per_s is not None and written.bytes_per_s < SLOW_BYTES_PER_S
    if slow or written.files_per_s < SLOW_FILES_PER_S:
        return warn("results", f"{text}: trials will wait for it", "--results DIR on a faster file system (scratch)")
    return ok("results", text)


def check_room(there: Room) -> Finding:
    """Judge the room for results.

    Args:
        there: where they go.
    """
    files = "" if there.files is None else f", {there.files:,} more files"
    text = f"{size(there.free)} of {size(there.total)} free{files}"
    if there.free < LEAST_FREE:
        return warn(
            "room", f"{text}: 100 trials take up to {size(LEAST_FREE)}", "make room, or --results DIR elsewhere"
        )
    if there.files is not None and there.files < LEAST_FILES:
        return warn("room", f"{text}: a trial leaves about ten", "remove old files, or --results DIR elsewhere")
    return ok("room", text)


def check_clock(ahead_s: float) -> Finding:
    """Judge this machine's clock; no more than a warning, since it may be the file server's that is wrong.

    Args:
        ahead_s: by how much the results folder's clock is ahead of it.
    """
    if abs(ahead_s) <= CLOCK_S:
        return ok("clock", f"agrees with that of the results folder within {max(abs(ahead_s), 0.1):.1f} s")
    which = "behind" if ahead_s > 0 else "ahead of"
    return warn(
        "clock",
        f"{abs(ahead_s):.0f} s {which} that of the results folder: where nodes differ by a minute, a driver that runs "
        "is taken for lost, and another may start beside it",
        "have the clocks of the nodes synchronised (chrony, NTP)",
    )
