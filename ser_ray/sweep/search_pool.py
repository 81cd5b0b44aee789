"""The pool of Ray actors that search the post-processing of trained trials while further trials train.

The pool is fed with keys; an actor reads the trial's predictions from the sweep's folder and writes its result there,
so that a search done twice leaves the same files and a lost actor loses nothing. Actors claim no CPU of Ray's count: a
search takes about a second, and a node of one core must still be able to train.
"""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from ser_ray.results import SweepFolder

POLL_S = 0.2
LEAVE_S = 2.0
RETRIES = 3
"""How often a search is done again whose actor was lost."""


class SearchLostError(RuntimeError):
    """A search whose process was lost each time that it was tried."""


class SearchActor:
    """A process that searches one trial after the other."""

    def search(self, folder: Path, key: str) -> None:
        """Search the post-processing of one trial and write its row."""
        from ser_ray.trial import search_trial

        search_trial(SweepFolder(folder), key)


class SearchPool:
    """Actors, and the thread of the driver that feeds them.

    Args:
        folder: the sweep's folder.
        actors: how many processes at most; each is started when there is work for it.
        on_done: called from the feeding thread after each search with its key, and the error that ended it or None.
    """

    def __init__(self, folder: SweepFolder, actors: int, on_done: Callable[[str, Exception | None], None]):
        self._folder, self._on_done = folder, on_done
        # Searches are arithmetic on the CPU: the actors must not wake a GPU that a trial is using.
        environment = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": environment},
            "num_cpus": 0,
            "max_restarts": -1,  # one that the system kills now and then in a long sweep must not end the pool
            "max_task_retries": RETRIES,
        }
        self._new_actor = ray.remote(SearchActor).options(**options).remote
        self._most = actors
        self._idle: list[Any] = []
        self._actors: list[Any] = []
        self._running: dict[Any, tuple[str, Any]] = {}
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._closing, self._leaving = threading.Event(), threading.Event()
        self._raised: Exception | None = None
        self._thread = threading.Thread(target=self._feed, name="search-pool", daemon=True)
        self._thread.start()

    def submit(self, key: str) -> None:
        """Queue a trained trial for its search.

        Args:
            key: its key; its predictions are in the sweep's folder.
        """
        self._waiting.put(key)

    def close(self, now: Callable[[], bool] = lambda: False) -> None:
        """Return when everything that was submitted is searched, and end the actors.

        Args:
            now: asked meanwhile; once it is true, what is not searched stays so.

        Raises:
            Exception: what `on_done` raised first, if it did.
        """
        self._closing.set()
        while self._thread.is_alive() and not now():
            self._thread.join(POLL_S)
        self._leaving.set()
        self._thread.join(LEAVE_S)
        for actor in self._actors:
            ray.kill(actor)
        if self._raised is not None:
            raise self._raised

    def _feed(self) -> None:
        while self._running or not self._waiting.empty() or not self._closing.is_set():
            if self._leaving.is_set():
                return
            self._start_searches()
            if not self._running:
                self._closing.wait(POLL_S)
                continue
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=POLL_S)
            for reference in ready:
                key, actor = self._running.pop(reference)
                self._idle.append(actor)
                self._tell(key, _error_of(reference))

    def _tell(self, key: str, error: Exception | None) -> None:
        try:
            self._on_done(key, error)
        except Exception as raised:  # kept for `close`: it must not end this thread and with it the other searches
            self._raised = self._raised or raised

    def _start_searches(self) -> None:
        while not self._waiting.empty() and (self._idle or len(self._actors) < self._most):
            if not self._idle:
                self._actors.append(self._new_actor())
                self._idle.append(self._actors[-1])
            key = self._waiting.get()
            actor = self._idle.pop(0)
            self._running[actor.search.remote(self._folder.path, key)] = (key, actor)


def _error_of(reference: Any) -> Exception | None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return cause if isinstance(cause, Exception) else error
    except ray.exceptions.RayActorError:
        return SearchLostError(f"its process was lost {RETRIES + 1} times (killed, or out of memory?)")
    except ray.exceptions.RayError as error:
        return error
    return None
