"""Compares shards with the hashes in the manifest, once per host and corpus.

What was found in order is remembered in the user's cache folder, $XDG_CACHE_HOME/ser_ray or ~/.cache/ser_ray, or where
that cannot be written in a folder of the user's own on the local disk:

DIR/verified/HOST/CORPUS.json       of each shard its size, times of change, inode and hash; CORPUS hashes the path
DIR/verified/HOST/CORPUS.lock       held by who hashes; others wait for it rather than read the same bytes

A shard of the same size, times and inode is not read again: neither what a program writes nor a copy leaves all of them
as they were.
"""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from ser_ray import provenance
from ser_ray.allocation import cpus, temporary
from ser_ray.corpus.store.files import AlteredError, altered, check_size, naming
from ser_ray.corpus.store.room import Lock, NoRoomError, own_place
from ser_ray.corpus.store.schema import SHARDS, Manifest, Shard

BLOCK_BYTES = 2**22
"""Read and hashed at once, both without Python's lock: threads hash side by side."""
LOOK_S = 0.2
SAID_S = 30.0
"""How often a long verification says how far it is."""
WORTH_SAYING_BYTES = 2 * 10**9

Signature = tuple[int, int, int, int]
"""Of a file: bytes, time of its last change of content and of its last change at all in ns, inode."""


def _nothing() -> None:
    pass


def _silent(line: str) -> None:
    pass


def verify_shards(
    folder: Path,
    manifest: Manifest,
    memory: "VerifiedShards | None" = None,
    *,
    look: Callable[[], None] = _nothing,
    say: Callable[[str], None] = _silent,
) -> None:
    """Hash the shards of a corpus that are not remembered, several at once, and remember them.

    Args:
        folder: of the corpus.
        manifest: of the corpus.
        memory: what was verified on this host before; None if nothing is remembered.
        look: called again and again meanwhile; what it raises ends this.
        say: takes a line for the user, where this takes long.

    Raises:
        AlteredError: naming the first shard found that is absent or not what the manifest says.
        InputError: if a shard cannot be read.
    """
    for shard in manifest.shards:
        check_size(folder, shard)
    with contextlib.ExitStack() as stack:
        known: Mapping[str, Signature] = {}
        if memory is not None and not _missing(folder, manifest, memory.known(manifest)):
            return
        if memory is not None:
            stack.enter_context(memory.alone(look, say))
            known = memory.known(manifest)  # again, since another process may have hashed meanwhile
        todo = _missing(folder, manifest, known)
        if todo:
            found = _Hashing(folder, todo, look, say).run(manifest.name)
            if memory is not None:
                memory.remember(manifest, {**known, **found})


def _missing(folder: Path, manifest: Manifest, known: Mapping[str, Signature]) -> list[Shard]:
    """Return the shards that are not as they were when they were verified, or never were."""
    missing = []
    for shard in manifest.shards:
        with naming(f"shard {folder / SHARDS / shard.name}"):
            if known.get(shard.name) != signature(os.stat(folder / SHARDS / shard.name)):
                missing.append(shard)
    return missing


def signature(seen: os.stat_result) -> Signature:
    """Return what a file is known again by."""
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino


class _StoppedError(Exception):
    """A thread that hashes was told to end."""


