"""Schedule a run's trials, without Ray: choose the next one and its share of a GPU, and record its end."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ser_ray.errors import system_reason
from ser_ray.results import read_table
from ser_ray.sweep.nodes.stop import MAKE_ROOM, StopRequest
from ser_ray.sweep.nodes.trial_resources import GpuShares, TrialResources
from ser_ray.sweep.running.events import TrialEvents
from ser_ray.sweep.running.queue import TrialQueue
from ser_ray.sweep.running.trainable import ALTERED, FAULT, PLACE, UNWRITABLE, Assignment
from ser_ray.sweep.running.worker import DeviceFault
from ser_ray.trial import Trial, write_unfinished
from ser_ray.trial.place import Place

NODES_S = 5.0
"""Interval at which the cluster is polled for its nodes."""
FAULTS_OF_A_TRIAL = 3
"""A trial that met this many GPU faults is taken for their cause, and fails."""
FAULTS_IN_A_ROW = 10
"""After this many, with no epoch of any trial between, something is wrong with the node or the driver: the run ends."""


class Scheduling:
    """Assigns the trials of a run to workers. A slot is what Tune calls a trial: it has a share of a GPU.

    Args:
        queue: of the trials to train.
        events: handles trials that start, end an epoch, or end.
        stop: request that ends the run before its plan is done.
        resources: of each trial: its cores, and the least share of a GPU.
        nodes: returns (CPU cores, GPUs) of each node of the cluster.
        verify_corpus: whether workers compare the corpus with its hashes before they train.

    Attributes:
        running: keys of the trials that have a worker.
        stopped: keys of the trials that the scheduler has stopped early.
    """

    def __init__(
        self,
        queue: TrialQueue,
        events: TrialEvents,
        stop: StopRequest,
        resources: TrialResources,
        nodes: Callable[[], Sequence[tuple[float, float]]],
        *,
        verify_corpus: bool,
    ) -> None:
        self.queue, self.events, self.stop = queue, events, stop
        self.running: set[str] = set()
        self.stopped: set[str] = set()
        self._nodes, self._asked_at, self._verify_corpus = nodes, time.monotonic(), verify_corpus
        self._shares = GpuShares(nodes(), resources.cpus, resources.gpus) if resources.gpus > 0 else None
        self._faulted: dict[str, DeviceFault] = {}  # trials whose workers are about to end
        self._fault_places: dict[str, list[str]] = {}  # where each trial met faults
        self._faults_in_a_row = 0

    @property
    def exhausted(self) -> bool:
        """Whether no further trial will begin; as long as a trial has a share of a GPU, it may come back."""
        held = 0 if self._shares is None else self._shares.held
        return self.stop.requested or not (self.queue.waiting or held)

    def next(self, slot: str) -> Assignment | None:
        """Return the next trial and its share of a GPU; None if no trial can begin now."""
        gpus: float | None = 0.0
        if self._shares is not None:
            if not self.queue.waiting:
                return None  # a running trial may come back
            if time.monotonic() - self._asked_at > NODES_S:
                self._asked_at = time.monotonic()
                self._shares.update(self._nodes())
            gpus = self._shares.take(slot, self.queue.waiting)
            if gpus is None:
                return None
        try:
            trial = self.queue.next()
        except OSError as error:  # a proposal that cannot be recorded counts as not made
            self.stop.request(f"{MAKE_ROOM} ({system_reason(error)}: {error.filename})")
            trial = None
        if trial is not None:
            return {"trial": trial, "gpus": gpus, "avoid": tuple(self._fault_places.get(trial.key, ()))}
        if self._shares is not None:
            self._shares.release(slot)
        return None

    def started(self, key: str, kill: Callable[[], None]) -> None:
        """Record that a trial has a worker; `kill` ends the worker."""
        self.running.add(key)
        self.events.started(key, kill)

    def reported(self, key: str, report: Mapping[str, Any]) -> None:
        """Record a worker's report."""
        if PLACE in report:
            self.events.places[key] = Place(**report[PLACE])
        elif UNWRITABLE in report:
            self.events.unwritable(key, report[UNWRITABLE])
        elif FAULT in report:
            self._faulted[key] = DeviceFault(**report[FAULT])
        elif ALTERED in report:
            self.events.altered(key, report[ALTERED])
        else:
            self._faults_in_a_row = 0
            self.events.epoch(key, report)

    def ended(self, key: str, slot: str, lost: str | None = None) -> None:
        """Record that the worker of a trial ended, with the state that the trial's files show.

        `lost` is the reason why the trial is given up, if its workers were lost too often.
        """
        self.running.discard(key)
        if self._shares is not None:
            self._shares.release(slot)
        trial, fault = self.queue.given[key], self._faulted.pop(key, None)
        if lost is not None:
            self._fail(trial, lost)
        elif fault is not None:
            self._after_fault(trial, fault)
        elif trial.folder.part("predictions", key).exists():
            self.events.trained(key)
        elif trial.folder.part("trials", key).exists():
            (row,) = read_table(trial.folder, "trials", keys=[key], columns=["error"]).to_pylist()
            self.events.failed(key, str(row["error"]))
        elif key in self.stopped:
            # it has ended an epoch, and epochs begin only after the corpus is verified
            place = dataclasses.replace(self.events.place(key), corpus_verified=self._verify_corpus)
            self._write(trial, "stopped", None, lambda: self.events.stopped(key), place)
        else:  # the run is ending: the trial goes on from its checkpoint when the sweep is run again
            self.events.left(key)

    def _after_fault(self, trial: Trial, fault: DeviceFault) -> None:
        """Queue a trial whose GPU was at fault to go on elsewhere, or fail it if it is the cause."""
        key, places = trial.key, self._fault_places.setdefault(trial.key, [])
        places.append(fault.place)
        self._faults_in_a_row += 1
        self.events.faulted(key, fault)
        if fault.set_aside is not None and self._shares is not None:
            self._shares.set_aside()
            if not self._shares.gpus:
                self.stop.request("no working GPU is left: check them with ser-ray doctor")
        if len(places) >= FAULTS_OF_A_TRIAL:
            self._fail(trial, f"GPU faults ended it {len(places)} times ({', '.join(places)}): {fault.message}")
        elif self.stop.requested:
            self.events.left(key)
        else:
            self.queue.again(key)
        if self._faults_in_a_row >= FAULTS_IN_A_ROW:
            self.stop.request(f"{FAULTS_IN_A_ROW} GPU faults in a row, the last on {fault.place}: {fault.message}")

    def _fail(self, trial: Trial, reason: str) -> None:
        self._write(trial, "failed", reason, lambda: self.events.failed(trial.key, reason))

    def _write(
        self, trial: Trial, status: str, error: str | None, then: Callable[[], None], place: Place | None = None
    ) -> None:
        try:
            write_unfinished(trial, status, error, place or self.events.place(trial.key))
        except OSError as unwritable:  # the trial stays open; its row is written when it ends in this way again
            self.events.unwritable(trial.key, f"{system_reason(unwritable)} ({trial.folder.path})")
            self.events.left(trial.key)
        else:
            then()
