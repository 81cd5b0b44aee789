"""Training of trials on a cluster by Ray Tune: which trial runs where and when, and what is made of its end.

Tune schedules; the record of what was done are the files of the sweep's folder, never Tune's own state. So a sweep goes
on from those files alone, whatever version, host or order it is started with.
"""

import contextlib
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from ser_ray.errors import InputError
from ser_ray.results import read_table
from ser_ray.sweep.config import Backend, Schedule
from ser_ray.trial import Trial, train_trial, write_unfinished

METRIC = "ccc_devel_mean"
CRASHES_ALLOWED = 2
"""How often a trial whose process was lost is started again, from its last checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """What the driver is told while trials train; each is called with the trial's key.

    Args:
        started: a trial has its resources.
        epoch: a trial ended an epoch; with its figures.
        trained: a trial's predictions are written.
        stopped: the scheduler ended a trial early.
        failed: a trial failed; with the reason in one line.
    """

    started: Callable[[str], None]
    epoch: Callable[[str, Mapping[str, Any]], None]
    trained: Callable[[str], None]
    stopped: Callable[[str], None]
    failed: Callable[[str, str], None]


def train_trials(
    trials: Sequence[Trial],
    schedule: Schedule,
    resources: Mapping[str, float],
    events: Events,
    scratch: Path,
    backend: Backend = "auto",
) -> None:
    """Train trials on the cluster that this process is connected to, and return when all have come to an end.

    Args:
        trials: what to train, in the order wanted.
        schedule: early stopping and the time budget.
        resources: "cpu" and "gpu" of one trial, fractions allowed.
        events: told what happens.
        scratch: folder for Tune's own files.
        backend: what computes the convolutional blocks.
    """
    by_key = {trial.key: trial for trial in trials}
    stopped: set[str] = set()
    on_gpu = bool(resources.get("gpu"))
    train_one = tune.with_parameters(_train_one, trials=by_key, on_gpu=on_gpu, backend=backend)
    trainable = tune.with_resources(train_one, dict(resources))
    tuner = tune.Tuner(
        trainable,
        param_space={"key": tune.grid_search(list(by_key))},
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            scheduler=_scheduler(schedule, {t.key: t.config.training.epochs for t in trials}, stopped),
            time_budget_s=None if schedule.max_hours is None else 3600 * schedule.max_hours,
            # On a GPU each trial gets a process of its own, so that it starts with clean memory.
            reuse_actors=not on_gpu,
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[_Reporter(by_key, events, stopped)],
            failure_config=tune.FailureConfig(max_failures=CRASHES_ALLOWED),
        ),
    )
    tuner.fit()


def _name_of(trial: TuneTrial) -> str:
    return str(trial.config["key"])


def _scheduler(schedule: Schedule, epochs: Mapping[str, int], stopped: set[str]) -> TrialScheduler:
    """Return Tune's scheduler, made to note the trials that it stops."""
    most = max(epochs.values())
    grace = min(schedule.grace_epochs, most)
    if schedule.early_stopping == "asha":
        # one past the last epoch: at max_t Tune ends a trial, which then could not write its predictions
        return _noting(ASHAScheduler(time_attr="epoch", max_t=most + 1, grace_period=grace), epochs, stopped)
    if schedule.early_stopping == "median":
        return _noting(MedianStoppingRule(time_attr="epoch", grace_period=grace), epochs, stopped)
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def _noting(scheduler: TrialScheduler, epochs: Mapping[str, int], stopped: set[str]) -> TrialScheduler:
    """Let a scheduler note the keys of trials that it stops, since Tune does not tell why a trial ended.

    A trial that has trained all its epochs is not stopped any more: only its predictions are still to be written.
    """
    decide = scheduler.on_trial_result

    def decide_and_note(controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        decision = str(decide(controller, trial, result))
        key = _name_of(trial)
        if decision == TrialScheduler.STOP and result["epoch"] >= epochs[key]:
            return TrialScheduler.CONTINUE
        if decision == TrialScheduler.STOP:
            stopped.add(key)
        return decision

    scheduler.on_trial_result = decide_and_note  # type: ignore[method-assign, assignment]
    return scheduler


def _train_one(config: Mapping[str, Any], trials: Mapping[str, Trial], on_gpu: bool, backend: Backend) -> None:
    """Train one trial in the process that Tune gave it."""
    import torch

    trial = trials[config["key"]]
    # by what the trial was given, not by what is there: Ray leaves GPUs visible to processes that got none
    device = torch.device("cuda:0" if on_gpu else "cpu")

    def report(epoch: Any) -> None:
        pooled = epoch.devel.pooled
        tune.report(
            {
                "epoch": epoch.epoch,
                "train_loss": epoch.train_loss,
                METRIC: -1.0 if math.isnan(pooled["mean"]) else pooled["mean"],  # schedulers cannot compare NaN
                "seconds": epoch.train_seconds + epoch.evaluate_seconds,
                **{f"ccc_devel_{target}": value for target, value in pooled.items() if target != "mean"},
            }
        )

    with _logged(trial.folder.log(trial.key)):
        print(f"trial {trial.key} on {device}: {trial.config}", flush=True)
        # Whatever a trial raises ends that trial alone, with its reason in its row.
        try:
            train_trial(trial, device, report, backend=backend)
        except Exception as error:
            traceback.print_exc()
            write_unfinished(trial, "failed", one_line(error))


def one_line(error: BaseException) -> str:
    """Return an error as one line: its kind, unless it is one of ours that speaks for itself, and its message.

    Args:
        error: any exception.
    """
    message = " ".join(str(error).split())
    kind = type(error).__name__
    return message if isinstance(error, InputError) or kind == "TrainingDivergedError" else f"{kind}: {message}"


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send what the trial prints to its own log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(path, "a", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        yield


def _reason(trial: Trial) -> str:
    (row,) = read_table(trial.folder, "trials", keys=[trial.key], columns=["error"]).to_pylist()
    return str(row["error"])


def _reason_of_loss(error: BaseException | None) -> str:
    """Return why Tune gave a trial up, in one line: what it raised before its own care began, or a lost process."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        return f"{one_line(error.cause)} ({CRASHES_ALLOWED + 1} times)"
    return f"its process was lost {CRASHES_ALLOWED + 1} times (killed, or out of memory?)"


class _Reporter(tune.Callback):
    """Turns Tune's callbacks into our events."""

    def __init__(self, trials: Mapping[str, Trial], events: Events, stopped: set[str]):
        self._trials, self._events, self._stopped = trials, events, stopped

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune saves its callbacks with its own state, which we never go back to."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._events.started(_name_of(trial))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        self._events.epoch(_name_of(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        key = _name_of(trial)
        ours = self._trials[key]
        if ours.folder.part("predictions", key).exists():
            self._events.trained(key)
        elif ours.folder.part("trials", key).exists():
            self._events.failed(key, _reason(ours))
        elif key in self._stopped:
            write_unfinished(ours, "stopped", None)
            self._events.stopped(key)
        # otherwise the time budget ran out: the trial goes on from its checkpoint when the sweep is run again

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        key = _name_of(trial)
        reason = _reason_of_loss(trial.get_pickled_error())
        write_unfinished(self._trials[key], "failed", reason)
        self._events.failed(key, reason)
