"""A sweep from its plan to its results: what stands is kept, what is missing is trained and searched."""

import contextlib
import shlex
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_ray.files import write_text
from ser_ray.report.logs import last_lines
from ser_ray.results import SweepFolder, compact_tables, write_planned
from ser_ray.sweep.nodes.environment import prepare_environment
from ser_ray.sweep.nodes.heartbeat import refuse_others
from ser_ray.sweep.nodes.rendezvous import Meeting
from ser_ray.sweep.nodes.share import WHOLE, Share
from ser_ray.sweep.nodes.stop import MAKE_ROOM
from ser_ray.sweep.planning.guided import Guided
from ser_ray.sweep.planning.repair import repair
from ser_ray.sweep.planning.reuse import searched_with, take_over
from ser_ray.sweep.planning.states import Standing, forget_failed, read_standing
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.trial import Trial
from ser_ray.unwritable import is_unwritable, names_place_in, results_unwritable

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 75
LEFT_FOR_GOOD_S = 7 * 86400.0
"""Parts under way that are so old are nobody's any more, though other drivers run."""
SHOWN_LOGS, LOG_LINES = 3, 5
"""Of how many failed trials the last lines are shown, and how many."""


@dataclass(frozen=True)
class SweepRun:
    """A sweep that is to be run.

    Args:
        config: the sweep.
        resolved: its file as run, resolved.
        folder: where its results go.
        trials: the plan's trials, those of the share.
        labels: key -> what distinguishes the trial in this sweep.
        template: a trial that those of a guided search are made like, but for key and configuration.
        guided: what proposes further trials, if anything does.
        to_propose: how many trials it will propose at most.
        donors: other sweeps, whose finished trials are taken over.
        tensorboard: whether files for TensorBoard are written.
        share: what of the plan is run here; other drivers may run the other shares at the same time.
        meeting: where the nodes of a job meet, if the sweep runs on several.
        planned: keys of the plan's trials, those of other shares too; None if `trials` are all of them.
    """

    config: SweepConfig
    resolved: str
    folder: SweepFolder
    trials: Sequence[Trial]
    labels: Mapping[str, str]
    template: Trial
    guided: Guided | None = None
    to_propose: int = 0
    donors: Sequence[SweepFolder] = ()
    tensorboard: bool = False
    share: Share = WHOLE
    meeting: Meeting | None = None
    planned: frozenset[str] | None = None

    def run(self, *, retry_failed: bool = False) -> int:
        """Train and search what is missing, and return the sweep's exit code.

        Args:
            retry_failed: run trials again that failed before.

        Returns:
            0 if every planned trial is finished or was stopped by the schedule, 1 if some failed, 75 if the run ended
            before the plan was done.

        Raises:
            InputError: if the results cannot be written, or another driver runs this sweep.
        """
        refuse_others(self.folder, print, self.share)
        self._prepare()
        self._take_over()
        standing = read_standing(self.folder, self.trials)
        if retry_failed and standing.failed:
            forget_failed(self.folder, standing.failed)
            standing = read_standing(self.folder, self.trials)
        done = len(standing.finished) + len(standing.stopped) + len(standing.failed)
        if done:
            print(f"{done} of {len(self.trials)} trials stand already in {self.folder.path}")
            self._tell_other_searches(standing)
        proposed: Sequence[Trial] = ()
        if standing.to_train or standing.to_search or self.to_propose:
            prepare_environment()
            from ser_ray.sweep.running.driver import Work

            try:
                work = Work(self, standing)
                proposed = work.proposed
                with contextlib.suppress(KeyboardInterrupt):
                    work.run(lambda: self._outcome([*self.trials, *proposed]))
            except OSError as error:
                if not (is_unwritable(error) and names_place_in(self.folder.path, error)):
                    raise
                print(f"{MAKE_ROOM} ({error.strerror}: {error.filename})")
        with contextlib.suppress(KeyboardInterrupt):  # the run is over, and what it came to is still said
            self._tidy()
        return self._exit_code([*self.trials, *proposed])

    def record_plan(self, proposed: Iterable[str] = ()) -> None:
        """Write which trials are planned, for whoever is to see the trials of this plan alone.

        Args:
            proposed: keys of what a guided search has proposed since the run began.

        Raises:
            OSError: if the disk is full or cannot be written.
        """
        planned = {trial.key for trial in self.trials} if self.planned is None else self.planned
        write_planned(self.folder, planned.union(proposed))

    def _tell_other_searches(self, standing: Standing) -> None:
        """Tell of trials whose search was not what the sweep asks for now: it is no part of a trial's key."""
        searched = searched_with(self.folder, standing.finished)
        wanted = {trial.key: trial.config.search for trial in self.trials}
        others = sum(not config.covers(wanted[key]) for key, config in searched.items())
        if others:
            print(
                f"{others} of them were searched with other settings than trial.search has now: "
                f"ser-ray postprocess {shlex.quote(str(self.folder.path))} searches them again"
            )

    def _take_over(self) -> None:
        try:
            taken = take_over(self.folder, self.trials, self.donors) if self.donors else {}
        except OSError as error:
            raise results_unwritable(self.folder.path, error) from error
        for donor in sorted(set(taken.values())):
            print(f"{sum(one == donor for one in taken.values())} trials are taken over from {donor}")

    def _prepare(self) -> None:
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            _remove_left(self.folder.tmp, LEFT_FOR_GOOD_S if self.share.of > 1 else 0.0)
            repair(self.folder, {trial.key for trial in self.trials}, print)
            # a write that is synced and renamed shows at once whether results can be kept here
            write_text(self.folder.sweep_file, self.resolved, temporary_dir=self.folder.tmp)
            self.record_plan()
        except OSError as error:
            raise results_unwritable(self.folder.path, error) from error

    def _tidy(self) -> None:
        """Bring the table in one file up to date, and leave no empty folder behind."""
        with contextlib.suppress(OSError):  # on a full disk the parts are enough
            compact_tables(self.folder)
        if self.share.whole:  # others may be about to write there
            with contextlib.suppress(OSError):
                self.folder.tmp.rmdir()

    def _outcome(self, trials: Sequence[Trial]) -> str:
        """Return how the run ended, as others read it."""
        standing = read_standing(self.folder, trials)
        if standing.to_train or standing.to_search or self._to_propose:
            return "interrupted"
        return "failed" if standing.failed else "done"

    @property
    def _to_propose(self) -> int:
        return 0 if self.guided is None else self.guided.remaining * self.config.replicates

    def _exit_code(self, trials: Sequence[Trial]) -> int:
        standing = read_standing(self.folder, trials)
        left = len(standing.to_train) + len(standing.to_search) + self._to_propose
        self._show_failed(standing.failed, len(trials))
        if left:
            all_trials = len(trials) + self._to_propose
            print(f"{left} of {all_trials} trials are open: run the same command again to go on with them")
            return EXIT_INTERRUPTED
        return EXIT_FAILED if standing.failed else EXIT_DONE

    def _show_failed(self, failed: Mapping[str, str], trials: int) -> None:
        if not failed:
            return
        print(f"{len(failed)} of {trials} trials failed (--retry-failed runs them again):")
        for number, (key, reason) in enumerate(sorted(failed.items())):
            log = self.folder.log(key)
            print(f"  {key}  {reason}  (log: {log})")
            for line in last_lines(log, LOG_LINES) if number < SHOWN_LOGS and log.exists() else ():
                print(f"      {line}")


def _remove_left(folder: Path, age_s: float) -> None:
    """Remove what killed drivers left in their folder of parts under way.

    Args:
        folder: that one; it need not exist.
        age_s: what is younger stays, since another driver may be writing it; 0 where no other runs.
    """
    for left in folder.iterdir() if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # another driver was quicker
            if age_s and time.time() - left.stat().st_mtime < age_s:
                continue
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
