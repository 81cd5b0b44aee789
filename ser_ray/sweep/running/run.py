"""Run a plan to its results: keep those that exist, train and search the missing ones."""

import contextlib
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ser_ray.errors import is_unwritable, names_place_in, results_unwritable, system_reason
from ser_ray.files import write_text
from ser_ray.plain_text import counted
from ser_ray.report.logs import last_lines
from ser_ray.results import SweepFolder, compact_tables
from ser_ray.sweep.nodes.heartbeat import Share, refuse_second_driver
from ser_ray.sweep.nodes.ray_folder import prepare_environment
from ser_ray.sweep.nodes.stop import MAKE_ROOM
from ser_ray.sweep.planning.plan import Plan
from ser_ray.sweep.planning.resolved import resolved_yaml
from ser_ray.sweep.planning.reuse import searched_with, take_over
from ser_ray.sweep.planning.states import TrialStates, forget_failed, read_states, repair
from ser_ray.sweep.running.options import RunOptions
from ser_ray.trial import Trial

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 75
LEFT_FOR_GOOD_S = 7 * 86400.0
"""Age in seconds at which temporary files belong to no driver any more, though other drivers run."""
SHOWN_LOGS, LOG_LINES = 3, 5
"""Number of failed trials whose logs are shown, and number of last lines of each."""


def run_sweep(plan: Plan, options: RunOptions) -> int:
    """Train and search the missing trials of a plan, and return the sweep's exit code.

    Returns:
        0 if every planned trial is finished or was stopped by the schedule, 1 if some failed, 75 if the run ended
        before the plan was done.

    Raises:
        InputError: if the results cannot be written, or another driver runs this sweep.
    """
    folder, trials = plan.folder, _own_trials(plan, options.share)
    refuse_second_driver(folder, print, options.share)
    _prepare_folder(plan, trials, options)
    states = read_states(folder, trials)
    if options.retry_failed and states.failed:
        forget_failed(folder, states.failed)
        states = read_states(folder, trials)
    if states.ended:
        print(f"{states.ended} of {counted(len(trials), 'trial')} have already ended in {folder.path}")
        _print_other_searches(folder, trials, states)
    proposed: Sequence[Trial] = ()
    if states.open or plan.to_propose:
        prepare_environment()
        from ser_ray.sweep.running.driver import Driver

        try:
            driver = Driver(plan, trials, states, options)
            proposed = driver.proposed
            with contextlib.suppress(KeyboardInterrupt):
                driver.run(lambda: _outcome(plan, [*trials, *proposed]))
        except OSError as error:
            if not (is_unwritable(error) and names_place_in(folder.path, error)):
                raise
            print(f"{MAKE_ROOM} ({system_reason(error)}: {error.filename})")
    with contextlib.suppress(KeyboardInterrupt):  # the run is over, and its outcome is still printed
        _tidy(folder, options.share)
    return _exit_code(plan, [*trials, *proposed])


def _own_trials(plan: Plan, share: Share) -> list[Trial]:
    own = share.keys(trial.key for trial in plan.trials)
    if not share.whole:
        print(f"share {share}: {len(own)} of {counted(len(plan.trials), 'trial')}")
    return [trial for trial in plan.trials if trial.key in own]


def _prepare_folder(plan: Plan, trials: Sequence[Trial], options: RunOptions) -> None:
    folder, corpus = plan.folder, plan.corpus
    head = [f"corpus: {corpus.name} in {corpus.path}", f"command: {options.command}"]
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        _remove_left(folder.tmp, LEFT_FOR_GOOD_S if options.share.of > 1 else 0.0)
        repair(folder, {trial.key for trial in trials}, print)
        # a write that is synced and renamed shows at once whether results can be written here
        write_text(folder.sweep_file, resolved_yaml(plan, head), temporary_dir=folder.tmp)
        plan.record()
        taken = take_over(folder, trials, plan.source_sweeps) if plan.source_sweeps else {}
    except OSError as error:
        raise results_unwritable(folder.path, error) from error
    for source, count in sorted(Counter(taken.values()).items()):
        print(f"{counted(count, 'trial')} reused from {source}")


def _remove_left(folder: Path, age_s: float) -> None:
    """Remove incomplete files of killed drivers; those younger than `age_s` may belong to a driver that runs."""
    for left in folder.iterdir() if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # another driver was quicker
            if age_s and time.time() - left.stat().st_mtime < age_s:
                continue
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


def _print_other_searches(folder: SweepFolder, trials: Sequence[Trial], states: TrialStates) -> None:
    """Print how many trials were searched otherwise than requested now: the search is not part of a trial's key."""
    searched = searched_with(folder, states.finished)
    requested = {trial.key: trial.config.search for trial in trials}
    others = sum(not config.covers(requested[key]) for key, config in searched.items())
    if others:
        print(
            f"{others} of them were searched with settings other than the present trial.search: ser-ray postprocess "
            f"{shlex.quote(str(folder.path))} searches them again"
        )


def _tidy(folder: SweepFolder, share: Share) -> None:
    """Bring the compacted tables up to date, and remove the temporary folder if it is empty."""
    with contextlib.suppress(OSError):  # on a full disk the parts are enough
        compact_tables(folder)
    if share.whole:  # else other drivers may be about to write there
        with contextlib.suppress(OSError):
            folder.tmp.rmdir()


def _outcome(plan: Plan, trials: Sequence[Trial]) -> str:
    """Return the outcome of the run, as in its heartbeat."""
    states = read_states(plan.folder, trials)
    if states.open or plan.to_propose:
        return "interrupted"
    return "failed" if states.failed else "done"


def _exit_code(plan: Plan, trials: Sequence[Trial]) -> int:
    states = read_states(plan.folder, trials)
    _show_failed(plan.folder, states.failed, len(trials))
    if left := states.open + plan.to_propose:
        planned = len(trials) + plan.to_propose
        print(f"{left} of {counted(planned, 'trial')} not finished: run the same command again to continue")
        return EXIT_INTERRUPTED
    return EXIT_FAILED if states.failed else EXIT_DONE


def _show_failed(folder: SweepFolder, failed: Mapping[str, str], trials: int) -> None:
    if not failed:
        return
    print(f"{len(failed)} of {counted(trials, 'trial')} failed (--retry-failed runs them again):")
    for number, (key, reason) in enumerate(sorted(failed.items())):
        log = folder.log(key)
        print(f"  {key}  {reason}  (log: {log})")
        for line in last_lines(log, LOG_LINES) if number < SHOWN_LOGS and log.exists() else ():
            print(f"      {line}")
