"""Checkpoints of a training: whole or absent, and read without executing anything in them."""

import os
import secrets
from pathlib import Path
from typing import Any

import torch

from ser_ray.errors import InputError


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint under another name, sync it, and rename it into its place.

    Args:
        path: where it goes; its folder is made.
        content: tensors, numbers, texts, and lists and dicts of them.

    Raises:
        OSError: if the disk is full; what was at `path` before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; weights and plain data only, on the CPU.

    Args:
        path: the file.

    Returns:
        What was saved.

    Raises:
        InputError: if the file is damaged or no checkpoint of ours.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes end unpickling with any exception, as its documentation says
        raise InputError(f"{path} is no readable checkpoint ({error}); delete it to train from the start") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no checkpoint of ser_ray; delete it to train from the start")
    return content
