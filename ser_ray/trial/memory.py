"""The error of a trial that ran out of memory."""

from typing import TYPE_CHECKING

from ser_ray.trial.config import Trial

if TYPE_CHECKING:
    import torch


class OutOfMemoryError(RuntimeError):
    """A trial that did not fit into its device's memory; the message says what to change."""


def out_of_memory(trial: Trial, device: "torch.device", gpus: float, error: BaseException) -> OutOfMemoryError:
    """Return the error that says where the memory ended, with which batch, and what to change."""
    model, training = trial.config.model, trial.config.training
    on_gpu = device.type == "cuda"
    name = _gpu_name(device) if on_gpu else "this host's CPU"
    share = f", of which a trial has {gpus:g}" if on_gpu and gpus < 1 else ""
    others = "a larger resources.gpus, so that fewer trials share a GPU" if on_gpu else "fewer trials at once"
    asked = " ".join(str(error).split())[:200]
    return OutOfMemoryError(
        f"out of memory on {name}{share}, with batches of {training.batch_size} x {training.sequence_s:g} s and "
        f"{model.parameters:,} parameters; try a smaller training.batch_size or training.sequence_s, or {others} "
        f"({asked})"
    )


def _gpu_name(device: "torch.device") -> str:
    import torch

    try:
        return torch.cuda.get_device_name(device)
    except RuntimeError:  # the memory was too short for CUDA itself, which cannot be asked then
        return "the GPU"
