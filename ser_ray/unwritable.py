"""Results that cannot be written: which errors say so, however the file system came to it."""

import errno
import os
from pathlib import Path
from typing import TypeGuard

from ser_ray.errors import InputError

UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EPERM, errno.EACCES, errno.ESTALE, errno.EIO})
"""A full disk or quota, a read-only or protected file system, an expired ticket, a lost server, a broken disk."""


def is_unwritable(error: OSError) -> bool:
    """Return whether an error of writing is of the file system rather than of what was written.

    Args:
        error: raised where results were being written.
    """
    return error.errno in UNWRITABLE


def names_place_in(folder: Path, error: OSError) -> bool:
    """Return whether an error names a path in a folder.

    Args:
        folder: such as a sweep's.
        error: some calls, such as `write`, name no path.
    """
    names = [name for name in (error.filename, error.filename2) if isinstance(name, (str, bytes, os.PathLike))]
    return any(Path(os.fsdecode(name)).is_relative_to(folder) for name in names)


def results_cannot_be_written(error: BaseException, folder: Path) -> TypeGuard[OSError]:
    """Return whether an error says that a sweep's results cannot be written, rather than being a trial's own.

    Args:
        error: what cannot be read elsewhere, such as a corpus, is a trial's own trouble.
        folder: the sweep's.
    """
    if not isinstance(error, OSError) or not is_unwritable(error):
        return False
    unnamed = error.filename is None and error.filename2 is None
    return unnamed or names_place_in(folder, error)


def results_unwritable(folder: Path, error: OSError) -> InputError:
    """Return what a user should read when a sweep's folder cannot be written."""
    return InputError(
        f"results cannot be written to {folder}: {error.strerror or error}; choose another folder with --results DIR"
    )
