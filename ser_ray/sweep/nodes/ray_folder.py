"""A private folder of this process on its node's own disk, for Ray's sockets and logs."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ser_ray import allocation
from ser_ray.errors import InputError

PREFIX, LOCK = "ser_ray_", ".ser_ray.lock"
LONGEST = 107 - len("/ser_ray_12345678/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Maximum bytes of the parent's path: a socket's path may have 107, and process ids have up to seven digits."""


@contextlib.contextmanager
def ray_temp_dir(parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder of mode 0700, and remove the folders of processes that are gone.

    A killed process cannot remove its folder. Its lock on the folder ends with it, so that the next process can
    recognise and remove the folder. On a file system without locks such folders stay.

    Raises:
        InputError: if the parent's path is too long, or it cannot be written.
    """
    parent = allocation.temporary() if parent is None else parent
    if len(os.fsencode(parent)) > LONGEST:
        raise InputError(
            f"SER_RAY_TMP is {parent}, but Ray's sockets need a path of at most {LONGEST} bytes; set it to a shorter "
            "one"
        )
    try:
        for left in parent.glob(f"{PREFIX}*"):
            _remove_if_left(left)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # mode 0700
    except OSError as error:
        raise InputError(
            f"no folder can be created in {parent} ({error.strerror or error}); set SER_RAY_TMP to a folder on another "
            "local disk"
        ) from error
    unlocked = folder / f"{LOCK}.new"
    with open(unlocked, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in allocation.NO_LOCKS:
                raise
        else:
            unlocked.rename(folder / LOCK)  # locked before others can find it
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    try:
        if folder.stat().st_uid != os.getuid():
            return
        with open(folder / LOCK, "r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # in use, not complete yet, or gone
