"""Queue of the trials to train: the planned ones, then those that a guided search proposes."""

import threading
from collections import deque
from collections.abc import Callable, Iterable

from ser_ray.sweep.planning.guided import Guided
from ser_ray.trial import Trial


class TrialQueue:
    """Hands out the trials of a run one by one: the known ones in their order, then those that `guided` proposes.

    No more trials are proposed than run at once, in `slots`, since later proposals are based on more results.
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
    def waiting(self) -> int:
        """Number of trials still to be handed out, as far as that is known."""
        return len(self._waiting) + (0 if self._guided is None else self._guided.remaining)

    def again(self, key: str) -> None:
        """Queue a trial that was handed out before once more, ahead of those that wait."""
        with self._lock:
            self._waiting.appendleft(self.given[key])

    def next(self) -> Trial | None:
        """Hand out the next trial; None if there is none now."""
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
