"""A run's corpus is compared with its hashes: by the driver beside Ray's start, by each trial where it runs."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Self

from ser_ray.corpus.store.verifying import verified_shards, verify_shards

if TYPE_CHECKING:
    from ser_ray.corpus import Corpus
    from ser_ray.trial import Trial

LOOK_S = 0.2


class _StoppedError(Exception):
    """The run ends before the corpus is verified."""


class CorpusVerification:
    """Verifies a corpus on this host beside other work. A context manager: what is not done at its end is left.

    Args:
        corpus: which; None for nothing to do.
        say: takes a line for the user.
    """

    def __init__(self, corpus: "Corpus | None", say: Callable[[str], None]) -> None:
        self._say, self._stop = say, threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._verified = None if corpus is None else self._pool.submit(self._verify, corpus)

    def __enter__(self) -> Self:
        """Do nothing: it has begun."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Have it end after the block that it is hashing."""
        self._stop.set()
        self._pool.shutdown()

    def wait(self, leave: Callable[[], bool]) -> None:
        """Return when the corpus is verified.

        Args:
            leave: asked again and again whether not to wait any longer.

        Raises:
            InputError: if a shard is not what the manifest says, naming it.
        """
        if self._verified is None:
            return
        while not self._verified.done() and not leave():
            wait([self._verified], LOOK_S)
        if self._verified.done():
            self._verified.result()

    def _verify(self, corpus: "Corpus") -> None:
        def look() -> None:
            if self._stop.is_set():
                raise _StoppedError

        verify_shards(corpus.path, corpus.manifest, verified_shards(corpus.path), on_block=look, log=self._say)


def with_verified_corpus(
    trial: "Trial", wanted: bool, look: Callable[[], None], say: Callable[[str], None] = print
) -> "Trial":
    """Return a trial whose corpus is what its manifest says, on this host and where it is read from.

    Args:
        trial: any; its corpus may be a copy.
        wanted: False leaves the corpus unread, and the trial as it is.
        look: called again and again meanwhile; what it raises ends it.
        say: takes a line for the trial's log.

    Raises:
        AlteredError: naming the shard that is not.
    """
    if not wanted:
        return trial
    path = trial.corpus.path
    verify_shards(path, trial.corpus.manifest, verified_shards(path), on_block=look, log=say)
    return dataclasses.replace(trial, corpus_verified=True)
