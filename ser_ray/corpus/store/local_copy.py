"""Copies of corpora on a node's own disk, each made once and used by all processes of the node.

A copy is taken for whole when it has its manifest, which comes last, and only then are its bytes read. Each shard's
hash is taken while it is copied: a copy cannot hold anything but what was imported. What goes wrong with the disk is no
reason to end, since the corpus can be read where it lies; what is wrong with the corpus is one.
"""

import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ser_ray.corpus.store.files import altered, check_size, sha256_of
from ser_ray.corpus.store.manifest import read_manifest
from ser_ray.corpus.store.room import Lock, NoRoomError, make_room, own_place, remove
from ser_ray.corpus.store.schema import INDEX, MANIFEST, SHARDS, Manifest, Shard
from ser_ray.corpus.store.verifying import signature, verified_shards
from ser_ray.errors import InputError

LOOK_S = 0.2
"""How often a process that waits looks whether it has to."""
LOOKS = 5
"""After how many of them it says that it waits."""
SAID_S = 30.0
"""How often a long copy says how far it is."""
BLOCK_BYTES = 2**23

_HELD: dict[Path, Lock] = {}
"""The copies that this process uses, locked until it ends, since mapped arrays do not tell when they are dropped."""


def _nothing() -> None:
    pass


def staged(
    path: Path,
    folder: Path,
    limit_bytes: int | None,
    say: Callable[[str], None],
    look: Callable[[], None] = _nothing,
) -> Path:
    """Return where a corpus lies on this node's own disk, copied there now if need be.

    Of all processes that ask for it one copies and the others wait. From then on it stays while this process lives.

    Args:
        path: where the corpus lies.
        folder: on the node's own disk; in it a folder of the user's own is made.
        limit_bytes: of all copies in the folder together; None for no limit but the disk's.
        say: takes a line for the log.
        look: called again and again while this copies or waits; what it raises ends it.

    Returns:
        The folder of the copy; `path` where there is no room for one, or the disk cannot be written.

    Raises:
        InputError: if the corpus is not as it was written: the manifest or a shard was altered.
    """
    manifest = read_manifest(path / MANIFEST)
    try:
        copy = own_place(folder) / manifest.fingerprint
        if copy not in _HELD or not _is_whole(copy, manifest):
            _HELD[copy] = _use(path, copy, manifest, limit_bytes, say, look)
        _HELD[copy].used()
    except (OSError, NoRoomError) as error:
        reason = error if isinstance(error, NoRoomError) else f"{error.strerror or error} ({folder})"
        say(f"corpus {manifest.name} is not staged: {reason}; it is read from {path}")
        return path
    return copy


def _use(
    path: Path,
    copy: Path,
    manifest: Manifest,
    limit_bytes: int | None,
    say: Callable[[str], None],
    look: Callable[[], None],
) -> Lock:
    """Return the lock of a whole copy, held together with others."""
    if copy in _HELD:  # somebody has removed files by hand
        _HELD.pop(copy).close()
    lock = Lock(copy.with_suffix(".lock"))
    try:
        for looks in itertools.count():
            if lock.together():
                if _is_whole(copy, manifest):
                    return lock
                lock.release()
            elif looks == LOOKS:
                say(f"waiting for process {lock.claimed[1]}, which copies corpus {manifest.name} to {copy}")
            if not lock.alone():
                look()
                time.sleep(LOOK_S)
            elif not _is_whole(copy, manifest):
                _make(path, copy, manifest, limit_bytes, lock, say, look)
            # and again, since a whole copy may be removed before it can be shared
        raise AssertionError("unreachable: the count does not end")
    except BaseException:
        lock.close()
        raise


def _make(
    path: Path,
    copy: Path,
    manifest: Manifest,
    limit_bytes: int | None,
    lock: Lock,
    say: Callable[[str], None],
    look: Callable[[], None],
) -> None:
    """Make a copy whose lock is held alone, or take up one that was not completed."""
    size = sum(shard.size_bytes for shard in manifest.shards) + sum(
        (path / name).stat().st_size for name in (INDEX, MANIFEST)
    )
    try:
        with _room(copy.parent, look):
            for gone in make_room(copy, size, limit_bytes):
                say(f"removed the copy of corpus {gone} from {copy.parent}: nobody uses it, and the room is needed")
            lock.claim(size)
        say(f"copying corpus {manifest.name} ({size / 1e9:.3g} GB) to {copy}")
        _Copying(path, copy, say, look).run(manifest)
    except (OSError, NoRoomError):
        remove(copy)  # what cannot be completed would only take room
        raise


