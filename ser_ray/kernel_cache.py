"""Compiles by Numba and keeps the code on disk: in Numba's own cache, or else in a private folder of the node."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ser_ray import allocation


def compiled(function: Callable[..., Any], *signature: str, **options: Any) -> Any:
    """Return a function that Numba compiles, at once for a signature, else on its first call, and keeps on disk.

    Numba keeps code in NUMBA_CACHE_DIR, beside the function's file, or in the user's home. Where it can write to none
    of them, all processes of a user on a node share a private folder; where that cannot be made, each compiles anew.
    """
    import numba

    njit: Any = numba.njit
    try:
        return njit(*signature, cache=True, **options)(function)
    except (OSError, RuntimeError):  # Numba's folder is full, or none can be written
        folder = make_private_folder()
    if folder is not None:
        settings: Any = numba.config
        settings.CACHE_DIR = str(folder)
        try:
            return njit(*signature, cache=True, **options)(function)
        except (OSError, RuntimeError):  # nor there
            pass
    return njit(*signature, **options)(function)


def describe_private_folder() -> str | None:
    """Return a line for the log on the private folder; None if this process does not keep its compiled code there."""
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
    """Return the folder for a user's compiled code on a node where Numba's own folders cannot be written."""
    return allocation.temporary() / f"ser_ray_kernels_{os.getuid()}"


def make_private_folder() -> Path | None:
    """Return the private folder, made if need be; None if it cannot be made, or others could put code into it."""
    folder = private_folder()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        there = folder.lstat()  # the name can be guessed: what another user put there is not taken, nor a link
    except OSError:
        return None
    own = stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid() and not there.st_mode & 0o077
    return folder if own else None
