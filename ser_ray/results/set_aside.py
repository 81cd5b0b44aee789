"""Files that are not what their names say: told without opening them, and put aside without losing any."""

import errno
import itertools
import os
import shutil
import stat
from pathlib import Path

FILE_SYSTEM_ERRORS = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""Errors by which a file system, or this process, does not give a file that may be sound."""

_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a named pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISREG, None),
)


def irregular(path: Path) -> str | None:
    """Return why there is no file to be read at a path; None if there is one, or nothing at all.

    To open a named pipe would wait for ever, so that this is asked first.

    Args:
        path: where a file should be; a link to one counts as one.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "it is a link to what is not there" if path.is_symlink() else None
    except OSError as error:
        return f"{error.strerror or error}" if path.is_symlink() else None  # a loop of links; else opening tells it
    return next((reason for is_kind, reason in _KINDS if is_kind(mode)), "it is a device")


def set_aside(path: Path, place: Path) -> Path:
    """Move a file, or whatever is there under its name, to where nothing is yet.

    Args:
        path: what is moved; of a link, the link.
        place: where to, if that is free; else its name gets a number: KEY-2.parquet.

    Returns:
        Where it is now.

    Raises:
        FileNotFoundError: if nothing is there any more.
        OSError: if it cannot be moved; it is where it was.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    numbered = (place.with_name(f"{place.stem}-{number}{place.suffix}") for number in itertools.count(2))
    free = next(one for one in itertools.chain([place], numbered) if not os.path.lexists(one))
    shutil.move(path, free)  # which renames, unless a linked folder lies on another file system
    return free
