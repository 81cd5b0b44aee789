"""Training of trials on a cluster by Ray Tune: which trial runs where and when, and what is made of its end.

Tune schedules; the record of what was done are the files of the sweep's folder, never Tune's own state. So a sweep goes
on from those files alone, whatever version, host or order it is started with.
"""

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError, RayTaskError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from ser_ray.results import read_table
from ser_ray.sweep.nodes.cluster import present_cluster
from ser_ray.sweep.nodes.device_faults import FAULTS_IN_A_ROW, DeviceFault, DeviceFaults
from ser_ray.sweep.nodes.gpu_shares import GpuShares
from ser_ray.sweep.nodes.stop import MAKE_ROOM
from ser_ray.sweep.running.attempt import one_line, was_hung
from ser_ray.sweep.running.worker import ALTERED, FAULT, METRIC, PLACE, TROUBLE, train_one
from ser_ray.trial import Trial, write_unfinished
from ser_ray.trial.place import Place

if TYPE_CHECKING:
    # workers import this file too, and should not wait for what they have no use for
    from ser_ray.sweep.nodes.stop import Ending
    from ser_ray.sweep.nodes.trial_resources import TrialResources
    from ser_ray.sweep.running.events import TrialEvents
    from ser_ray.sweep.running.options import WorkerOptions
    from ser_ray.sweep.running.queue import TrialQueue
    from ser_ray.sweep.spec.config import Schedule

NODES_S = 5.0
"""How often is looked which nodes there are."""
CRASHES_ALLOWED = 2
"""How often a trial whose process was lost is started again, from its last checkpoint."""


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """How trials are trained.

    Args:
        schedule: early stopping.
        most_epochs: that any trial has.
        resources: of each trial: its cores, and the least share of a GPU.
        worker: what each worker is told.
        folder: for Tune's own files.
    """

    schedule: "Schedule"
    most_epochs: int
    resources: "TrialResources"
    worker: "WorkerOptions"
    folder: Path


class _Scheduling:
    """What is known of the trials that Tune runs, shared by what Tune calls."""

    def __init__(self, queue: "TrialQueue", events: "TrialEvents", stop: "Ending", resources: "TrialResources") -> None:
        self.queue, self.events, self.stop = queue, events, stop
        self.running: set[str] = set()
        self.stopped: set[str] = set()
        self.faults = DeviceFaults()
        on_gpu = resources.gpus > 0
        self.shares = GpuShares(present_cluster().nodes, resources.cpus, resources.gpus) if on_gpu else None


def train_trials(queue: "TrialQueue", events: "TrialEvents", stop: "Ending", options: TuneOptions) -> None:
    """Train trials on the cluster that this process is connected to, and return when all have come to an end.

    Not in the main thread, where Tune would take signals for itself.

    Args:
        queue: gives the trials, in the order wanted.
        events: told what happens.
        stop: asked whether trials are to start at all, and whether to leave at once.
        options: how.
    """
    # as many actors start side by side as there is room for; by itself Tune would start one after the other
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(1, queue.slots))
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it would say of failures is in our tables
    cpus, on_gpu = options.resources.cpus, options.resources.gpus > 0
    scheduling = _Scheduling(queue, events, stop, options.resources)
    trainable = tune.with_parameters(_train_one, options=options.worker)

    def resources(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": cpus, "GPU": config["gpus"]}])

    tuner = tune.Tuner(
        tune.with_resources(trainable, resources if on_gpu else {"cpu": cpus}),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            search_alg=_Given(scheduling),
            num_samples=-1,
            scheduler=_scheduler(options.schedule, options.most_epochs, scheduling),
            # On a GPU each trial gets a process of its own, so that it starts with clean memory.
            reuse_actors=not on_gpu,
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(options.folder),
            verbose=0,
            stop=_Leave(scheduling),
            callbacks=[_Reporter(scheduling, verify_corpus=options.worker.verify_corpus), _Silent()],
            failure_config=tune.FailureConfig(max_failures=CRASHES_ALLOWED),
        ),
    )
    tuner.fit()


def _name_of(trial: TuneTrial) -> str:
    return str(trial.config["trial"].key)


