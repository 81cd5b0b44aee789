"""Paths at which no file can be read, recognised without opening them, and damaged files, moved without losing any."""

import errno
import itertools
import os
import shutil
import stat
from pathlib import Path

FILE_SYSTEM_ERRORS = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""Of the file system or this process: the file that could not be read may be intact."""

_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a named pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISREG, None),
)


def irregular(path: Path) -> str | None:
    """Return why no file can be read at a path; None if there is a file, or nothing at all.

    To be called before a file is opened: opening a named pipe would wait for ever.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "it is a link to what is not there" if path.is_symlink() else None
    except OSError as error:
        return f"{error.strerror or error}" if path.is_symlink() else None  # a loop of links; else opening raises it
    return next((reason for is_kind, reason in _KINDS if is_kind(mode)), "it is a device")


def set_aside(path: Path, place: Path) -> Path:
    """Move a file, folder or link to `place` and return where it is: KEY-2.parquet if KEY.parquet is taken.

    Raises:
        FileNotFoundError: if there is nothing at `path` any more.
        OSError: if it cannot be moved; then it is where it was.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    numbered = (place.with_name(f"{place.stem}-{number}{place.suffix}") for number in itertools.count(2))
    free = next(one for one in itertools.chain([place], numbered) if not os.path.lexists(one))
    shutil.move(path, free)  # renames, or copies where `damaged` is a link to another file system
    return free
