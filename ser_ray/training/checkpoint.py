"""Checkpoints of a training: written atomically, the previous one kept, and read without executing their contents."""

import os
import secrets
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ser_ray.errors import InputError
from ser_ray.files import FILE_SYSTEM_ERRORS, irregular, set_aside, sync, whole_file

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


def save_last(folder: Path, content: dict[str, Any]) -> None:
    """Write a training's last checkpoint and keep the previous one; if that fails, last.pt is unchanged."""
    last, spare = folder / LAST, folder / f".{PREVIOUS}.{secrets.token_hex(6)}"
    try:
        with whole_file(last) as temporary:
            _write(content, temporary)
            if last.exists():
                # a second name for the old file, so that last.pt exists at every moment
                try:
                    os.link(last, spare)
                except OSError:  # a file system without links: for a moment only previous.pt exists
                    os.replace(last, folder / PREVIOUS)
                else:
                    os.replace(spare, folder / PREVIOUS)
    finally:
        spare.unlink(missing_ok=True)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors, numbers, texts, lists and dicts of them; if that fails, `path` is unchanged."""
    with whole_file(path) as temporary:
        _write(content, temporary)
        if path.is_dir():  # a rename replaces anything else
            set_aside(path, path.with_name(f"damaged-{path.name}"))


def _write(content: dict[str, Any], temporary: Path) -> None:
    """Write a checkpoint and sync it, before the previous one is touched."""
    with temporary.open("wb") as file:
        torch.save(content, file)
    sync(temporary)


def load_last(
    folder: Path, log: Callable[[str], None], check: Callable[[dict[str, Any]], None] = lambda content: None
) -> dict[str, Any] | None:
    """Load the newest checkpoint of a training that is intact and passes a check; None if there is none.

    The check raises InputError for a checkpoint that does not fit the training. One that is damaged or does not fit is
    moved to damaged-last.pt, so that it never replaces the previous one, and a line is logged. Raises OSError if the
    file system cannot read a checkpoint, or cannot move it.
    """
    for name, instead in ((LAST, "resuming from the previous checkpoint"), (PREVIOUS, "training from the start")):
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
                return content
            except InputError as error:
                reason = f"{path} does not fit this training ({error})"
        place = set_aside(path, folder / f"damaged-{name}")
        log(f"{reason}; moved it to {place.name}; {instead}")
    return None


def remove_half_written(folder: Path) -> None:
    """Remove temporary files of killed processes from a training's folder, which no other process uses now."""
    for name in (LAST, PREVIOUS, BEST):
        for left in folder.glob(f".{name}.*"):
            left.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU: weights and plain data only.

    Raises FileNotFoundError if there is none, OSError if the file system cannot read it, and InputError if the file is
    damaged or not a checkpoint of ser_ray.
    """
    reason = irregular(path)
    if reason is not None:
        raise InputError(f"{path} is not a readable checkpoint ({reason})")
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not check the checksums that it writes
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"checksum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # unpickling damaged bytes may raise any exception, as its documentation says
        if isinstance(error, OSError) and error.errno in FILE_SYSTEM_ERRORS:
            raise  # the checkpoint may be intact, so it must not be set aside
        raise InputError(f"{path} is not a readable checkpoint ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a checkpoint of ser_ray")
    return content