class _Unsaved:
    """What Tune saves with its own state, which we never go back to."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


class _Given(_Unsaved, Searcher):
    """Hands Tune our trials one by one."""

    def __init__(self, scheduling: _Scheduling) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._queue, self._stop = scheduling.queue, scheduling.stop
        self._shares, self._faults = scheduling.shares, scheduling.faults
        self._looked_at = time.monotonic()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        held = 0 if self._shares is None else self._shares.held
        if self._stop.wanted or (self._queue.exhausted and not held):
            return Searcher.FINISHED  # type: ignore[return-value]
        gpus = self._share(trial_id)
        if gpus is None:
            return None
        given = self._next(gpus)
        if self._shares is not None and not isinstance(given, dict):
            self._shares.release(trial_id)
        return given

    def _share(self, trial_id: str) -> float | None:
        """Return the share of a GPU for the next trial, 0 without GPUs; None if there is none now."""
        if self._shares is None:
            return 0.0
        if self._queue.exhausted:
            return None  # one that runs may come back
        if time.monotonic() - self._looked_at > NODES_S:
            self._looked_at = time.monotonic()
            self._shares.update(present_cluster().nodes)
        return self._shares.take(trial_id, max(1, self._queue.waiting))

    def _next(self, gpus: float) -> dict[str, Any] | None:
        try:
            trial = self._queue.next()
        except OSError as error:  # a proposal that cannot be recorded counts as not made
            self._stop.ask(f"{MAKE_ROOM} ({error.strerror or error}: {error.filename})")
            return Searcher.FINISHED  # type: ignore[return-value]
        if trial is None:
            return None
        return {"trial": trial, "gpus": gpus, "avoid": self._faults.met_by(trial.key)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the driver tells the supply, when a trial's row is written."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: we never go back to Tune's state."""

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a sweep goes on from its own files")


class _Leave(_Unsaved, Stopper):
    """Ends everything when nothing is to be waited for: at once, or once no trial has anything to save."""

    def __init__(self, scheduling: _Scheduling) -> None:
        self._stop, self._running = scheduling.stop, scheduling.running

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stop.now or (self._stop.wanted and not self._running)


