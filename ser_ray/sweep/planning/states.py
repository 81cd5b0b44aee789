"""States of a plan's trials, read from the sweep's folder alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ser_ray.results import SweepFolder, read_table
from ser_ray.trial import Trial


@dataclass(frozen=True)
class TrialStates:
    """The trials of a plan by their states.

    Args:
        finished: keys of trials whose results are complete.
        stopped: keys of trials that the schedule ended early.
        failed: key -> reason.
        to_search: trials that are trained and not yet searched, or whose chains are missing.
        to_train: the others.
    """

    finished: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    to_search: tuple[Trial, ...] = ()
    to_train: tuple[Trial, ...] = ()

    @property
    def ended(self) -> int:
        """Number of trials that need nothing any more."""
        return len(self.finished) + len(self.stopped) + len(self.failed)

    @property
    def open(self) -> int:
        """Number of trials to be trained or searched."""
        return len(self.to_search) + len(self.to_train)


def read_states(folder: SweepFolder, trials: Sequence[Trial]) -> TrialStates:
    """Read the states of trials in a sweep's folder, which need not exist yet.

    Raises:
        InputError: if a part cannot be read.
    """
    columns = ["key", "status", "error"]
    rows = read_table(folder, "trials", keys=[trial.key for trial in trials], columns=columns).to_pylist()
    status = {row["key"]: row["status"] for row in rows}
    trained = folder.keys("predictions")
    unchained = {key for key, value in status.items() if value == "finished" and key in trained}
    unchained -= folder.keys("postprocessing")
    open_trials = [trial for trial in trials if trial.key not in status or trial.key in unchained]
    return TrialStates(
        finished=frozenset(key for key, value in status.items() if value == "finished") - unchained,
        stopped=frozenset(key for key, value in status.items() if value == "stopped"),
        failed={row["key"]: row["error"] for row in rows if row["status"] == "failed"},
        to_search=tuple(trial for trial in open_trials if trial.key in trained),
        to_train=tuple(trial for trial in open_trials if trial.key not in trained),
    )


def forget_failed(folder: SweepFolder, keys: Iterable[str]) -> None:
    """Remove the rows of failed trials, so that these are run again.

    Checkpoints are kept: a trial that failed for want of memory or disk goes on from its last epoch, and one that
    diverged would also diverge from the start.
    """
    for key in keys:
        folder.part("trials", key).unlink(missing_ok=True)
