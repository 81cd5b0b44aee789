"""Local copies of corpora on a node's own disk, each made once and used by all processes of the node.

DIR/ser_ray-corpora-UID/            of mode 0700
    FINGERPRINT.lock                locked by the process that copies
    FINGERPRINT.partial/            an unfinished copy
    FINGERPRINT/                    a copy; it is complete if it has its manifest, which is copied last

Each file is hashed while it is copied, so a copy always equals the imported corpus. An error of the node's disk is only
logged, since the corpus can be read from its original place; an altered corpus is an error. Copies are never removed.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from ser_ray.corpus.progress import ByteLog
from ser_ray.corpus.store.manifest import altered, check_size, read_manifest
from ser_ray.corpus.store.node_disk import locked, node_folder
from ser_ray.corpus.store.reader import Corpus
from ser_ray.corpus.store.schema import INDEX, MANIFEST, SHARDS, Manifest
from ser_ray.corpus.store.verifying import signature, verified_shards
from ser_ray.errors import InputError
from ser_ray.files import replace_folder, sync

RESERVE_BYTES = 2**30
"""Free bytes of a disk that are left to others."""
BLOCK_BYTES = 2**23


def local_corpus(
    corpus: Corpus, staging: str | None, log: Callable[[str], object], on_block: Callable[[], object] = lambda: None
) -> Corpus:
    """Copy a corpus to this node's own disk if possible, and return the local copy; only speed depends on it.

    `staging` is the folder on each node, as in the sweep file: with ~ or the node's variables; None for no copy.
    `on_block` is as in `local_copy`.

    Raises:
        InputError: if the corpus was altered since it was imported.
    """
    if staging is None:
        return corpus
    path = corpus.path
    given = os.path.expanduser(os.path.expandvars(staging))
    unset = re.search(r"\$\{?(\w+)", given)
    if unset or not os.path.isabs(given):
        why = f"{unset[1]} is not set" if unset else f"this is {given}, not an absolute path,"
        log(f"resources.staging is {staging}, but {why} on this node: the corpus is read from {path}")
        return corpus
    folder = Path(given)
    if _device(folder) == _device(path):
        log(
            f"resources.staging is {folder}, on the same file system as the corpus: no local copy is made, the corpus "
            f"is read from {path}"
        )
        return corpus
    copy = local_copy(path, folder, log, on_block)
    if copy == path:
        return corpus
    log(f"the corpus is read from {copy}")
    return corpus.at(copy)


def _device(path: Path) -> int | None:
    """Return the number of the file system where a path is or would be created."""
    for place in (path, *path.parents):
        try:
            return place.stat().st_dev
        except OSError:
            continue
    return None


def local_copy(
    path: Path, folder: Path, log: Callable[[str], object], on_block: Callable[[], object] = lambda: None
) -> Path:
    """Return the folder of a corpus's local copy on this node, copied on first use.

    One process copies while the others that request the copy wait. `on_block` is called repeatedly meanwhile; its
    exceptions end this. Where the disk is full or cannot be written, the result is `path` itself.

    Raises:
        InputError: if the corpus was altered.
    """
    manifest = read_manifest(path / MANIFEST)
    try:
        copy = node_folder(folder) / manifest.fingerprint
        if not _is_whole(copy, manifest):
            waiting = f"which copies corpus {manifest.name} to {copy}"
            lock = copy.with_name(f"{copy.name}.lock")
            with locked(lock, lambda holder: log(f"waiting for process {holder}, {waiting}"), on_block):
                if not _is_whole(copy, manifest):
                    _copy(path, copy, manifest, log, on_block)
    except OSError as error:
        reason = f"{error.strerror} ({folder})" if error.strerror else error
        log(f"corpus {manifest.name} is not copied: {reason}; it is read from {path}")
        return path
    return copy


def _is_whole(copy: Path, manifest: Manifest) -> bool:
    """Return whether a copy still has all its files; some sites delete old files from their disks."""
    try:
        if read_manifest(copy / MANIFEST).fingerprint != manifest.fingerprint or not (copy / INDEX).is_file():
            return False
        for shard in manifest.shards:
            check_size(copy, shard)
    except (OSError, InputError):
        return False
    return True


def _copy(
    path: Path, copy: Path, manifest: Manifest, log: Callable[[str], object], on_block: Callable[[], object]
) -> None:
    """Copy a corpus, replacing whatever is there."""
    size = sum(shard.size_bytes for shard in manifest.shards) + (path / INDEX).stat().st_size
    partial = copy.with_name(f"{copy.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    free = shutil.disk_usage(copy.parent).free - RESERVE_BYTES
    if size > free:
        raise OSError(f"it needs {size / 1e9:.3g} GB, but {copy.parent} has {max(0, free) / 1e9:.3g} GB available")
    log(f"copying corpus {manifest.name} ({size / 1e9:.3g} GB) to {copy}")
    progress = ByteLog("copied", size, log)
    wanted = {f"{SHARDS}/{shard.name}": shard.sha256 for shard in manifest.shards} | {INDEX: manifest.index_sha256}
    try:
        (partial / SHARDS).mkdir(mode=0o700, parents=True)
        for shard in manifest.shards:
            check_size(path, shard)
        for name, sha256 in wanted.items():
            _copy_file(path / name, partial / name, sha256, progress, on_block)
        shutil.copyfile(path / MANIFEST, partial / MANIFEST)
        for made in (partial / MANIFEST, partial / SHARDS, partial):
            sync(made)
        replace_folder(partial, copy)
        sync(copy.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log(f"copied in {progress.summary()}")
    memory = verified_shards(copy)
    if memory is not None:  # all shards have just been hashed
        with contextlib.suppress(OSError):
            memory.remember(
                manifest, {shard.name: signature((copy / SHARDS / shard.name).stat()) for shard in manifest.shards}
            )


def _copy_file(
    source: Path, target: Path, sha256: str, progress: ByteLog, on_block: Callable[[], object], *, again: bool = False
) -> None:
    """Copy a file and hash it meanwhile; raise an AlteredError if the hash differs from `sha256` twice."""
    digest, count = hashlib.sha256(), 0
    with source.open("rb") as reading, target.open("wb") as writing:
        if again and hasattr(os, "posix_fadvise"):  # read from the disk, not the page cache; not on macOS
            os.posix_fadvise(reading.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := reading.read(BLOCK_BYTES):
            digest.update(block)
            writing.write(block)
            count += len(block)
            progress.add(len(block))
            on_block()
            progress.update()
    sync(target)
    if digest.hexdigest() == sha256:
        return
    if again:
        raise altered(source, digest.hexdigest(), sha256)
    progress.add(-count)  # copy it again: the page cache, and not the file, may be damaged
    _copy_file(source, target, sha256, progress, on_block, again=True)
