"""Writes files and folders that are whole or not there: beside their place, synced, then renamed into it."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


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
