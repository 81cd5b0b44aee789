"""Train trials on a cluster by Ray Tune.

Tune only schedules. Progress is recorded in the files of the sweep's folder, never in Tune's own state. So a sweep goes
on from those files alone, whatever version, host or order it is started with.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError, RayTaskError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from ser_ray.sweep.nodes.cluster import present_cluster
from ser_ray.sweep.nodes.stop import StopRequest
from ser_ray.sweep.nodes.trial_resources import TrialResources
from ser_ray.sweep.running.events import TrialEvents
from ser_ray.sweep.running.queue import TrialQueue
from ser_ray.sweep.running.scheduling import Scheduling
from ser_ray.sweep.running.trainable import ALTERED, FAULT, METRIC, PLACE, UNWRITABLE, train_one
from ser_ray.sweep.running.worker import WorkerOptions, one_line, was_hung
from ser_ray.sweep.spec.config import Schedule
from ser_ray.trial import Trial

CRASHES_ALLOWED = 2
"""How often a trial whose process was lost is started again, from its last checkpoint."""


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Options of training by Tune."""

    schedule: Schedule
    most_epochs: int  # of any trial
    resources: TrialResources
    worker: WorkerOptions
    folder: Path  # for Tune's own files


def train_trials(queue: TrialQueue, events: TrialEvents, stop: StopRequest, options: TuneOptions) -> None:
    """Train trials on the connected cluster, and return when all have ended.

    Call it outside the main thread, where Tune would install its own signal handlers.
    """
    # start as many actors side by side as fit; by itself Tune would start one after the other
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(1, queue.slots))
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # its messages on failures are in our tables
    cpus, on_gpu = options.resources.cpus, options.resources.gpus > 0
    scheduling = Scheduling(
        queue,
        events,
        stop,
        options.resources,
        lambda: present_cluster().nodes,
        verify_corpus=options.worker.verify_corpus,
    )
    trainable = tune.with_parameters(train_one, options=options.worker, report=tune.report)

    def resources(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": cpus, "GPU": config["gpus"]}])

    tuner = tune.Tuner(
        tune.with_resources(trainable, resources if on_gpu else {"cpu": cpus}),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            search_alg=_QueueSearcher(scheduling),
            num_samples=-1,
            scheduler=_scheduler(options.schedule, options.most_epochs, scheduling),
            # On a GPU each trial gets a process of its own, so that it starts with clean memory.
            reuse_actors=not on_gpu,
            trial_name_creator=_key_of,
            trial_dirname_creator=_key_of,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(options.folder),
            verbose=0,
            stop=_RequestStopper(scheduling),
            callbacks=[_Reporter(scheduling), _Silent()],
            failure_config=tune.FailureConfig(max_failures=CRASHES_ALLOWED),
        ),
    )
    tuner.fit()


def _key_of(trial: TuneTrial) -> str:
    return str(trial.config["trial"].key)


class _OfRun:
    """Base of objects by which Tune schedules a run; it saves them with its own state, which is never restored."""

    def __init__(self, scheduling: Scheduling) -> None:
        self._scheduling = scheduling

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}


class _QueueSearcher(_OfRun, Searcher):
    """Hands Tune the queue's trials one by one."""

    def __init__(self, scheduling: Scheduling) -> None:
        Searcher.__init__(self, metric=METRIC, mode="max")
        _OfRun.__init__(self, scheduling)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._scheduling.exhausted:
            return Searcher.FINISHED  # type: ignore[return-value]
        assignment = self._scheduling.next(trial_id)
        if assignment is None and self._scheduling.stop.requested:
            return Searcher.FINISHED  # type: ignore[return-value]
        return assignment

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: events inform the queue when a trial's row is written."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: Tune's state is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a sweep goes on from its own files")


class _RequestStopper(_OfRun, Stopper):
    """Ends everything on a stop request: at once, or once no trial has anything to save."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        stop = self._scheduling.stop
        return stop.now or (stop.requested and not self._scheduling.running)


def _scheduler(schedule: Schedule, most_epochs: int, scheduling: Scheduling) -> TrialScheduler:
    """Create Tune's scheduler, which records the trials that it stops, since Tune gives no reason for a trial's end."""
    if schedule.early_stopping == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    grace = min(schedule.grace_epochs, most_epochs)
    scheduler: TrialScheduler
    if schedule.early_stopping == "asha":
        # one past the last epoch: at max_t Tune ends a trial, which then could not write its predictions
        scheduler = ASHAScheduler(time_attr="epoch", max_t=most_epochs + 1, grace_period=grace)
    else:
        scheduler = MedianStoppingRule(time_attr="epoch", grace_period=grace)
    scheduler.on_trial_result = _NotedDecision(scheduler.on_trial_result, scheduling)  # type: ignore[method-assign, assignment]
    return scheduler


class _NotedDecision(_OfRun):
    """Decides as a scheduler does whether a trial goes on, and records the keys of trials that it stops."""

    def __init__(self, decide: Callable[..., str], scheduling: Scheduling) -> None:
        super().__init__(scheduling)
        self._decide = decide

    def __call__(self, controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        if not result.keys().isdisjoint((PLACE, UNWRITABLE, FAULT, ALTERED)):
            return TrialScheduler.CONTINUE
        decision = str(self._decide(controller, trial, result))
        key = _key_of(trial)
        # once all epochs are trained, only the predictions are still to be written
        if decision == TrialScheduler.STOP and result["epoch"] >= trial.config["trial"].config.training.epochs:
            return TrialScheduler.CONTINUE
        if decision == TrialScheduler.STOP:
            self._scheduling.stopped.add(key)
        return decision


class _Reporter(_OfRun, tune.Callback):
    """Passes Tune's callbacks on."""

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        actor: Any = trial.temporary_state.ray_actor
        self._scheduling.started(_key_of(trial), lambda: ray.kill(actor))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        self._scheduling.reported(_key_of(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._scheduling.ended(_key_of(trial), trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        key = _key_of(trial)
        reason = _reason_of_loss(self._scheduling.queue.given[key], trial.get_pickled_error())
        self._scheduling.ended(key, trial.trial_id, lost=reason)


def _reason_of_loss(trial: Trial, error: BaseException | None) -> str:
    """Explain in one line why Tune gave a trial up: an error outside `run_trial`'s own care, or a lost process."""
    times = f"{CRASHES_ALLOWED + 1} times"
    if isinstance(error, RayTaskError) and error.cause is not None:
        return f"{one_line(error.cause)} ({times})"
    if was_hung(trial.folder.log(trial.key)):
        return f"it reported no progress for schedule.silence_minutes ({times}; its log has the stack of each thread)"
    training = trial.config.training
    batch = f"its batches are {training.batch_size} x {training.sequence_s:g} s"
    if isinstance(error, OutOfMemoryError):
        return f"its node ran out of memory and Ray killed its process ({times}; {batch}: use smaller ones)"
    return f"its process died ({times}; killed, or out of memory? {batch})"


class _Silent(TrialProgressCallback):
    """Replaces the callback that Tune would add by itself, which prints a line for each trial without a report."""

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Print nothing."""

    def log_result(self, trial: TuneTrial, result: dict[str, Any], error: bool = False) -> None:
        """Print nothing."""
