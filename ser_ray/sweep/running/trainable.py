"""The trainable that Tune runs in a worker: choose the GPU, train a trial, and report to the driver."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ser_ray import provenance
from ser_ray.corpus.store.manifest import AlteredError
from ser_ray.gpus.usable import wrong_with
from ser_ray.sweep.nodes.cluster import own_gpus
from ser_ray.sweep.running.worker import DeviceFault, DeviceFaultError, WorkerOptions, run_trial
from ser_ray.trial import Trial

if TYPE_CHECKING:
    from ser_ray.training.state import EpochReport

Report = Callable[[dict[str, Any]], None]

METRIC = "ccc_devel_mean"
# Fields of a worker's report that is not about an epoch:
UNWRITABLE = "unwritable"
"""Reason why results cannot be written."""
FAULT = "fault"
"""A fault of the GPU, as fields of a DeviceFault."""
PLACE = "place"
"""Where the trial runs, as fields of a Place; the first report of each process."""
ALTERED = "altered"
"""How the corpus differs from its manifest."""

Assignment = dict[str, Any]
"""Input of a worker: the trial ("trial"), its share of a GPU ("gpus"), and the places of GPUs to avoid ("avoid")."""


def train_one(config: Mapping[str, Any], options: WorkerOptions, report: Report) -> None:
    """Train the trial of an `Assignment`; report its place, its epochs, and why it ended if it is still open."""
    trial, gpus = config["trial"], config["gpus"]
    if not gpus:
        _run(trial, gpus, options, report)
        return
    meant, node_gpus = own_gpus()
    if gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(meant)
        _run(trial, gpus, options, report)
        return
    host = provenance.host_name()
    avoid = [gpu for place, _, gpu in (one.rpartition("/") for one in config["avoid"]) if place == host]
    with node_gpus.place(meant[0], gpus, avoid) as gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # CUDA is not used yet: this process is the trial's alone
        try:
            _run(trial, gpus, options, report, on_epoch=lambda: node_gpus.worked(gpu))
        except DeviceFaultError as error:
            fault = DeviceFault(str(error), host, gpu, node_gpus.fault(gpu, lambda: wrong_with(gpu)))
            report(_without_figures(FAULT, dataclasses.asdict(fault)))


def _run(
    trial: Trial,
    gpus: float,
    options: WorkerOptions,
    report: Report,
    on_epoch: Callable[[], None] = lambda: None,
) -> None:
    def report_epoch(epoch: "EpochReport") -> None:
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

    try:
        unwritable = run_trial(
            trial, gpus, options, report_epoch, lambda place: report(_without_figures(PLACE, vars(place)))
        )
    except AlteredError as error:
        report(_without_figures(ALTERED, str(error)))
        return
    if unwritable is not None:
        report(_without_figures(UNWRITABLE, unwritable))  # not by a file, which could not be written


def _without_figures(kind: str, value: Any) -> dict[str, Any]:
    return {"epoch": 0, METRIC: -1.0, kind: value}
