"""What Numba compiles, kept on disk: where Numba keeps it by itself, or else in a private folder of the node."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ser_ray import allocation


def compiled(function: Callable[..., Any], *signature: str, **options: Any) -> Any:
    """Return a function that Numba compiles, and keeps on disk for other processes.

    Numba keeps code in NUMBA_CACHE_DIR, beside the function's file, or in the user's home. Where it can write to none
    of them, every process of a user on a node takes the same private folder; where not even that can be had, each
    compiles for itself.

    Args:
        function: to be compiled.
        signature: of its arguments, for which it is compiled at once; without one, on its first call.
        options: of numba.njit.
    """
    import numba

    njit: Any = numba.njit
    try:
        return njit(*signature, cache=True, **options)(function)
    except (OSError, RuntimeError):  # no room in Numba's folder; none that can be written
        folder = make_private_folder()
    if folder is not None:
        settings: Any = numba.config
        settings.CACHE_DIR = str(folder)
        try:
            return njit(*signature, cache=True, **options)(function)
        except (OSError, RuntimeError):  # nor there
            pass
    return njit(*signature, **options)(function)


def folder_in_use() -> Path | None:
    """Return the private folder if this process keeps its compiled code there, else None."""
    import numba

    settings: Any = numba.config
    folder = private_folder()
    return folder if str(folder) == settings.CACHE_DIR else None


def describe_private_folder() -> str | None:
    """Return what to tell of the private folder, in a line; None if this process does not keep its code there."""
    folder = folder_in_use()
    if folder is None:
        return None
    return (
        f"KERNELS   are kept in {folder}, compiled once on each node: no folder beside the code or in the home can be "
        "written; NUMBA_CACHE_DIR=DIR names another place"
    )


def private_folder() -> Path:
    """Return where a user's compiled code is kept on a node on which Numba finds no place for it."""
    return allocation.temporary() / f"ser_ray_kernels_{os.getuid()}"


def make_private_folder() -> Path | None:
    """Return the private folder, made if need be; None if it cannot be, or if others could put code into it."""
    folder = private_folder()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        there = folder.lstat()  # the name can be guessed: what another user put there is not taken, nor a link
    except OSError:
        return None
    own = stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid() and not there.st_mode & 0o077
    return folder if own else None
