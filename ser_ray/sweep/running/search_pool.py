"""A pool of Ray actors that search the post-processing of trained trials while further trials train.

The pool is fed with keys. An actor reads the trial's predictions from the sweep's folder and writes its result there,
so that a search done twice leaves the same files and a lost actor loses nothing. The predictions of a large devel
partition are read once and put into Ray's object store, where all actors of a node read them without a copy. The sums
over the grid are then computed in chunks, each a fold of recordings of one target. An actor has one call at a time, and
a trial is begun only when no chunk of an earlier one is waiting: so few trials are in progress, however many wait.
Actors reserve no CPU with Ray, since a node with one core must still be able to train.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray

from ser_ray.results import SweepFolder
from ser_ray.sweep.nodes.ray_folder import RayThread

if TYPE_CHECKING:
    from ser_ray.postprocess.config import SearchConfig
    from ser_ray.postprocess.sums import GridSums
    from ser_ray.trial.search import DevelSearch

POLL_S = 0.2
LEAVE_S = 2.0
NOTICED_S = 35.0
"""Seconds within which the loss of a cluster is noticed, also of one that does not answer."""
RETRIES = 3
"""How often a search is repeated whose actor was lost."""
LARGE_MEDIANS = 200_000_000
"""A search that takes more medians than this, some three seconds of one core, is split into chunks."""
LOST = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError, ray.exceptions.WorkerCrashedError)
"""Errors of a process or node that is gone, with nothing wrong with the trial itself."""

Chunks = list[tuple[int, int]]


class SearchLostError(RuntimeError):
    """Error of a search whose process was lost at every try."""


class SearchActor:
    """A process that searches trials, or chunks of those that take more medians than `large_medians`.

    `config` has the search settings, None for those requested when a trial was trained.
    """

    def __init__(self, folder: SweepFolder, config: "SearchConfig | None", large_medians: int) -> None:
        from ser_ray.postprocess.running_median import warm

        self._folder, self._config, self._large_medians = folder, config, large_medians
        warm()  # here, where no trial's search is timed

    def begin(self, key: str) -> tuple[Chunks | None, "DevelSearch | None"]:
        """Search a trial and write its row; for a large one return its chunks and the search that they are part of."""
        from ser_ray.trial import search_trial

        search = search_trial(self._folder, key, self._config, large_medians=self._large_medians)
        return None if search is None else search.chunks, search

    def sums(self, search: "DevelSearch", target: int, fold: int) -> tuple[None, "GridSums"]:
        """Compute the sums of one chunk."""
        return None, search.sums(target, fold)

    def finish(self, key: str, begin: float, *sums: "GridSums") -> None:
        """Choose a trial's chains from the sums of all its chunks and write its row."""
        from ser_ray.trial.search import finish_search, read_trained

        trained = read_trained(self._folder, key, self._config)
        finish_search(self._folder, trained, trained.devel_search(), sums, begin)


@dataclass(frozen=True)
class _Call:
    """A method of an actor with its arguments; it returns a small value, then objects for further calls."""

    method: str
    arguments: tuple[Any, ...]
    returns: int = 1


Steps = Generator[list[_Call], list[list[Any]], None]
"""Yields calls that may run side by side; is sent the results of each, all but the first as references."""


@dataclass(eq=False)
class _Job:
    """The search of one trial in progress."""

    key: str
    steps: Steps
    tries: int = 1
    returned: list[list[Any]] = field(default_factory=list)
    open_calls: int = 0
    over: bool = False


