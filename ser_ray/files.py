"""Files and folders that are whole or not there, paths that hold no file, and damaged files set aside.

What is written lies beside its place, is synced, then renamed into it.
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
"""Of the file system or this process: the file that could not be read may be intact."""

_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a named pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISREG, None),
)


@contextlib.contextmanager
def whole_file(path: Path, *, temporary_dir: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; what the block writes there is synced and becomes the file at `path`.

    If the block raises, nothing is left that was not there before.

    Args:
        path: the file; its folder is made.
        temporary_dir: on the same file system, where the temporary file lies; the file's own folder by default.

    Raises:
        OSError: if the disk is full or cannot be written, with a path in it.
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
    """Write a text in UTF-8 as a whole file, as `whole_file` does."""
    with whole_file(path, temporary_dir=temporary_dir) as temporary:
        temporary.write_text(text, encoding="utf-8")


def replace_folder(new: Path, path: Path) -> None:
    """Rename a folder to `path`, on the same file system, in the place of one that may be there.

    Between two renames there is none for a moment; what was there goes last.
    """
    old = new.with_name(f".{path.name}.{secrets.token_hex(6)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Have the disk hold the contents of a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Have an error of writing a file name it: to write and to sync name none, by which results are known."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


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
