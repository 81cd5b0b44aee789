"""Compilation by Numba, cached on disk: in Numba's own cache, or else in a private folder on the node."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ser_ray import allocation


def compiled(function: Callable[..., Any], *signature: str, **options: Any) -> Any:
    """Compile a function with Numba, at once for a given signature, else on first call, and cache the code on disk.

    Numba caches code in NUMBA_CACHE_DIR, beside the function's file, or in the user's home. If it can write to none of
    them, all processes of a user on a node share a private folder. If that cannot be created, each compiles anew.
    """
    import numba

    njit: Any = numba.njit
    try:
        return njit(*signature, cache=True, **options)(function)
    except (OSError, RuntimeError):  # Numba's folder is full, or it can write to none
        folder = make_private_folder()
    if folder is not None:
        settings: Any = numba.config
        settings.CACHE_DIR = str(folder)
        try:
            return njit(*signature, cache=True, **options)(function)
        except (OSError, RuntimeError):  # the private folder failed, too
            pass
    return njit(*signature, **options)(function)


def describe_private_folder() -> str | None:
    """Return a log line on the private folder; None if this process does not cache its compiled code there."""
    import numba

    settings: Any = numba.config
    folder = private_folder()
    if str(folder) != settings.CACHE_DIR:
        return None
    return (
        f"KERNELS   are kept in {folder}, compiled once on each node: no folder beside the code or in the home can be "
        "written; NUMBA_CACHE_DIR=DIR names another place"
    )


def private_folder() -> Path:
    """Return the path of a user's private cache on a node, used if Numba's own folders cannot be written."""
    return allocation.temporary() / f"ser_ray_kernels_{os.getuid()}"


def make_private_folder() -> Path | None:
    """Create the private folder and return it; None if that fails, or other users could put code into it."""
    folder = private_folder()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        there = folder.lstat()  # the name can be guessed, so a link or another user's folder is rejected
    except OSError:
        return None
    own = stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid() and not there.st_mode & 0o077
    return folder if own else None