@contextlib.contextmanager
def _room(place: Path, look: Callable[[], None]) -> Iterator[None]:
    """Be the only one who looks for room."""
    lock = Lock(place / "room.lock")
    try:
        while not lock.alone():
            look()
            time.sleep(LOOK_S)
        yield
    finally:
        lock.close()


def _is_whole(copy: Path, manifest: Manifest) -> bool:
    """Return whether a copy was completed and has all its files still: some sites clean up their disks by age."""
    try:
        if read_manifest(copy / MANIFEST).fingerprint != manifest.fingerprint or not (copy / INDEX).is_file():
            return False
        for shard in manifest.shards:
            check_size(copy, shard)
    except (OSError, InputError):
        return False
    return True


class _Copying:
    """Copies one corpus and tells how far it is.

    Args:
        path: where the corpus lies.
        copy: where the copy is to be.
        say: takes a line for the log.
        look: called after each block.
    """

    def __init__(self, path: Path, copy: Path, say: Callable[[str], None], look: Callable[[], None]) -> None:
        self._path, self._copy, self._say, self._look = path, copy, say, look
        self._all = self._done = 0
        self._began = self._said = time.monotonic()

    def run(self, manifest: Manifest) -> None:
        """Copy what is missing, look at what is there, and put in the manifest."""
        (self._copy / MANIFEST).unlink(missing_ok=True)
        (self._copy / SHARDS).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._all = sum(shard.size_bytes for shard in manifest.shards if not self._is_there(shard))
        # what is missing first: a shard that is altered is met at once when this is tried again
        for shard in sorted(manifest.shards, key=self._is_there):
            if not self._is_there(shard) or sha256_of(self._copy / SHARDS / shard.name) != shard.sha256:
                self._copy_shard(shard)
            self._look()
        memory = verified_shards(self._copy)
        if memory is not None:  # all hashes were taken just now
            shards = {shard.name: signature((self._copy / SHARDS / shard.name).stat()) for shard in manifest.shards}
            memory.remember(manifest, shards)
        for name in (INDEX, MANIFEST):
            self._written(name)
        _sync(self._copy)
        seconds = max(1e-9, time.monotonic() - self._began)
        self._say(f"copied in {seconds:.0f} s ({self._done / 1e6 / seconds:.0f} MB/s)")

    def _is_there(self, shard: Shard) -> bool:
        try:
            check_size(self._copy, shard)
        except InputError:
            return False
        return True

    def _copy_shard(self, shard: Shard) -> None:
        check_size(self._path, shard)
        name, before = f"{SHARDS}/{shard.name}", self._done
        found = self._written(name, shard.sha256)
        if found != shard.sha256:  # once more and from the disk itself, since what was read may have been at fault
            self._done = before
            found = self._written(name, shard.sha256, afresh=True)
        if found != shard.sha256:
            raise altered(self._path / name, found, shard.sha256)

    def _written(self, name: str, expected: str | None = None, *, afresh: bool = False) -> str:
        """Copy a file and return its hash; it gets its name only if the hash is as expected."""
        target, digest = self._copy / name, hashlib.sha256()
        part = target.with_name(f"{target.name}.part")
        with (self._path / name).open("rb") as source, part.open("wb") as file:
            if afresh and hasattr(os, "posix_fadvise"):  # which macOS lacks
                os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while block := source.read(BLOCK_BYTES):
                digest.update(block)
                file.write(block)
                self._done += len(block)
                self._look()
                self._tell()
            file.flush()
            os.fsync(file.fileno())  # so that no name is ever on the disk before its bytes
        if expected in (None, digest.hexdigest()):
            part.replace(target)
            _sync(target.parent)
        else:
            part.unlink()
        return digest.hexdigest()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._said >= SAID_S:
            self._said, rate = now, self._done / (now - self._began)
            left = max(0, self._all - self._done) / rate
            self._say(
                f"copied {self._done / 1e9:.3g} of {self._all / 1e9:.3g} GB, {rate / 1e6:.0f} MB/s, {left:.0f} s left"
            )


def _sync(folder: Path) -> None:
    """Have a folder's names on the disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
