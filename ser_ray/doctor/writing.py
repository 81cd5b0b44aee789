"""Writes in a folder what trials write there, reads it back, takes the time, and leaves nothing behind."""

import errno
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ser_ray.doctor.file_systems import nearest, room

LARGE_BYTES, LARGE_FILES, LARGE_S = 16 * 2**20, 4, 10.0
"""As checkpoints, which take 10 to 16 MB with the paper's network. No new one is begun after LARGE_S."""
SMALL_BYTES, SMALL_FILES, SMALL_S = 4096, 50, 5.0
"""As the row of a trial."""
SHARE = 4
"""At most this part of what is free is written."""


@dataclass(frozen=True)
class Written:
    """How writing went.

    Args:
        bytes_per_s: of files as large as checkpoints; None where there was no room to try.
        files_per_s: of small files.
        clock_s: by how much the folder's clock is ahead of this machine's.
    """

    bytes_per_s: float | None
    files_per_s: float
    clock_s: float


def try_writing(folder: Path) -> Written:
    """Write, sync and rename files in a folder, read them back, and remove them.

    Args:
        folder: where; if it is not there, the innermost of its parents that is stands for it, and it is not made. So
            nodes that look at once do not remove a folder that another is about to use.

    Returns:
        How it went.

    Raises:
        OSError: if something cannot be done there, or something else is read than was written.
    """
    place = nearest(folder)
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    with tempfile.TemporaryDirectory(prefix=".ser_ray_doctor_", dir=place) as own:
        files_per_s = _rate(Path(own), os.urandom(SMALL_BYTES), SMALL_FILES, SMALL_S)
        clock_s = clock_ahead(Path(own) / "0")
        count = min(LARGE_FILES, room(place).free // (SHARE * LARGE_BYTES))
        # bytes that do not repeat within a file, or a disk that packs them would seem fast
        rate = _rate(Path(own), os.urandom(LARGE_BYTES), count, LARGE_S) if count else None
    return Written(None if rate is None else rate * LARGE_BYTES, files_per_s, clock_s)


def _rate(folder: Path, content: bytes, count: int, most_s: float) -> float:
    """Return how many files a second are written as trials write theirs: under another name, synced and renamed."""
    began = time.monotonic()
    number = 0
    while number < count and (not number or time.monotonic() - began < most_s):
        temporary = folder / "temporary"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / str(number))
        number += 1
    rate = number / max(time.monotonic() - began, 1e-6)
    if (folder / str(number - 1)).read_bytes() != content:
        raise OSError(errno.EIO, "what was read back is not what was written", str(folder))
    return rate


def clock_ahead(file: Path) -> float:
    """Return by how many seconds the clock that stamps a file is ahead of this machine's.

    Args:
        file: may be written; a file server stamps it with its own time.
    """
    before = time.time()
    os.utime(file)
    after = time.time()
    return file.stat().st_mtime - (before + after) / 2
