"""Tally of a running sweep: counts of its trials, the progress of those under way, and the time left."""

import time
from dataclasses import dataclass, field

from ser_ray.sweep.nodes.heartbeat import Pace


@dataclass
class RunningTrial:
    """A trial under way."""

    label: str
    epochs: int  # at most
    epoch: int = 0
    epoch_s: float = 0.0  # of its last epoch
    best: float | None = None  # devel CCC so far
    searching: bool = False

    @property
    def seconds_left(self) -> float:
        """Upper limit of its seconds left: its epochs take as long as its last, since it keeps its share of a GPU."""
        return 0.0 if self.searching else self.epoch_s * max(0, self.epochs - self.epoch)


@dataclass
class Tally:
    """Counts of a sweep's trials and of the epochs that this run trains."""

    planned: int
    done: int = 0
    stopped: int = 0
    failed: int = 0
    running: dict[str, RunningTrial] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)  # of each configuration's finished trials
    epochs_to_do: int = 0
    epochs_done: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> int:
        """Number of trials that are finished, stopped or failed."""
        return self.done + self.stopped + self.failed

    @property
    def waiting(self) -> int:
        """Number of trials that have not started."""
        return self.planned - self.ended - len(self.running)

    @property
    def best(self) -> str | None:
        """The best configuration so far by its mean over seeds, or the best epoch while no trial is done."""
        if self.scores:
            name, seeds = max(self.scores.items(), key=lambda scored: sum(scored[1]) / len(scored[1]))
            return f"{sum(seeds) / len(seeds):.3f} (n {len(seeds)}) {name}"
        begun = [(trial.best, key) for key, trial in self.running.items() if trial.best is not None]
        return "{:.3f} {} (not done)".format(*max(begun)) if begun else None

    def seconds_left(self) -> float | None:
        """Estimate the seconds left from the epochs done so far; None before the first.

        Epochs of all trials together are done at a pace of elapsed / epochs done. The remaining ones would end at that
        pace if all devices stayed busy. In the end they do not: no run ends before the trial with the most to do, which
        on a share of a GPU keeps the pace of that share.
        """
        if not self.epochs_done:
            return None
        elapsed = time.monotonic() - self.began
        together = elapsed / self.epochs_done * max(0, self.epochs_to_do - self.epochs_done)
        return max(together, *(trial.seconds_left for trial in list(self.running.values())), 0.0)

    def pace(self) -> Pace:
        """Return the sweep's progress and remaining time."""
        return Pace(
            planned=self.planned,
            standing=self.ended,
            epochs_to_do=max(0, self.epochs_to_do - self.epochs_done),
            epochs_done=self.epochs_done,
            seconds_left=self.seconds_left(),
        )

    def start(self, key: str, label: str, epochs: int) -> RunningTrial:
        """Count a trial as running; one that was running already lost its process, and goes on from its checkpoint."""
        return self.running.setdefault(key, RunningTrial(label, epochs))

    def epoch(self, key: str, epoch: int, seconds: float, score: float) -> RunningTrial | None:
        """Count an epoch, and return its trial; None if the trial has ended."""
        running = self.running.get(key)
        if running is None:
            return None
        if running.epoch:
            self.epochs_done += max(0, epoch - running.epoch)
        else:
            self.epochs_to_do -= epoch - 1  # those before were trained in an earlier run
            self.epochs_done += 1
        running.epoch, running.epoch_s = epoch, seconds
        running.best = score if running.best is None else max(running.best, score)
        return running

    def search(self, key: str, label: str, epochs: int) -> None:
        """Count a trial as trained, and its search as in progress."""
        running = self.start(key, label, epochs)
        self._drop_epochs(running)  # patience may have ended it before its last
        running.searching = True

    def finish(self, key: str, label: str, score: float | None) -> None:
        """Count a trial as finished, with its devel CCC."""
        self.running.pop(key, None)
        self.done += 1
        if score is not None:
            # a label ends with the seed; the text before it names the configuration
            self.scores.setdefault(label.rpartition(", seed ")[0] or label, []).append(score)

    def stop(self, key: str) -> None:
        """Count a trial as stopped by the scheduler."""
        self._drop_epochs(self.running.pop(key, None))
        self.stopped += 1

    def fail(self, key: str) -> None:
        """Count a trial as failed."""
        self._drop_epochs(self.running.pop(key, None))
        self.failed += 1

    def _drop_epochs(self, running: RunningTrial | None) -> None:
        """Subtract the epochs that a trial will not train from those to do; a searched one's are subtracted already."""
        if running is not None and not running.searching:
            self.epochs_to_do -= max(0, running.epochs - running.epoch)
