"""Check a node for Ray's needs: a temporary folder for its sockets and logs, and shared memory."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ser_ray import allocation
from ser_ray.doctor.file_systems import SHARED, FreeSpace, file_system, space
from ser_ray.doctor.finding import Finding, fail, ok, size, warn
from ser_ray.sweep.nodes.ray_folder import LONGEST, OBJECT_STORE_BYTES

RAY_FULL = 0.95
"""Used fraction of a disk above which Ray spills no more objects to it (ray.exceptions.OutOfDiskError)."""
SHM_BYTES = OBJECT_STORE_BYTES * 3 // 2
"""1.5 times a sweep's object store; where the store does not fit, Ray keeps it on disk, in its temporary folder."""
SET_TMP = "SER_RAY_TMP=DIR in slurm/site.env, a short path on the node's own disk"


def findings(folder: Path) -> Iterator[Finding]:
    """Test the folder for Ray's sockets and logs, and yield the finding; nothing is left in it."""
    try:
        with tempfile.TemporaryDirectory(prefix="ser_ray_doctor_", dir=folder) as own:
            descriptor = os.open(own, os.O_RDONLY)
            try:  # through the descriptor, so that the length of the folder's path does not matter here
                with socket.socket(socket.AF_UNIX) as unix:
                    unix.bind(f"/proc/self/fd/{descriptor}/socket")
            finally:
                os.close(descriptor)
            free, locks = space(Path(own)), supports_locks(Path(own) / "lock")
    except OSError as error:
        yield fail("temporary", f"{folder} cannot hold files and sockets: {error.strerror or error}", SET_TMP)
        return
    yield check_temporary(folder, free, file_system(folder), locks=locks)


def supports_locks(path: Path) -> bool:
    """Return whether the file system of a path supports flock, creating the file."""
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in allocation.NO_LOCKS:
                raise
            return False
    return True


def check_temporary(folder: Path, free: FreeSpace, kind: str | None, *, locks: bool = True) -> Finding:
    """Judge the node's temporary folder; `locks` is whether its file system supports flock."""
    text = f"{folder}, {size(free.free)} of {size(free.total)} free" + (f", {kind}" if kind else "")
    length = len(os.fsencode(folder))
    if length > LONGEST:
        return fail("temporary", f"{text}: {length} characters, but Ray's sockets allow {LONGEST}", SET_TMP)
    if kind in SHARED:
        return warn(
            "temporary",
            f"{text}: not on this node's own disk; Ray is slow on a shared one, and sockets may fail",
            SET_TMP,
        )
    if not locks:
        left = "folders of killed runs cannot be told from those in use, and remain"
        return warn("temporary", f"{text}: its file system has no locks (flock): {left}", SET_TMP)
    if free.free < (1 - RAY_FULL) * free.total:
        return warn("temporary", f"{text}: above {RAY_FULL:.0%} full, Ray stops spilling objects there", SET_TMP)
    return ok("temporary", text)


def check_shared_memory(free: int | None) -> Finding:
    """Judge the free bytes of /dev/shm (None if it is missing)."""
    text = "/dev/shm is absent" if free is None else f"{size(free)} of /dev/shm free"
    if free is not None and free >= SHM_BYTES:
        return ok("shm", text)
    return warn(
        "shm",
        f"{text}: Ray's object store of {size(OBJECT_STORE_BYTES)} will be on disk",
        "remove old files there (ls -l /dev/shm); in a container, use --shm-size=1g or bind the host's /dev/shm",
    )


def shared_memory_finding() -> Finding:
    """Return the finding on this node's /dev/shm."""
    try:
        return check_shared_memory(space(Path("/dev/shm")).free)
    except OSError:
        return check_shared_memory(None)
