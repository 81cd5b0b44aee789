"""Compare shards with the hashes in the manifest, once per host and corpus.

Verified shards are recorded in the user's cache folder, $XDG_CACHE_HOME/ser_ray or ~/.cache/ser_ray, or if that is not
writable in the user's own folder on the local disk:

DIR/verified/HOST/CORPUS.json       size, times of change, inode and hash of each shard; CORPUS is a hash of the path
DIR/verified/HOST/CORPUS.lock       locked by the process that hashes; others wait rather than read the same bytes

A shard with the same size, times and inode is not read again: neither writing to it nor copying it keeps all of them.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_ray import provenance
from ser_ray.allocation import cpus, temporary
from ser_ray.corpus.progress import ByteLog
from ser_ray.corpus.store.manifest import AlteredError, altered, check_size, reading_file
from ser_ray.corpus.store.node_disk import locked, node_folder
from ser_ray.corpus.store.schema import SHARDS, Manifest, Shard
from ser_ray.files import write_text

if TYPE_CHECKING:
    from ser_ray.corpus.store.reader import Corpus

BLOCK_BYTES = 2**22
"""Bytes read and hashed at once. Both release Python's global lock, so threads hash in parallel."""
POLL_S = 0.2
WORTH_LOGGING_BYTES = 2 * 10**9

Signature = tuple[int, int, int, int]
"""A file's size in bytes, mtime and ctime in ns, and inode."""


def verify_shards(
    folder: Path,
    manifest: Manifest,
    memory: "VerifiedShards | None" = None,
    *,
    on_block: Callable[[], object] = lambda: None,
    log: Callable[[str], object] = lambda line: None,
) -> None:
    """Hash the shards of a corpus that are not yet verified, several in parallel, and record them in `memory`.

    `on_block` is called repeatedly meanwhile; its exceptions end this.

    Raises:
        AlteredError: naming the first shard found that is missing or differs from the manifest.
        InputError: if a shard cannot be read.
    """
    for shard in manifest.shards:
        check_size(folder, shard)
    if memory is None:
        _hash_shards(folder, manifest, list(manifest.shards), on_block, log)
        return
    if not _missing(folder, manifest, memory.known(manifest)):
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no locks, or a full disk or quota: each process hashes by itself
            waiting = "waiting for another process of this host, which verifies the corpus"
            stack.enter_context(locked(memory.path.with_suffix(".lock"), lambda holder: log(waiting), on_block))
        known = memory.known(manifest)  # read again, since another process may have hashed meanwhile
        if todo := _missing(folder, manifest, known):
            memory.remember(manifest, {**known, **_hash_shards(folder, manifest, todo, on_block, log)})


def verify_corpus(
    corpus: "Corpus", log: Callable[[str], object], on_block: Callable[[], object] = lambda: None
) -> None:
    """Compare a corpus, which may be a local copy, with its hashes, unless this host has done so before.

    `on_block` and exceptions are as in `verify_shards`.
    """
    verify_shards(corpus.path, corpus.manifest, verified_shards(corpus.path), on_block=on_block, log=log)


