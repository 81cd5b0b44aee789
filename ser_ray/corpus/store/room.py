"""Room for copies of corpora on a node's own disk: whose they are, who uses them, and which must go for another.

DIR/ser_ray-corpora-UID/            of mode 0700
    room.lock                       held by who looks for room
    FINGERPRINT.lock                held alone by who copies or removes, together by who uses; its text: bytes, process
    FINGERPRINT/                    a corpus, whole if it has its manifest

Locks are the system's: they go with the process that holds them, however it ends. Their files stay.
"""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ser_ray.corpus.store.schema import MANIFEST

RESERVE_BYTES = 2**30
"""Of a disk's free space what is left to others."""


class NoRoomError(Exception):
    """A corpus that cannot be copied to a node's own disk; the message says why."""


class Lock:
    """A lock of the system on a file, which is made if need be.

    Args:
        path: of the file.

    Raises:
        OSError: if the file can be neither made nor opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def alone(self) -> bool:
        """Take it for this process alone, or return False, holding nothing, where others have it."""
        return self._take(fcntl.LOCK_EX)

    def together(self) -> bool:
        """Take it together with others, or return False, holding nothing, where somebody has it alone."""
        return self._take(fcntl.LOCK_SH)

    def release(self) -> None:
        """Let it go."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let it go for good."""
        os.close(self._file)

    def used(self) -> None:
        """Note that what it stands for was used now."""
        os.utime(self._file)

    def claim(self, size_bytes: int) -> None:
        """Note how large what it stands for becomes, and who makes it."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{size_bytes} {os.getpid()}\n".encode(), 0)

    @property
    def claimed(self) -> tuple[int, int | None]:
        """Bytes and process of the last claim; 0 and None without one."""
        words = os.pread(self._file, 100, 0).split()
        return (int(words[0]), int(words[1])) if len(words) == 2 and all(map(bytes.isdigit, words)) else (0, None)

    def _take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()  # what a conversion that failed may have left
            return False
        return True


def own_place(folder: Path) -> Path:
    """Return the user's own folder for copies in a folder that others may use, too, made if need be.

    Args:
        folder: on the node's own disk.

    Raises:
        NoRoomError: if the place belongs to somebody else, or others may look into it.
        OSError: if it cannot be made.
    """
    place = folder / f"ser_ray-corpora-{os.getuid()}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = place.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise NoRoomError(f"{place} is not a folder of this user's alone (chmod 700, or remove it)")
    return place


def remove(copy: Path) -> None:
    """Remove a copy: first what makes it look whole.

    Args:
        copy: its folder, its lock held alone.
    """
    (copy / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(copy, ignore_errors=True)


def make_room(copy: Path, size_bytes: int, limit_bytes: int | None) -> list[str]:
    """Remove copies that nobody uses, least recently used first, until another one fits; none if that is not enough.

    Called with the lock "room.lock" held alone; other copies may be under way.

    Args:
        copy: the folder to be, its lock held alone; what lies there already is kept and counted.
        size_bytes: of it when it is whole.
        limit_bytes: of all copies together; None for no limit but the disk's.

    Returns:
        The names of what was removed.

    Raises:
        NoRoomError: if it does not fit.
    """
    with contextlib.ExitStack() as stack:
        others = [_Other.look(lock, stack) for lock in sorted(copy.parent.glob("*.lock")) if _is_other(lock, copy)]
        free = shutil.disk_usage(copy.parent).free - RESERVE_BYTES
        wanted = size_bytes - bytes_in(copy) + sum(other.still_to_come for other in others)
        kept = sum(other.counted for other in others)
        unused = sorted((other for other in others if other.unused), key=lambda other: other.used_at)
        gone = []
        for number in range(len(unused) + 1):
            freed = sum(other.present for other in unused[:number])
            fits = wanted <= free + freed and (limit_bytes is None or kept - freed + size_bytes <= limit_bytes)
            if fits:
                gone = unused[:number]
                break
        else:
            raise NoRoomError(_too_little(copy, size_bytes, free, limit_bytes, kept - freed))
        for other in gone:
            remove(other.folder)
        return [other.folder.name for other in gone]


@dataclass(frozen=True)
class _Other:
    """Another corpus's copy.

    Args:
        folder: where it lies.
        unused: nobody uses or copies it, and its lock is held meanwhile.
        used_at: when it last was, in seconds.
        present: its bytes on the disk.
        still_to_come: bytes that somebody who copies it will still write.
    """

    folder: Path
    unused: bool
    used_at: float
    present: int
    still_to_come: int

    @property
    def counted(self) -> int:
        return self.present + self.still_to_come

    @classmethod
    def look(cls, path: Path, stack: contextlib.ExitStack) -> "_Other":
        """Return what a lock stands for; where it is free, it is held until the stack ends."""
        lock = Lock(path)
        stack.callback(lock.close)
        folder = path.with_suffix("")
        unused = lock.alone()
        # one that is copied cannot be shared: it is not yet as large as it was said to become
        copied = not unused and not lock.together()
        if not unused:
            lock.release()
        present = bytes_in(folder)
        coming = max(0, lock.claimed[0] - present) if copied else 0
        return cls(folder, unused, path.stat().st_mtime, present, coming)


def _is_other(lock: Path, copy: Path) -> bool:
    return lock.stem not in ("room", copy.name)


def bytes_in(folder: Path) -> int:
    """Return the bytes of the files in a folder and below; 0 where there is none."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile by who copies
            seen = path.lstat()
            if stat.S_ISREG(seen.st_mode):
                yield seen.st_size


def _too_little(copy: Path, size_bytes: int, free: int, limit_bytes: int | None, kept: int) -> str:
    needs = f"it takes {size_bytes / 1e9:.3g} GB"
    if limit_bytes is not None and kept + size_bytes > limit_bytes:
        beside = f", of which copies in use take {kept / 1e9:.3g} GB" if kept else ""
        return f"{needs}, but staging is bounded to {limit_bytes / 1e9:.3g} GB{beside}"
    return f"{needs}, but {copy.parent} has {max(0, free) / 1e9:.3g} GB to spare"
