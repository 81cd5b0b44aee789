"""Atomic writing of files and folders, checks for paths that are no regular file, and moving of damaged files.

New content is written beside its destination, synced, then renamed into place.
"""

import contextlib
import errno
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

FILE_SYSTEM_ERRORS = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""Errors of the file system or of this process: the file that could not be read may be intact."""

_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a named pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISREG, None),
)


@contextlib.contextmanager
def whole_file(path: Path, *, temporary_dir: Path | None = None) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path, then sync what the block wrote there and rename it to `path`.

    If the block raises, the temporary file is removed and `path` is unchanged.

    Args:
        path: the file; its folder is created.
        temporary_dir: folder of the temporary file, on the same file system; by default the file's own folder.

    Raises:
        OSError: if the disk is full or cannot be written; the error names a path.
    """
    for folder in (path.parent, temporary_dir or path.parent):
        folder.mkdir(parents=True, exist_ok=True)
    temporary = (temporary_dir or path.parent) / f".{path.name}.{secrets.token_hex(6)}"
    try:
        with errors_naming(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, temporary_dir: Path | None = None) -> None:
    """Write a UTF-8 text file atomically, as `whole_file` does."""
    with whole_file(path, temporary_dir=temporary_dir) as temporary:
        temporary.write_text(text, encoding="utf-8")


def replace_folder(new: Path, path: Path) -> None:
    """Rename a folder to `path` on the same file system, replacing an existing folder.

    Between the two renames there is no folder at `path` for a moment. The old folder is deleted last.
    """
    old = new.with_name(f".{path.name}.{secrets.token_hex(6)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Flush the contents of a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Add a file's path to an OSError that names none, as those of `write` and `fsync` do.

    By its path an error is assigned to the results or to another file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def irregular(path: Path) -> str | None:
    """Check that a path is a regular file or missing; return the reason if it is not, else None.

    Call it before opening a file: opening a named pipe would block for ever.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "it is a link to what is not there" if path.is_symlink() else None
    except OSError as error:
        return f"{error.strerror or error}" if path.is_symlink() else None  # a loop of links; opening raises the others
    return next((reason for is_kind, reason in _KINDS if is_kind(mode)), "it is a device")


def set_aside(path: Path, place: Path) -> Path:
    """Move a file, folder or link to `place`, or to KEY-2.parquet if KEY.parquet is taken; return its new path.

    Raises:
        FileNotFoundError: if there is nothing at `path` any more.
        OSError: if it cannot be moved; then it stays at `path`.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    numbered = (place.with_name(f"{place.stem}-{number}{place.suffix}") for number in itertools.count(2))
    free = next(one for one in itertools.chain([place], numbered) if not os.path.lexists(one))
    shutil.move(path, free)  # renames, or copies where `damaged` is a link to another file system
    return free