@contextlib.contextmanager
def verification(
    corpus: "Corpus | None", log: Callable[[str], object]
) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Verify a corpus, or none, in the background; leaving the context stops that, finished or not.

    Yields:
        A function that waits until the corpus is verified or its argument, called repeatedly, returns True. It raises
        an AlteredError that names the shard that does not match the manifest.
    """
    over = threading.Event()

    def check() -> None:
        if over.is_set():
            raise _StoppedError

    def wait_for(leave: Callable[[], bool]) -> None:
        while not verified.done() and not leave():
            wait([verified], POLL_S)
        if verified.done():
            verified.result()

    with ThreadPoolExecutor(1) as pool:
        verified = pool.submit(lambda: None if corpus is None else verify_corpus(corpus, log, check))
        try:
            yield wait_for
        finally:
            over.set()


def _missing(folder: Path, manifest: Manifest, known: Mapping[str, Signature]) -> list[Shard]:
    """Return the shards that were never verified, or changed since."""
    missing = []
    for shard in manifest.shards:
        with reading_file(f"shard {folder / SHARDS / shard.name}"):
            if known.get(shard.name) != signature(os.stat(folder / SHARDS / shard.name)):
                missing.append(shard)
    return missing


def signature(seen: os.stat_result) -> Signature:
    """Return the signature of a file, by which a change is detected."""
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino


class _StoppedError(Exception):
    """Raised in a thread that hashes or verifies, to end it."""


def _hash_shards(
    folder: Path,
    manifest: Manifest,
    shards: list[Shard],
    on_block: Callable[[], object],
    log: Callable[[str], object],
) -> dict[str, Signature]:
    """Hash shards in threads; return the signature that each had while it was hashed."""
    if not shards:
        return {}
    total, stop = sum(shard.size_bytes for shard in shards), threading.Event()
    if total > WORTH_LOGGING_BYTES:
        log(f"verifying corpus {manifest.name} ({total / 1e9:.3g} GB), once on this host")
    progress = ByteLog("verified", total, log)
    found: dict[str, Signature] = {}
    with ThreadPoolExecutor(min(cpus(), len(shards))) as pool:
        try:
            waiting: dict[Future[Signature], Shard] = {
                pool.submit(_verified, folder / SHARDS / shard.name, shard.sha256, progress, stop): shard
                for shard in shards
            }
            while waiting:
                done, _ = wait(waiting, POLL_S, FIRST_COMPLETED)
                for future in done:
                    found[waiting.pop(future).name] = future.result()
                on_block()
                if waiting:
                    progress.update()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return found


def _verified(path: Path, sha256: str, progress: ByteLog, stop: threading.Event) -> Signature:
    found, signature = hash_file(path, progress, stop)
    if found != sha256:  # hash it again, from the disk: the page cache, and not the file, may be damaged
        found, signature = hash_file(path, progress, stop, afresh=True)
    if found != sha256:
        raise altered(path, found, sha256)
    return signature


def hash_file(path: Path, progress: ByteLog, stop: threading.Event, *, afresh: bool = False) -> tuple[str, Signature]:
    """Compute a shard's SHA-256 and signature; with `afresh`, read from the disk rather than the page cache."""
    digest, buffer = hashlib.sha256(), bytearray(BLOCK_BYTES)
    view = memoryview(buffer)
    with reading_file(f"shard {path}"), path.open("rb", buffering=0) as file:
        before = signature(os.fstat(file.fileno()))
        if hasattr(os, "posix_fadvise"):  # not on macOS
            advice = os.POSIX_FADV_DONTNEED if afresh else os.POSIX_FADV_SEQUENTIAL
            os.posix_fadvise(file.fileno(), 0, 0, advice)
        while count := file.readinto(buffer):
            digest.update(view[:count])
            progress.add(count)
            if stop.is_set():
                raise _StoppedError
        after = signature(os.fstat(file.fileno()))
    if before != after:
        raise AlteredError(f"shard {path} is being written to: a corpus must not be changed while it is used")
    return digest.hexdigest(), after


@dataclass(frozen=True)
class VerifiedShards:
    """File in which this host records the verified shards of one corpus."""

    path: Path

    def known(self, manifest: Manifest) -> dict[str, Signature]:
        """Return the signatures of shards verified against this manifest; empty if the file cannot be read."""
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
            kept = {name: (tuple(entry["signature"]), entry["sha256"]) for name, entry in entries.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # written again later: only the time of hashing is lost
        return {
            shard.name: kept[shard.name][0]
            for shard in manifest.shards
            if shard.name in kept and kept[shard.name][1] == shard.sha256
        }

    def remember(self, manifest: Manifest, signatures: Mapping[str, Signature]) -> None:
        """Record the signatures of verified shards; disk errors are ignored."""
        entries = {
            shard.name: {"signature": signatures[shard.name], "sha256": shard.sha256}
            for shard in manifest.shards
            if shard.name in signatures
        }
        with contextlib.suppress(OSError):  # a full disk or quota: the shards are hashed again next time
            write_text(self.path, json.dumps(entries))


def verified_shards(folder: Path, environment: Mapping[str, str] = os.environ) -> VerifiedShards | None:
    """Return this host's record of verified shards for a corpus; None where neither place for it is writable."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    given = environment.get("XDG_CACHE_HOME", "")
    cache = Path(given if os.path.isabs(given) else os.path.expanduser("~/.cache"))  # a relative path counts as unset
    for in_cache in (True, False):
        if in_cache and not cache.is_absolute():  # this user has no home
            continue
        try:
            base = cache / "ser_ray" if in_cache else node_folder(temporary(environment))
            place = base / "verified" / provenance.host_name()
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK | os.X_OK):
            return VerifiedShards(place / f"{name}.json")
    return None