class SearchPool:
    """At most `actors` actors, and the thread of the driver that feeds them.

    `on_done` is called from that thread after each search, with its key and the error that ended it or None. For
    `config` and `large_medians` see `SearchActor`.
    """

    def __init__(
        self,
        folder: SweepFolder,
        actors: int,
        on_done: Callable[[str, Exception | None], None],
        *,
        config: "SearchConfig | None" = None,
        large_medians: int = LARGE_MEDIANS,
    ) -> None:
        self._on_done = on_done
        # Searches are arithmetic on the CPU: the actors must not wake a GPU that a trial is using.
        environment = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": environment},
            "num_cpus": 0,
            "scheduling_strategy": "SPREAD",  # actors that reserve no CPU would all go to one node
        }
        remote = ray.remote(SearchActor).options(**options).remote
        self._new_actor: Callable[[], Any] = lambda: remote(folder, config, large_medians)
        self._most = actors
        self._idle: list[Any] = []
        self._actors: list[Any] = []
        self._calls: deque[tuple[_Job, int, _Call]] = deque()
        self._running: dict[Any, tuple[_Job, int, Any, list[Any]]] = {}
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._closing, self._leaving = threading.Event(), threading.Event()
        self._raised: Exception | None = None
        self._thread = RayThread(self._feed, "search-pool")
        self._thread.start()

    def submit(self, key: str) -> None:
        """Queue a trained trial, whose predictions are in the sweep's folder, for its search."""
        self._waiting.put(key)

    def close(self, now: Callable[[], bool] = lambda: False) -> None:
        """Wait until all submitted trials are searched or `now()` is true, then end the actors.

        Raises:
            Exception: the first that `on_done` raised, if any.
        """
        self._closing.set()
        try:
            while not now() and not self._thread.wait(POLL_S):
                pass
        finally:  # also if a second signal interrupts the wait
            self._leaving.set()
            self._thread.wait(LEAVE_S)
            for actor in self._actors:
                ray.kill(actor)
        if self._raised is not None:
            raise self._raised
        self._raise_what_ended_feeding(now)

    def _raise_what_ended_feeding(self, now: Callable[[], bool]) -> None:
        """Raise the error that ended the feeding thread, unless Ray was lost, which is noticed some seconds later."""
        deadline = time.monotonic() + NOTICED_S
        while self._thread.failed and not now() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if not now():
            self._thread.raise_if_failed()

    def _feed(self) -> None:
        while self._running or self._calls or not self._waiting.empty() or not self._closing.is_set():
            if self._leaving.is_set():
                return
            self._start_calls()
            if not self._running:
                self._closing.wait(POLL_S)
                continue
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=POLL_S)
            for reference in ready:
                self._take(reference)

    def _start_calls(self) -> None:
        """Give idle actors the next calls; a new actor is started only when there is work for it."""
        while (self._calls or not self._waiting.empty()) and (self._idle or len(self._actors) < self._most):
            if not self._calls:
                key = self._waiting.get()
                self._go_on(_Job(key, self._steps(key)), None)
            if not self._idle:
                self._actors.append(self._new_actor())
                self._idle.append(self._actors[-1])
            job, place, call = self._calls.popleft()
            actor = self._idle.pop(0)
            method: Any = getattr(actor, call.method)
            returned = method.options(num_returns=call.returns).remote(*call.arguments)
            references = returned if call.returns > 1 else [returned]
            self._running[references[0]] = (job, place, actor, references[1:])

    def _steps(self, key: str) -> Steps:
        begin = time.time()
        ((chunks, search),) = yield [_Call("begin", (key,), returns=2)]
        if chunks is not None:
            sums = yield [_Call("sums", (search, *chunk), returns=2) for chunk in chunks]
            yield [_Call("finish", (key, begin, *(found for _, found in sums)))]

    def _take(self, reference: Any) -> None:
        job, place, actor, others = self._running.pop(reference)
        first, error = _result(reference)
        if isinstance(error, ray.exceptions.RayActorError):
            self._actors.remove(actor)
        else:
            self._idle.append(actor)
        if job.over:
            return
        if error is None:
            job.returned[place] = [first, *others]
            job.open_calls -= 1
            if not job.open_calls:
                self._go_on(job, job.returned)
            return
        job.over = True
        self._calls = deque(entry for entry in self._calls if entry[0] is not job)
        if _is_lost(error) and job.tries <= RETRIES:
            self._go_on(_Job(job.key, self._steps(job.key), job.tries + 1), None)
        else:
            self._report(job.key, _failure(error))

    def _go_on(self, job: _Job, returned: list[list[Any]] | None) -> None:
        """Queue the next calls of a trial ahead of those of any other, or report that its search is done."""
        try:
            calls = next(job.steps) if returned is None else job.steps.send(returned)
        except StopIteration:
            job.over = True
            self._report(job.key, None)
            return
        job.returned, job.open_calls = [[] for _ in calls], len(calls)
        self._calls.extendleft(reversed([(job, place, call) for place, call in enumerate(calls)]))

    def _report(self, key: str, error: Exception | None) -> None:
        try:
            self._on_done(key, error)
        except Exception as raised:  # kept for `close`: it must not end this thread and with it the other searches
            self._raised = self._raised or raised


def _result(reference: Any) -> tuple[Any, Exception | None]:
    """Return the first result of a call, or the error that ended it."""
    try:
        return ray.get(reference), None
    except ray.exceptions.RayError as error:
        return None, error


def _is_lost(error: Exception) -> bool:
    """Check whether a process or its objects are gone, also if these were arguments of the call."""
    return isinstance(error, LOST) or isinstance(getattr(error, "cause", None), LOST)


def _failure(error: Exception) -> Exception:
    """Convert the error of a search to its trial's failure: a lost process, or the exception raised in it."""
    if _is_lost(error):
        return SearchLostError(f"its process died {RETRIES + 1} times (killed, or out of memory?)")
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error
