"""Find the pending work of a sweep, planned as the sweep command plans it, without running anything."""

import argparse
import os
from dataclasses import dataclass
from datetime import UTC, datetime

from ser_ray.errors import InputError
from ser_ray.results import SweepFolder
from ser_ray.results.drivers import read_drivers
from ser_ray.sweep.planning.listing import describe_plan
from ser_ray.sweep.planning.measured import sweeps_beside
from ser_ray.sweep.planning.prepare import prepare, read_config
from ser_ray.sweep.planning.reuse import reusable
from ser_ray.sweep.planning.states import read_states
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.trial import Trial


@dataclass(frozen=True)
class Pending:
    """A sweep and its pending work."""

    config: SweepConfig
    folder: SweepFolder
    trials: tuple[Trial, ...]  # all that are planned, in order
    to_train: frozenset[str]  # keys of the trials to be trained
    open: int  # number of trials to be trained, searched or reused from another sweep
    failed: int  # number of failed trials that are not run again
    to_propose: int  # number of trials that a guided search will still propose, at most
    measured: tuple[SweepFolder, ...]  # sweeps whose trials give the speed of devices
    text: str  # the plan in a few lines


def read_pending(options: argparse.Namespace) -> Pending:
    """Plan a sweep from options of the sweep command and return its pending work.

    Raises InputError for everything that the sweep's job would refuse.
    """
    config, shrunk = read_config(options)
    _check_writable(SweepFolder(options.results / config.name))
    plan = prepare(options, config, keep=False)
    described = describe_plan(plan, options.results / config.name)
    folder, trials = plan.folder, plan.trials
    states = read_states(folder, trials)
    again = set(states.failed) if options.retry_failed else set()
    to_train = {trial.key for trial in states.to_train} | again
    return Pending(
        config=config,
        folder=SweepFolder(options.results / config.name),
        trials=trials,
        to_train=frozenset(to_train - set(reusable(folder, trials, plan.source_sweeps))),
        open=len(to_train) + len(states.to_search),
        failed=len(states.failed) - len(again),
        to_propose=plan.to_propose,
        measured=(*sweeps_beside(folder), *plan.source_sweeps),
        text="\n".join([*filter(None, [shrunk, described]), *_drivers(folder)]),
    )


def _check_writable(folder: SweepFolder) -> None:
    existing = next(path for path in (folder.path.absolute(), *folder.path.absolute().parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise InputError(
            f"results cannot be written to {folder.path}: you have no permission to write to {existing}; choose "
            "another folder with --results DIR"
        )


def _drivers(folder: SweepFolder) -> list[str]:
    """Describe each process that is running the sweep now, a line each."""
    running = [driver for driver in read_drivers(folder) if driver.alive(datetime.now(UTC))]
    return [
        f"running: {f'job {driver.job_id}' if driver.job_id else f'process {driver.pid}'} on {driver.host} is running "
        "this sweep; a second job is refused while it runs, unless both belong to one array"
        for driver in running
    ]
