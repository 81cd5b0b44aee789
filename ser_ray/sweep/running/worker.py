"""The worker's side of a trial: which GPU it takes, and what the driver is told of it."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ser_ray import provenance
from ser_ray.corpus.store.files import AlteredError
from ser_ray.gpus.usable import wrong_with
from ser_ray.sweep.nodes.cluster import own_gpus
from ser_ray.sweep.nodes.device_faults import DeviceFault
from ser_ray.sweep.running.attempt import DeviceFaultError, attempt
from ser_ray.sweep.running.options import WorkerOptions
from ser_ray.trial import Trial
from ser_ray.trial.place import Place

if TYPE_CHECKING:
    from ser_ray.training.state import EpochReport

Report = Callable[[dict[str, Any]], None]

METRIC = "ccc_devel_mean"
TROUBLE = "trouble"
"""In a report: why results cannot be written."""
FAULT = "fault"
"""In a report: what was wrong with the GPU, as fields of a DeviceFault."""
PLACE = "place"
"""In a report: where the trial runs, as fields of a Place; the first of each process."""
ALTERED = "altered"
"""In a report: what of the corpus is not what its manifest says."""


def train_one(config: Mapping[str, Any], options: WorkerOptions, report: Report) -> None:
    """Train one trial in the process that Tune gave it.

    Args:
        config: the trial, its share of a GPU and the GPUs that it is to avoid.
        options: how.
        report: tells Tune of an epoch, or of why the trial ended here while it is still open.
    """
    trial, gpus = config["trial"], config["gpus"]
    if not gpus:
        _attempt(trial, gpus, options, report)
        return
    meant, node_gpus = own_gpus()
    if gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(meant)
        _attempt(trial, gpus, options, report)
        return
    host = provenance.host_name()
    avoid = [gpu for place, _, gpu in (one.rpartition("/") for one in config["avoid"]) if place == host]
    with node_gpus.place(meant[0], gpus, avoid) as gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # CUDA is not used yet: this process is the trial's alone
        try:
            _attempt(trial, gpus, options, report, on_epoch=lambda: node_gpus.worked(gpu))
        except DeviceFaultError as error:
            fault = DeviceFault(str(error), host, gpu, node_gpus.fault(gpu, lambda: wrong_with(gpu)))
            report({"epoch": 0, METRIC: -1.0, FAULT: dataclasses.asdict(fault)})


def _attempt(
    trial: Trial,
    gpus: float,
    options: WorkerOptions,
    report: Report,
    on_epoch: Callable[[], None] = lambda: None,
) -> None:
    """Attempt a trial, and tell Tune of its epochs and of results that cannot be written."""

    def tell(epoch: "EpochReport") -> None:
        on_epoch()
        pooled = epoch.devel.pooled
        report(
            {
                "epoch": epoch.epoch,
                "train_loss": epoch.train_loss,
                METRIC: -1.0 if math.isnan(pooled["mean"]) else pooled["mean"],  # schedulers cannot compare NaN
                "seconds": epoch.train_seconds + epoch.evaluate_seconds,
                "gpus": gpus,
                **{f"ccc_devel_{target}": value for target, value in pooled.items() if target != "mean"},
            }
        )

    def tell_place(place: Place) -> None:
        report({"epoch": 0, METRIC: -1.0, PLACE: vars(place)})

    try:
        trouble = attempt(trial, gpus, options, tell, tell_place)
    except AlteredError as error:
        report({"epoch": 0, METRIC: -1.0, ALTERED: str(error)})
        return
    if trouble is not None:
        # not by a file, of course
        report({"epoch": 0, METRIC: -1.0, TROUBLE: trouble})
