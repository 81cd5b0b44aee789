"""A run's corpus is compared with its hashes: by the driver beside Ray's start, by each trial where it runs."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Self

from ser_ray.corpus.store.verifying import verified_shards, verify_shards

if TYPE_CHECKING:
    from ser_ray.corpus import Corpus

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

        verify_corpus(corpus, look, self._say)


def verify_corpus(corpus: "Corpus", look: Callable[[], None], say: Callable[[str], None] = print) -> None:
    """Compare a corpus, which may be a copy, with its hashes, unless this host has done so before.

    Args:
        corpus: where it is read from.
        look: called again and again meanwhile; what it raises ends it.
        say: takes a line for the trial's log.

    Raises:
        AlteredError: naming the shard that is not what the manifest says.
    """
    verify_shards(corpus.path, corpus.manifest, verified_shards(corpus.path), look=look, say=say)
