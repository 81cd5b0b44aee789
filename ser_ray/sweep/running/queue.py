"""Queue of the trials to train: those that the plan holds, then what a guided search proposes."""

import threading
from collections import deque
from collections.abc import Callable, Iterable

from ser_ray.sweep.planning.guided import Guided
from ser_ray.trial import Trial


class TrialQueue:
    """The trials of a run, one after the other: those that are known, in their order, then what `guided` proposes.

    No more is proposed than the `slots` in which trials run at once can take, since later proposals know more.
    `on_proposed` is called with each proposed trial before it is handed out.

    Attributes:
        given: the trials that were handed out, by key.
    """

    def __init__(
        self,
        trials: Iterable[Trial],
        guided: Guided | None = None,
        slots: int = 1,
        on_proposed: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        self._waiting = deque(trials)
        self._guided, self.slots, self._on_proposed = guided, slots, on_proposed
        self._lock = threading.Lock()
        self.given: dict[str, Trial] = {}
        self._live: set[str] = set()

    @property
    def exhausted(self) -> bool:
        """Whether no further trial will come."""
        return not self._waiting and (self._guided is None or not self._guided.remaining)

    @property
    def waiting(self) -> int:
        """How many trials are still to be handed out, as far as that is known."""
        return len(self._waiting) + (0 if self._guided is None else self._guided.remaining)

    def again(self, key: str) -> None:
        """Hand out a trial that was handed out before once more, ahead of those that wait."""
        with self._lock:
            self._waiting.appendleft(self.given[key])

    def next(self) -> Trial | None:
        """Return the next trial, or None if there is none now."""
        with self._lock:
            if not self._waiting and self._guided is not None and len(self._live) < self.slots:
                for trial in self._guided.ask():
                    self._on_proposed(trial)
                    self._waiting.append(trial)
            if not self._waiting:
                return None
            trial = self._waiting.popleft()
            self.given[trial.key] = trial
            self._live.add(trial.key)
            return trial

    def ended(self, key: str, status: str, score: float | None) -> None:
        """Record how a trial ended: "finished", "stopped" or "failed", with its best mean devel CCC."""
        with self._lock:
            self._live.discard(key)
            if self._guided is not None:
                self._guided.tell(key, status, score)
