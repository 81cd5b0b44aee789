"""How long a sweep's job is expected to run, on each class of devices that trials were measured on."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_ray.slurm.pending import Pending
from ser_ray.slurm.request import Request
from ser_ray.slurm.wall_time import shared_wall_hours, wall_hours
from ser_ray.sweep.nodes.heartbeat import Share
from ser_ray.sweep.planning.measured import DeviceClass
from ser_ray.trial import Trial

if TYPE_CHECKING:
    from ser_ray.sweep.planning.hours import MeasuredHours


@dataclass(frozen=True)
class Expected:
    """What is to do, on one class of devices.

    Args:
        device: the class.
        measured: how many trials the estimate is made of.
        hours: of one trial after the other, each with a device for itself.
        wall_hours: of the job; of an array, of the job that takes longest.
        rough: that only other networks were measured.
    """

    device: DeviceClass
    measured: int
    hours: float
    wall_hours: float
    rough: bool


def expected(pending: Pending, request: Request, cpus: int) -> list[Expected]:
    """Return how long the job would run at most, as far as trials were measured on devices that it may get.

    On GPUs each trial has the share that a run gives it, and takes the longer for it, as `Speed.seconds_at` says.

    Args:
        pending: what is to do.
        request: what is asked of SLURM.
        cpus: cores on each node.

    Returns:
        The classes of devices, sorted; none where nothing is known.
    """
    if not pending.trials:
        return []  # a guided search that has proposed nothing yet
    from ser_ray.sweep.planning.hours import measured_hours

    places = {trial.key: place for place, trial in enumerate(pending.trials)}
    parts = [[places[trial.key] for trial in part] for part in shared_out(pending, request)]
    found = []
    for known in measured_hours(pending.trials, pending.measured):
        if not _fits(known.device, pending, on_gpu=request.gpus > 0):
            continue
        jobs = [_JobHours(part, pending.to_propose, known) for part in parts]
        found.append(
            Expected(
                device=known.device,
                measured=known.measured,
                hours=math.fsum(job.at(number, 1.0) for job in jobs for number in range(job.trials)),
                wall_hours=max(_wall_hours(job, pending, request, cpus) for job in jobs),
                rough=known.rough,
            )
        )
    return found


class _JobHours:
    """The hours of each trial of one job: of those that are known, then of those that are to be proposed."""

    def __init__(self, places: Sequence[int], to_propose: int, known: "MeasuredHours") -> None:
        self._places, self._known = places, known
        self.trials = len(places) + to_propose
        self._means: dict[float, float] = {}

    def at(self, number: int, share: float) -> float:
        """Return the hours of a trial, given its number and its share of a GPU, or whole GPUs; 1 on a CPU."""
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


def shared_out(pending: Pending, request: Request) -> list[list[Trial]]:
    """Return the trials that each job is to train, in order.

    Args:
        pending: what is to do.
        request: what is asked of SLURM.
    """
    left = [trial for trial in pending.trials if trial.key in pending.to_train]
    jobs, planned = request.jobs or 1, [trial.key for trial in pending.trials]
    parts = [Share(number, jobs).keys(planned) for number in range(1, jobs + 1)]
    return [[trial for trial in left if trial.key in part] for part in parts]


def _fits(device: DeviceClass, pending: Pending, *, on_gpu: bool) -> bool:
    """Return whether trials would be of this class: CPU or GPU, precision and back end as asked for."""
    if device.is_gpu != on_gpu:
        return False
    asked = {trial.config.training.precision for trial in pending.trials}
    if device.precision not in asked and not (device.precision == "float32" and "tf32" in asked):
        return False
    backend = pending.config.resources.backend
    if backend == "reference":
        return device.backend == "reference"
    # the fused operation is of max-pooling, on a GPU in single precision; there "auto" may be either
    all_fused = asked <= ({"float32", "tf32"} if on_gpu else {"float32", "tf32", "float64"}) and all(
        trial.config.model.pooling == "max" for trial in pending.trials
    )
    return device.backend == "fused" or not all_fused or (on_gpu and backend == "auto")
