"""Shared state of a node's processes on its own disk: a folder per user, and locks."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

WAIT_S = 0.2
"""Seconds between the attempts of a process that waits for a lock."""


def node_folder(folder: Path) -> Path:
    """Create this user's private subfolder, of mode 0700, in a folder that may be shared with other users.

    Raises:
        OSError: if it cannot be created, belongs to somebody else, or is accessible to others.
    """
    place = folder / f"ser_ray-corpora-{os.getuid()}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{place} is not a private folder of this user (chmod 700 it, or remove it)")
    return place


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[int | None], object], on_block: Callable[[], object]) -> Iterator[None]:
    """Wait for the exclusive lock of a file and keep it; the system releases it when the process ends in any way.

    If this has to wait, `on_wait` is called once with the id of the process that has the lock, and `on_block`
    repeatedly; an exception from `on_block` ends the waiting.

    Raises:
        OSError: if the file can be neither created nor opened, or its file system does not support locks.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        waits = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            if not waits:
                holder = os.pread(file, 20, 0)
                on_wait(int(holder) if holder.isdigit() else None)
                waits = True
            on_block()
            time.sleep(WAIT_S)
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d" % os.getpid(), 0)
        yield
    finally:
        os.close(file)
