"""Exception for mistakes in the user's input, and recognition of errors of a file system that cannot be written.

The command line prints the exception's message and exits with code 2.
"""

import errno
import os
from pathlib import Path
from typing import TypeGuard


class InputError(ValueError):
    """A mistake in a file, key or value that the user gave.

    The message names the file or key, the value, the legal values and the fix, in one or a few lines. The command line
    prints it without a traceback.
    """


UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EPERM, errno.EACCES, errno.ESTALE, errno.EIO})
"""A full disk or quota, a read-only or protected file system, an expired ticket, a lost server, a broken disk."""


def is_unwritable(error: OSError) -> bool:
    """Check whether a write error comes from the file system rather than from the data."""
    return error.errno in UNWRITABLE


def names_place_in(folder: Path, error: OSError) -> bool:
    """Check whether an error names a path in a folder; errors of some calls, such as `write`, name none."""
    names = [name for name in (error.filename, error.filename2) if isinstance(name, (str, bytes, os.PathLike))]
    return any(Path(os.fsdecode(name)).is_relative_to(folder) for name in names)


def results_cannot_be_written(error: BaseException, folder: Path) -> TypeGuard[OSError]:
    """Check whether an error means that the results in a sweep's folder cannot be written.

    An error that names a path elsewhere, such as in a corpus, concerns the trial alone.
    """
    if not isinstance(error, OSError) or not is_unwritable(error):
        return False
    unnamed = error.filename is None and error.filename2 is None
    return unnamed or names_place_in(folder, error)


def results_unwritable(folder: Path, error: OSError) -> InputError:
    """Make the user's error message for a sweep's folder that cannot be written."""
    return InputError(
        f"results cannot be written to {folder}: {system_reason(error)}; choose another folder with --results DIR"
    )


def system_reason(error: OSError) -> str:
    """Return the system's words for an error, such as "No space left on device".

    Libraries that write files, such as Arrow, have texts of their own in `strerror`.
    """
    return os.strerror(error.errno) if error.errno else str(error)
