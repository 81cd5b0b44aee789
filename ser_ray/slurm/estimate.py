"""Estimate how long a sweep's job runs on each class of devices on which trials were measured."""

import heapq
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_ray.slurm.pending import Pending
from ser_ray.slurm.request import Request
from ser_ray.sweep.nodes.heartbeat import Share
from ser_ray.sweep.nodes.trial_resources import GpuShares
from ser_ray.sweep.planning.measured import DeviceClass
from ser_ray.trial import Trial

if TYPE_CHECKING:
    from ser_ray.sweep.planning.hours import MeasuredHours

START_H = 0.05
"""Three minutes beside training: for checking the nodes, and for starting Python and Ray from a cold file system."""
MARGIN = 1.5
QUARTER_S = 15 * 60
MOST_S = 24 * 3600
"""A job that reaches its limit saves and goes on later; one that requests above a day waits long on most clusters."""


@dataclass(frozen=True)
class Estimate:
    """Estimated duration of a job on one class of devices."""

    device: DeviceClass
    measured: int  # number of trials that the estimate is based on
    hours: float  # of all trials in sequence, each with a device of its own
    wall_hours: float  # of the job; for an array, of its longest job
    rough: bool  # whether only other networks were measured


def estimate(pending: Pending, request: Request, cpus: int) -> list[Estimate]:
    """Estimate how long the job runs at most on each class of devices that it may get and that was measured.

    `cpus` are the cores on each node. On GPUs each trial has the share that a run gives it and takes longer
    accordingly, see `Speed.seconds_at`. The list is sorted by class; it is empty where nothing is known.
    """
    if not pending.trials:
        return []  # a guided search that has proposed nothing yet
    from ser_ray.sweep.planning.hours import measured_hours

    places = {trial.key: place for place, trial in enumerate(pending.trials)}
    parts = [[places[trial.key] for trial in part] for part in trials_of_jobs(pending, request)]
    found = []
    for known in measured_hours(pending.trials, pending.measured):
        if not _fits(known.device, pending, on_gpu=request.gpus > 0):
            continue
        jobs = [_JobHours(part, pending.to_propose, known) for part in parts]
        found.append(
            Estimate(
                device=known.device,
                measured=known.measured,
                hours=math.fsum(job.at(number, 1.0) for job in jobs for number in range(job.trials)),
                wall_hours=max(_wall_hours(job, pending, request, cpus) for job in jobs),
                rough=known.rough,
            )
        )
    return found


class _JobHours:
    """Hours of each trial of one job: the planned trials first, then those still to be proposed."""

    def __init__(self, places: Sequence[int], to_propose: int, known: "MeasuredHours") -> None:
        self._places, self._known = places, known
        self.trials = len(places) + to_propose
        self._means: dict[float, float] = {}

    def at(self, number: int, share: float) -> float:
        """Return the hours of a trial on a share of a GPU, or on whole GPUs; on a CPU the share is 1."""
        hours = self._known.hours(min(share, 1.0))
        if number < len(self._places):
            return hours[self._places[number]]
        if share not in self._means:
            self._means[share] = statistics.fmean(hours)
        return self._means[share]


def _wall_hours(job: _JobHours, pending: Pending, request: Request, cpus: int) -> float:
    resources = pending.config.resources
    if request.gpus:
        return shared_wall_hours(job.trials, job.at, request.shares(cpus, resources))
    return wall_hours([job.at(number, 1.0) for number in range(job.trials)], request.slots(cpus, resources))


def wall_hours(hours: Sequence[float], slots: int) -> float:
    """Estimate the hours in which slots run trials, start-up included; each begins in the slot that is free first."""
    free = [0.0] * min(slots, len(hours))
    for one in hours:
        heapq.heapreplace(free, free[0] + one)
    return START_H + max(free, default=0.0)


def shared_wall_hours(trials: int, hours: Callable[[int, float], float], shares: GpuShares) -> float:
    """Estimate the hours that trials take on shared GPUs, start-up included; each begins once a share is free.

    A trial gets the share that a run would give it and keeps it to its end; the share is larger where fewer trials wait
    than there are shares. `hours` returns a trial's hours from its number and its share. In `shares` none may be taken
    yet, and at least one trial must fit.
    """
    running: list[tuple[float, int]] = []
    now = end = 0.0
    for number in range(trials):
        while (share := shares.take(str(number), trials - number)) is None:
            now, ended = heapq.heappop(running)
            shares.release(str(ended))
        heapq.heappush(running, (now + hours(number, share), number))
        end = max(end, now + hours(number, share))
    return START_H + end


def limit_s(hours: float) -> int:
    """Compute the limit to request, in seconds: half as much again, in whole quarters of an hour, a day at most."""
    quarters = math.ceil(round(MARGIN * hours * 3600 / QUARTER_S, 6))
    return min(max(1, quarters) * QUARTER_S, MOST_S)


def trials_of_jobs(pending: Pending, request: Request) -> list[list[Trial]]:
    """List the trials that each job is to train, in order."""
    left = [trial for trial in pending.trials if trial.key in pending.to_train]
    jobs, planned = request.jobs or 1, [trial.key for trial in pending.trials]
    parts = [Share(number, jobs).keys(planned) for number in range(1, jobs + 1)]
    return [[trial for trial in left if trial.key in part] for part in parts]


def _fits(device: DeviceClass, pending: Pending, *, on_gpu: bool) -> bool:
    """Check whether the trials would run in this class: CPU or GPU, precision and back end as requested."""
    if device.is_gpu != on_gpu:
        return False
    requested = {trial.config.training.precision for trial in pending.trials}
    if device.precision not in requested and not (device.precision == "float32" and "tf32" in requested):
        return False
    backend = pending.config.resources.backend
    if backend == "reference":
        return device.backend == "reference"
    fusible = [trial.config.model.fusible for trial in pending.trials]
    if device.backend == "fused":
        return any(fusible)
    # the fused operation computes in single precision only on a GPU; there "auto" may choose either
    all_fused = all(fusible) and requested <= ({"float32", "tf32"} if on_gpu else {"float32", "tf32", "float64"})
    return not all_fused or (on_gpu and backend == "auto")