class _Hashing:
    """Hashes shards in threads.

    Args:
        folder: of the corpus.
        shards: which.
        look: called meanwhile, in the thread that waits.
        say: takes a line where it takes long.
    """

    def __init__(self, folder: Path, shards: list[Shard], look: Callable[[], None], say: Callable[[str], None]) -> None:
        self._folder, self._shards, self._look, self._say = folder, shards, look, say
        self._all, self._done = sum(shard.size_bytes for shard in shards), 0
        self._lock, self._stop = threading.Lock(), threading.Event()

    def run(self, name: str) -> dict[str, Signature]:
        """Return the signature of each shard, each as it was while its hash was taken."""
        if self._all > WORTH_SAYING_BYTES:
            self._say(f"verifying corpus {name} ({self._all / 1e9:.3g} GB), once on this host")
        found: dict[str, Signature] = {}
        began = said = time.monotonic()
        with ThreadPoolExecutor(min(cpus(), len(self._shards))) as pool:
            try:
                waiting: dict[Future[Signature], Shard] = {pool.submit(self._verified, s): s for s in self._shards}
                while waiting:
                    done, _ = wait(waiting, LOOK_S, FIRST_COMPLETED)
                    for future in done:
                        found[waiting.pop(future).name] = future.result()
                    self._look()
                    now = time.monotonic()
                    if now - said >= SAID_S and waiting:
                        said, rate = now, self._done / (now - began)
                        self._say(
                            f"verified {self._done / 1e9:.3g} of {self._all / 1e9:.3g} GB, {rate / 1e6:.0f} MB/s, "
                            f"{max(0, self._all - self._done) / max(1.0, rate):.0f} s left"
                        )
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
        return found

    def _verified(self, shard: Shard) -> Signature:
        path = self._folder / SHARDS / shard.name
        found, signature = self._hash(path)
        if found != shard.sha256:  # once more and from the disk itself, since what was read may have been at fault
            found, signature = self._hash(path, afresh=True)
        if found != shard.sha256:
            raise altered(path, found, shard.sha256)
        return signature

    def _hash(self, path: Path, *, afresh: bool = False) -> tuple[str, Signature]:
        digest, buffer = hashlib.sha256(), bytearray(BLOCK_BYTES)
        view = memoryview(buffer)
        with naming(f"shard {path}"), path.open("rb", buffering=0) as file:
            before = signature(os.fstat(file.fileno()))
            if hasattr(os, "posix_fadvise"):  # which macOS lacks
                advice = os.POSIX_FADV_DONTNEED if afresh else os.POSIX_FADV_SEQUENTIAL
                os.posix_fadvise(file.fileno(), 0, 0, advice)
            while count := file.readinto(buffer):
                digest.update(view[:count])
                with self._lock:
                    self._done += count
                if self._stop.is_set():
                    raise _StoppedError
            after = signature(os.fstat(file.fileno()))
        if before != after:
            raise AlteredError(f"shard {path} is being written to: a corpus must not be changed while it is used")
        return digest.hexdigest(), after


class VerifiedShards:
    """What this host remembers of one corpus.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def alone(self, look: Callable[[], None], say: Callable[[str], None]) -> Iterator[None]:
        """Be the only process of this host that hashes this corpus, as far as its file system has locks.

        Args:
            look: called again and again while this waits.
            say: told once that it waits.
        """
        with contextlib.ExitStack() as stack:
            lock = self._lock()
            if lock is not None:
                stack.callback(lock.close)
                if not _taken(lock):
                    say("waiting for another process of this host, which verifies the corpus")
                while not _taken(lock):
                    look()
                    time.sleep(LOOK_S)
            yield

    def _lock(self) -> Lock | None:
        try:
            return Lock(self._path.with_suffix(".lock"))
        except OSError:  # a full disk or quota: nothing will be remembered either
            return None

    def known(self, manifest: Manifest) -> dict[str, Signature]:
        """Return the signatures of shards that were found to be what this manifest says; none if there is no memory."""
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            kept = {name: (tuple(entry["signature"]), entry["sha256"]) for name, entry in entries.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # it is made again: no more is lost than the time of hashing
        return {
            shard.name: kept[shard.name][0]
            for shard in manifest.shards
            if shard.name in kept and kept[shard.name][1] == shard.sha256
        }

    def remember(self, manifest: Manifest, signatures: Mapping[str, Signature]) -> None:
        """Keep signatures of shards that are what the manifest says, as far as the disk lets it."""
        entries = {
            shard.name: {"signature": signatures[shard.name], "sha256": shard.sha256}
            for shard in manifest.shards
            if shard.name in signatures
        }
        part = self._path.with_suffix(f".{os.getpid()}.part")
        with contextlib.suppress(OSError):  # a full disk or quota: it is hashed again next time
            part.write_text(json.dumps(entries), encoding="utf-8")
            part.replace(self._path)


def verified_shards(folder: Path, environment: Mapping[str, str] = os.environ) -> VerifiedShards | None:
    """Return what this host remembers of the corpus in a folder.

    Args:
        folder: of the corpus.
        environment: of the process.

    Returns:
        None where neither the user's cache folder nor the local disk can be written.
    """
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    makers: tuple[Callable[[], Path], ...] = (lambda: _cache(environment), lambda: own_place(temporary(environment)))
    for make in makers:
        try:
            place = make() / "verified" / provenance.host_name()
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, NoRoomError):
            continue
        if os.access(place, os.W_OK | os.X_OK):
            return VerifiedShards(place / f"{name}.json")
    return None


def _cache(environment: Mapping[str, str]) -> Path:
    """Return the user's cache folder of this program.

    Raises:
        NoRoomError: if the user has no home.
    """
    given = environment.get("XDG_CACHE_HOME", "")
    base = Path(given if os.path.isabs(given) else os.path.expanduser("~/.cache"))  # what is relative counts as unset
    if not base.is_absolute():
        raise NoRoomError("this user has no home")
    return base / "ser_ray"


def _taken(lock: Lock) -> bool:
    """Return whether a lock is held now, or cannot be: without locks each process hashes for itself."""
    try:
        return lock.alone()
    except OSError:
        return True
