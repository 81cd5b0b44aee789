"""The corpus on a trial's node: make a local copy where one is requested, and verify it against its manifest."""

import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ser_ray.corpus.store.local_copy import local_copy
from ser_ray.corpus.store.verifying import verified_shards, verify_shards

if TYPE_CHECKING:
    from ser_ray.corpus import Corpus

POLL_S = 0.2


def local_corpus(
    corpus: "Corpus", staging: str | None, check: Callable[[], None], log: Callable[[str], None] = print
) -> "Corpus":
    """Copy a corpus to this node's own disk if possible, and return the local copy; only speed depends on it.

    `staging` is the folder on each node, as in the sweep file: with ~ or the node's variables. `check` is called
    repeatedly meanwhile; an exception from it ends the copying.

    Raises:
        InputError: if the corpus was altered since it was imported.
    """
    if staging is None:
        return corpus
    path = corpus.path
    given = os.path.expanduser(os.path.expandvars(staging))
    unset = re.search(r"\$\{?(\w+)", given)
    if unset or not os.path.isabs(given):
        why = f"{unset[1]} is not set" if unset else f"that is {given}, not an absolute path,"
        log(f"resources.staging is {staging}, but {why} on this node: the corpus is read from {path}")
        return corpus
    folder = Path(given)
    if _device(folder) == _device(path):
        log(
            f"resources.staging is {folder}, on the same file system as the corpus: no local copy is made, the corpus "
            f"is read from {path}"
        )
        return corpus
    copy = local_copy(path, folder, log, check)
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


def verify_corpus(corpus: "Corpus", check: Callable[[], None], log: Callable[[str], None] = print) -> None:
    """Compare a corpus, which may be a local copy, with its hashes, unless this host has done so before.

    `check` is called repeatedly meanwhile; an exception from it ends the verification.

    Raises:
        AlteredError: naming the shard that does not match the manifest.
    """
    verify_shards(corpus.path, corpus.manifest, verified_shards(corpus.path), on_block=check, log=log)


class _StoppedError(Exception):
    """Raised if the run ends before the corpus is verified."""


class CorpusVerification:
    """Verification of a corpus, or of none, beside other work; the end of the context stops it, done or not."""

    def __init__(self, corpus: "Corpus | None", log: Callable[[str], None]) -> None:
        self._log, self._stop = log, threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._verified = None if corpus is None else self._pool.submit(self._verify, corpus)

    def __enter__(self) -> Self:
        """Return it; the verification has begun already."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End the verification after the block that it is hashing."""
        self._stop.set()
        self._pool.shutdown()

    def wait(self, leave: Callable[[], bool]) -> None:
        """Wait until the corpus is verified or `leave()` is true.

        Raises:
            AlteredError: naming the shard that does not match the manifest.
        """
        if self._verified is None:
            return
        while not self._verified.done() and not leave():
            wait([self._verified], POLL_S)
        if self._verified.done():
            self._verified.result()

    def _verify(self, corpus: "Corpus") -> None:
        def check() -> None:
            if self._stop.is_set():
                raise _StoppedError

        verify_corpus(corpus, check, self._log)
