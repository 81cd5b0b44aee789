"""The place where a corpus is made: whether it has room, and what a user is told when it has not."""

import contextlib
import errno
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_PLACE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


def partial_folder(out: Path) -> Path:
    """Return the hidden folder in which a corpus is made, beside its resolved place."""
    return out.parent / f".{out.name}.partial"


def check_room(seconds: Sequence[float], out: Path) -> None:
    """Refuse to begin if the audio of so many seconds takes more bytes than are free."""
    out = out.resolve()
    place = out.parent
    while not place.exists():
        place = place.parent
    free, written = shutil.disk_usage(place).free, partial_folder(out)
    there = sum(file.stat().st_size for file in written.rglob("*") if file.is_file()) if written.is_dir() else 0
    needed = round(sum(seconds) * SAMPLE_RATE * np.dtype(np.int16).itemsize)
    if needed > free + there:
        raise InputError(
            f"{out} needs about {_size(needed)} for {len(seconds)} recordings, but {_size(free)} are free on the file "
            f"system of {place}: choose another place, or make room"
        )


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


@contextlib.contextmanager
def users_mistakes(out: Path) -> Iterator[None]:
    """Raise an InputError for a place where no folder can be made, and for a disk that fills up meanwhile."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_PLACE:
            raise InputError(f"{out} cannot be made ({error}): choose another place") from error
        if error.errno not in FULL:
            raise
        raise InputError(
            f"the disk of {out} is full ({error}): make room and run the same command again; what is written is kept"
        ) from error
