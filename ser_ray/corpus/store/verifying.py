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
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from ser_ray import provenance
from ser_ray.allocation import cpus, temporary
from ser_ray.corpus.progress import ByteLog
from ser_ray.corpus.store.files import AlteredError, altered, check_size, reading_file
from ser_ray.corpus.store.node_disk import locked, node_folder
from ser_ray.corpus.store.schema import SHARDS, Manifest, Shard
from ser_ray.files import write_text

BLOCK_BYTES = 2**22
"""Read and hashed at once, both without Python's lock: threads hash side by side."""
POLL_S = 0.2
WORTH_LOGGING_BYTES = 2 * 10**9

Signature = tuple[int, int, int, int]
"""Of a file: bytes, time of its last change of content and of its last change at all in ns, inode."""


def verify_shards(
    folder: Path,
    manifest: Manifest,
    memory: "VerifiedShards | None" = None,
    *,
    on_block: Callable[[], object] = lambda: None,
    log: Callable[[str], object] = lambda line: None,
) -> None:
    """Hash the shards of a corpus that are not remembered, several at once, and remember them.

    `on_block` is called again and again meanwhile, and what it raises ends this.

    Raises:
        AlteredError: naming the first shard found that is absent or not what the manifest says.
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
        with contextlib.suppress(OSError):  # no locks, a full disk or quota: each process hashes for itself
            waiting = "waiting for another process of this host, which verifies the corpus"
            stack.enter_context(locked(memory.path.with_suffix(".lock"), lambda holder: log(waiting), on_block))
        known = memory.known(manifest)  # again, since another process may have hashed meanwhile
        if todo := _missing(folder, manifest, known):
            memory.remember(manifest, {**known, **_hash_shards(folder, manifest, todo, on_block, log)})


def _missing(folder: Path, manifest: Manifest, known: Mapping[str, Signature]) -> list[Shard]:
    """Return the shards that are not as they were when they were verified, or never were."""
    missing = []
    for shard in manifest.shards:
        with reading_file(f"shard {folder / SHARDS / shard.name}"):
            if known.get(shard.name) != signature(os.stat(folder / SHARDS / shard.name)):
                missing.append(shard)
    return missing


def signature(seen: os.stat_result) -> Signature:
    """Return what a file is known again by."""
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino


class _StoppedError(Exception):
    """Ends a thread that hashes."""


def _hash_shards(
    folder: Path,
    manifest: Manifest,
    shards: list[Shard],
    on_block: Callable[[], object],
    log: Callable[[str], object],
) -> dict[str, Signature]:
    """Return the signature of each shard, as it was while its hash was taken, in threads."""
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
    if found != sha256:  # once more and from the disk itself, since what was read may have been at fault
        found, signature = hash_file(path, progress, stop, afresh=True)
    if found != sha256:
        raise altered(path, found, sha256)
    return signature


def hash_file(path: Path, progress: ByteLog, stop: threading.Event, *, afresh: bool = False) -> tuple[str, Signature]:
    """Return a shard's SHA-256 and what it is known again by; afresh: from the disk, not from memory."""
    digest, buffer = hashlib.sha256(), bytearray(BLOCK_BYTES)
    view = memoryview(buffer)
    with reading_file(f"shard {path}"), path.open("rb", buffering=0) as file:
        before = signature(os.fstat(file.fileno()))
        if hasattr(os, "posix_fadvise"):  # which macOS lacks
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


class VerifiedShards:
    """File in which this host remembers the verified shards of one corpus."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def known(self, manifest: Manifest) -> dict[str, Signature]:
        """Return the signatures of shards that were found to be what this manifest says; none if there is no memory."""
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
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
        with contextlib.suppress(OSError):  # a full disk or quota: it is hashed again next time
            write_text(self.path, json.dumps(entries))


def verified_shards(folder: Path, environment: Mapping[str, str] = os.environ) -> VerifiedShards | None:
    """Return what this host remembers of the corpus in a folder; None where neither place for it can be written."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    makers: tuple[Callable[[], Path], ...] = (
        lambda: _cache(environment),
        lambda: node_folder(temporary(environment)),
    )
    for make in makers:
        try:
            place = make() / "verified" / provenance.host_name()
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK | os.X_OK):
            return VerifiedShards(place / f"{name}.json")
    return None


def _cache(environment: Mapping[str, str]) -> Path:
    given = environment.get("XDG_CACHE_HOME", "")
    base = Path(given if os.path.isabs(given) else os.path.expanduser("~/.cache"))  # what is relative counts as unset
    if not base.is_absolute():
        raise FileNotFoundError("this user has no home")
    return base / "ser_ray"
