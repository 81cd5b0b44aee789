"""What a trial that ran out of memory tells its user."""

import errno
from typing import TYPE_CHECKING

from ser_ray.trial.config import Trial

if TYPE_CHECKING:
    import torch

_CPU_ALLOCATOR = "DefaultCPUAllocator"
"""PyTorch has no exception of its own for a CPU's memory; this stands in its message."""


class OutOfMemoryError(RuntimeError):
    """A trial that did not fit into its device's memory; the message says what to change."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be had, on a CPU or a GPU.

    Args:
        error: what a training raised.
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error)


def out_of_memory(trial: Trial, device: "torch.device", error: BaseException) -> OutOfMemoryError:
    """Return what a user should read: where the memory ended, with which batch, and what to change.

    Args:
        trial: the trial.
        device: where it ran.
        error: what PyTorch raised.
    """
    import torch

    model, training = trial.config.model, trial.config.training
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else "this host's CPU"
    share = f", of which a trial has {trial.gpus:g}" if on_gpu and trial.gpus < 1 else ""
    others = "a larger resources.gpus, so that fewer trials share a GPU" if on_gpu else "fewer trials at once"
    asked = " ".join(str(error).split())[:200]
    return OutOfMemoryError(
        f"out of memory on {name}{share}, with batches of {training.batch_size} x {training.sequence_s:g} s and "
        f"{model.parameters:,} parameters; try a smaller training.batch_size or training.sequence_s, or {others} "
        f"({asked})"
    )
