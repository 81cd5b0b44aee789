"""Which trial is trained next: those that the plan holds, then what a guided search proposes."""

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Iterable

from ser_ray.sweep.planning.guided import Guided
from ser_ray.sweep.planning.plan import PlannedTrial
from ser_ray.trial import Trial


class Supply:
    """The trials of a run, one after the other.

    Args:
        trials: those that are known and are to be trained, in order.
        template: a trial that those of a guided search are made like, but for key and configuration.
        guided: what proposes further ones, if anything does.
        slots: how many trials run at once; no more is proposed than can begin, since later proposals know more.
        on_proposed: told of each proposed trial before it is handed out.
    """

    def __init__(
        self,
        trials: Iterable[Trial],
        template: Trial | None = None,
        guided: Guided | None = None,
        slots: int = 1,
        on_proposed: Callable[[PlannedTrial], None] = lambda planned: None,
    ) -> None:
        self._waiting = deque(trials)
        self._template, self._guided, self.slots = template, guided, slots
        self._on_proposed = on_proposed
        self._lock = threading.Lock()
        self.given: dict[str, Trial] = {}
        self._live: set[str] = set()

    @property
    def exhausted(self) -> bool:
        """True when no further trial will come."""
        return not self._waiting and (self._guided is None or not self._guided.remaining)

    @property
    def waiting(self) -> int:
        """How many trials are still to be handed out, as far as that is known."""
        return len(self._waiting) + (0 if self._guided is None else self._guided.remaining)

    def again(self, key: str) -> None:
        """Hand out a trial once more, before those that wait.

        Args:
            key: of a trial that was handed out.
        """
        with self._lock:
            self._waiting.appendleft(self.given[key])

    def next(self) -> Trial | None:
        """Return the next trial, or None if there is none now."""
        with self._lock:
            if not self._waiting and self._guided is not None and len(self._live) < self.slots:
                self._propose(self._guided)
            if not self._waiting:
                return None
            trial = self._waiting.popleft()
            self.given[trial.key] = trial
            self._live.add(trial.key)
            return trial

    def ended(self, key: str, status: str, score: float | None) -> None:
        """Take note of how a trial ended.

        Args:
            key: the trial's.
            status: "finished", "stopped" or "failed".
            score: its best devel CCC, mean of the targets.
        """
        with self._lock:
            self._live.discard(key)
            if self._guided is not None:
                self._guided.tell(key, status, score)

    def _propose(self, guided: Guided) -> None:
        assert self._template is not None
        for planned in guided.ask():
            self._on_proposed(planned)
            self._waiting.append(dataclasses.replace(self._template, key=planned.key, config=planned.config))
