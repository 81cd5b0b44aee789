"""Checkpoints of a training: whole or absent, the one before kept, and read without executing anything in them."""

import os
import secrets
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ser_ray.errors import InputError
from ser_ray.results.set_aside import FILE_SYSTEM_ERRORS, irregular, set_aside

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


def save_last(folder: Path, content: dict[str, Any]) -> None:
    """Write a training's last checkpoint and keep the one before it.

    Args:
        folder: of the trial's checkpoints.
        content: as `save_checkpoint`.

    Raises:
        OSError: if the disk is full; the last checkpoint is still there.
    """
    last, spare = folder / LAST, folder / f".{PREVIOUS}.{secrets.token_hex(4)}"
    temporary = _write(last, content)
    try:
        if last.exists():
            # a second name for the old file, so that last.pt is there at every moment
            try:
                os.link(last, spare)
            except OSError:  # a file system without links: for a moment there is a previous.pt alone
                os.replace(last, folder / PREVIOUS)
            else:
                os.replace(spare, folder / PREVIOUS)
        os.replace(temporary, last)
    finally:
        spare.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)


def _fits(content: dict[str, Any]) -> None:
    pass


def load_last(
    folder: Path, say: Callable[[str], None], check: Callable[[dict[str, Any]], None] = _fits
) -> dict[str, Any] | None:
    """Return the newest checkpoint of a training that is whole and fits it, or None where there is none.

    One that is damaged or does not fit is set aside as damaged-last.pt, lest it takes the place of the one before it.

    Args:
        folder: of the trial's checkpoints.
        say: told of a checkpoint that is set aside, why, and of what is used instead.
        check: raises InputError for a checkpoint that does not fit the training.

    Raises:
        OSError: if the file system does not give a checkpoint, or it cannot be set aside.
    """
    for name, instead in ((LAST, "the one before it"), (PREVIOUS, "none: training from the start")):
        path = folder / name
        try:
            content = load_checkpoint(path)
        except FileNotFoundError:
            continue
        except InputError as error:
            reason = str(error)
        else:
            try:
                check(content)
            except InputError as error:
                reason = f"{path} does not fit this training ({error})"
            else:
                return content
        place = set_aside(path, folder / f"damaged-{name}")
        say(f"{reason}; it is set aside as {place.name}; going on from {instead}")
    return None


def remove_half_written(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote a checkpoint.

    Args:
        folder: of the trial's checkpoints, of which this process is the only one; it need not exist.

    Raises:
        OSError: if the file system does not let them be removed.
    """
    for name in (LAST, PREVIOUS, BEST):
        for left in folder.glob(f".{name}.*"):
            left.unlink(missing_ok=True)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint under another name, sync it, and rename it into its place.

    Args:
        path: where it goes; its folder is made.
        content: tensors, numbers, texts, and lists and dicts of them.

    Raises:
        OSError: if the disk is full; what was at `path` before is still there.
    """
    temporary = _write(path, content)
    try:
        if path.is_dir():  # over anything else it is renamed
            set_aside(path, path.with_name(f"damaged-{path.name}"))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, content: dict[str, Any]) -> Path:
    """Write a checkpoint beside its place, synced, and return its temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; weights and plain data only, on the CPU.

    Args:
        path: the file.

    Returns:
        What was saved.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if the file system does not give it.
        InputError: if the file is damaged or no checkpoint of ours.
    """
    reason = irregular(path)
    if reason is not None:
        raise InputError(f"{path} is no readable checkpoint ({reason})")
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums that it writes
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"checksum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes end unpickling with any exception, as its documentation says
        if isinstance(error, OSError) and error.errno in FILE_SYSTEM_ERRORS:
            raise  # the checkpoint may be sound, and is not to be given up
        raise InputError(f"{path} is no readable checkpoint ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no checkpoint of ser_ray")
    return content