def _scheduler(schedule: "Schedule", most_epochs: int, scheduling: _Scheduling) -> TrialScheduler:
    """Return Tune's scheduler, made to note the trials that it stops."""
    grace = min(schedule.grace_epochs, most_epochs)
    if schedule.early_stopping == "asha":
        # one past the last epoch: at max_t Tune ends a trial, which then could not write its predictions
        asha = ASHAScheduler(time_attr="epoch", max_t=most_epochs + 1, grace_period=grace)
        return _noting(asha, scheduling)
    if schedule.early_stopping == "median":
        return _noting(MedianStoppingRule(time_attr="epoch", grace_period=grace), scheduling)
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def _noting(scheduler: TrialScheduler, scheduling: _Scheduling) -> TrialScheduler:
    """Let a scheduler note the keys of trials that it stops, since Tune does not tell why a trial ended.

    A trial that has trained all its epochs is not stopped any more: only its predictions are still to be written.
    """
    decide, trials = scheduler.on_trial_result, scheduling.queue.given

    def decide_and_note(controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        if not result.keys().isdisjoint((PLACE, TROUBLE, FAULT, ALTERED)):
            return TrialScheduler.CONTINUE
        decision = str(decide(controller, trial, result))
        key = _name_of(trial)
        if decision == TrialScheduler.STOP and result["epoch"] >= trials[key].config.training.epochs:
            return TrialScheduler.CONTINUE
        if decision == TrialScheduler.STOP:
            scheduling.stopped.add(key)
        return decision

    scheduler.on_trial_result = decide_and_note  # type: ignore[method-assign, assignment]
    return scheduler


def _train_one(config: Mapping[str, Any], options: "WorkerOptions") -> None:
    train_one(config, options, tune.report)


def _reason(trial: Trial) -> str:
    (row,) = read_table(trial.folder, "trials", keys=[trial.key], columns=["error"]).to_pylist()
    return str(row["error"])


def _reason_of_loss(trial: Trial, error: BaseException | None) -> str:
    """Return why Tune gave a trial up, in one line: what it raised before its own care began, or a lost process."""
    times = f"{CRASHES_ALLOWED + 1} times"
    if isinstance(error, RayTaskError) and error.cause is not None:
        return f"{one_line(error.cause)} ({times})"
    if was_hung(trial.folder.log(trial.key)):
        return f"it gave no sign of life for schedule.silence_minutes ({times}; its log shows where it stood)"
    training = trial.config.training
    batch = f"its batches are {training.batch_size} x {training.sequence_s:g} s"
    if isinstance(error, OutOfMemoryError):
        return f"its node ran out of memory and Ray ended its process ({times}; {batch}: make them smaller)"
    return f"its process was lost ({times}; killed, or out of memory? {batch})"


class _Reporter(_Unsaved, tune.Callback):
    """Turns Tune's callbacks into ours."""

    def __init__(self, scheduling: _Scheduling, *, verify_corpus: bool) -> None:
        self._queue, self._trials, self._events = scheduling.queue, scheduling.queue.given, scheduling.events
        self._running, self._stopped, self._stop = scheduling.running, scheduling.stopped, scheduling.stop
        self._shares, self._faults = scheduling.shares, scheduling.faults
        self._verify_corpus = verify_corpus
        self._faulted: dict[str, DeviceFault] = {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        actor: Any = trial.temporary_state.ray_actor
        self._running.add(_name_of(trial))
        self._events.started(_name_of(trial), lambda: ray.kill(actor))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        if PLACE in result:
            self._events.placed(_name_of(trial), Place(**result[PLACE]))
        elif TROUBLE in result:
            self._events.unwritable(_name_of(trial), result[TROUBLE])
        elif FAULT in result:
            self._faulted[_name_of(trial)] = DeviceFault(**result[FAULT])
        elif ALTERED in result:
            self._events.altered(_name_of(trial), result[ALTERED])
        else:
            self._faults.worked()
            self._events.epoch(_name_of(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        key = _name_of(trial)
        self._ended(trial)
        ours = self._trials[key]
        fault = self._faulted.pop(key, None)
        if fault is not None:
            self._after_fault(ours, fault)
        elif ours.folder.part("predictions", key).exists():
            self._events.trained(key)
        elif ours.folder.part("trials", key).exists():
            self._events.failed(key, _reason(ours))
        elif key in self._stopped:
            # it has ended an epoch, which it did not begin before the corpus was verified
            place = dataclasses.replace(self._events.place(key), corpus_verified=self._verify_corpus)
            self._write(ours, "stopped", None, lambda: self._events.stopped(key), place)
        else:  # the run is ending: the trial goes on from its checkpoint when the sweep is run again
            self._events.left(key)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        key = _name_of(trial)
        self._ended(trial)
        ours = self._trials[key]
        reason = _reason_of_loss(ours, trial.get_pickled_error())
        self._write(ours, "failed", reason, lambda: self._events.failed(key, reason))

    def _ended(self, trial: TuneTrial) -> None:
        self._running.discard(_name_of(trial))
        if self._shares is not None:
            self._shares.release(trial.trial_id)

    def _after_fault(self, trial: Trial, fault: DeviceFault) -> None:
        """See to it that a trial goes on elsewhere whose GPU was at fault, or fails if it is the cause."""
        key = trial.key
        self._faults.add(key, fault)
        self._events.faulted(key, fault)
        if fault.set_aside is not None and self._shares is not None:
            self._shares.set_aside()
            if not self._shares.gpus:
                self._stop.ask("no GPU is left that works: look at them with ser-ray doctor")
        if self._faults.is_cause(key):
            places = self._faults.met_by(key)
            reason = f"its GPU was at fault {len(places)} times ({', '.join(places)}): {fault.said}"
            self._write(trial, "failed", reason, lambda: self._events.failed(key, reason))
        elif self._stop.wanted:
            self._events.left(key)
        else:
            self._queue.again(key)
        if self._faults.too_many:
            self._stop.ask(f"{FAULTS_IN_A_ROW} faults of GPUs in a row, the last on {fault.place}: {fault.said}")

    def _write(
        self, trial: Trial, status: str, reason: str | None, then: Callable[[], None], place: Place | None = None
    ) -> None:
        try:
            write_unfinished(trial, status, reason, place or self._events.place(trial.key))
        except OSError as error:  # the trial stays open, and its row is written when it ends so again
            self._events.unwritable(trial.key, f"{error.strerror or error} ({trial.folder.path})")
            self._events.left(trial.key)
        else:
            then()


class _Silent(TrialProgressCallback):
    """Takes the place of what Tune would add by itself, which prints a line for each trial without a report."""

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Print nothing."""

    def log_result(self, trial: TuneTrial, result: dict[str, Any], error: bool = False) -> None:
        """Print nothing."""
