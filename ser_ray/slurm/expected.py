"""How long a sweep's job is expected to run, on each class of devices that trials were measured on."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ser_ray.slurm.pending import Pending
from ser_ray.slurm.request import Request
from ser_ray.slurm.wall_time import wall_hours
from ser_ray.sweep.measured import DeviceClass
from ser_ray.sweep.share import Share
from ser_ray.trial import Trial


@dataclass(frozen=True)
class Expected:
    """What is to do, on one class of devices.

    Args:
        device: the class.
        measured: how many trials the estimate is made of.
        hours: of one trial after the other.
        wall_hours: of the job; of an array, of the job that takes longest.
        rough: that only other networks were measured.
    """

    device: DeviceClass
    measured: int
    hours: float
    wall_hours: float
    rough: bool


def expected(pending: Pending, request: Request, slots: int) -> list[Expected]:
    """Return how long the job would run at most, as far as trials were measured on devices that it may get.

    Args:
        pending: what is to do.
        request: what is asked of SLURM.
        slots: how many trials run at once in one job.

    Returns:
        The classes of devices, sorted; none where nothing is known.
    """
    if not pending.trials:
        return []  # a guided search that has proposed nothing yet
    from ser_ray.sweep.estimate import measured_hours

    found = []
    for known in measured_hours(pending.trials, pending.measured):
        if not _fits(known.device, pending, on_gpu=request.gpus > 0):
            continue
        hours = dict(zip((trial.key for trial in pending.trials), known.hours, strict=True))
        proposed = [statistics.fmean(hours.values())] * pending.to_propose
        shares = [[*_hours(part, hours), *proposed] for part in shared_out(pending, request)]
        found.append(
            Expected(
                device=known.device,
                measured=known.measured,
                hours=math.fsum(map(math.fsum, shares)),
                wall_hours=max(wall_hours(share, slots) for share in shares),
                rough=known.rough,
            )
        )
    return found


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


def _hours(trials: Sequence[Trial], hours: Mapping[str, float]) -> list[float]:
    return [hours[trial.key] for trial in trials]


def _fits(device: DeviceClass, pending: Pending, *, on_gpu: bool) -> bool:
    """Return whether trials would be of this class: CPU or GPU, precision and back end as asked for."""
    if device.device.startswith("cpu") == on_gpu:
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
