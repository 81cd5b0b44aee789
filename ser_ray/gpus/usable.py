"""Select the GPUs of this node for trials: those on which PyTorch computes correctly, as many as the job was given."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ser_ray import allocation
from ser_ray.errors import InputError
from ser_ray.gpus import visible
from ser_ray.gpus.run_python import PythonOutput
from ser_ray.gpus.visible import ListedGpu, list_gpus


@dataclass(frozen=True)
class UsableGpus:
    """GPUs of this node that trials may use."""

    ids: tuple[str, ...]  # names in CUDA_VISIBLE_DEVICES
    all_visible: bool = True  # whether these are all that PyTorch sees, so that none has to be hidden
    unusable: tuple[str, ...] = ()  # the problem of each other GPU of the job


def usable_gpus(
    environment: Mapping[str, str] = os.environ,
    *,
    devices: Callable[[], bool] = allocation.has_gpu_devices,
    probe: Callable[[str | None], PythonOutput] = visible.probe,
    list_gpus: Callable[[], Sequence[ListedGpu]] = list_gpus,
) -> UsableGpus:
    """Find the GPUs of this node that trials may use; for a partitioned GPU (MIG), its slices.

    A separate process tests them, which takes seconds, since neither NVIDIA's library nor PyTorch's count shows whether
    a GPU can be used: the driver may be too old for this PyTorch, the GPU may be broken or belong to another job. No
    process is started where there is no device.

    Raises:
        InputError: if PyTorch cannot be imported, or the job was given GPUs and none of them can be used.
    """
    given, named = allocation.gpus_given(environment), allocation.gpus_named(environment)
    requested = given or len(named or ())
    if not requested and (given == 0 or named == () or not devices()):
        return UsableGpus(())
    output = probe(None)
    found = visible.visible_gpus(output, list_gpus(), environment, probe_one=probe)
    result = found.result
    if result is None:
        raise InputError(f"PyTorch cannot be imported ({output.error}); run `ser-ray doctor` for details")
    wrong = [
        f"GPU {name} ({gpu.name}): {gpu.wrong}" for name, gpu in zip(found.names, result.gpus, strict=True) if gpu.wrong
    ]
    ids = limit_to_job(found.working, given)
    if requested and not ids:
        raise gpus_unusable(requested, "; ".join(wrong) or result.reason_for_none)
    if not result.gpus and result.reason_for_none:
        wrong = [f"the GPUs of this machine: {result.reason_for_none}"]
    return UsableGpus(ids, len(ids) == len(result.gpus) and not found.split, tuple(wrong))


def limit_to_job(names: Sequence[str], given: int | None) -> tuple[str, ...]:
    """Select the job's GPUs from a node's working ones: the first `given`, or all where SLURM gives no number.

    Slices all belong to the job: SLURM may count a whole GPU of the job as one, or each slice that it gives by itself.
    """
    return tuple(names if any(name.startswith("MIG-") for name in names) else names[:given])


def gpus_unusable(given: int, reason: str | None) -> InputError:
    """Return the error for a job that was given GPUs of which none can be used."""
    said = f" ({reason})" if reason else ""
    return InputError(
        f"this job was given {given} GPU{'s' if given > 1 else ''}, but PyTorch can use none{said}; training does not "
        "fall back to the CPU: use other nodes, or follow the advice of `ser-ray doctor` there; to train on the CPU "
        "anyway: --set resources.gpus=0"
    )


def wrong_with(gpu: str) -> str | None:
    """Test a GPU, named as in CUDA_VISIBLE_DEVICES; return its problem, or None if it computes correctly.

    The test runs in a separate process and takes seconds.
    """
    result = visible.read_probe(visible.probe(gpu))
    if result is None or not result.gpus:
        return (result and result.reason_for_none) or visible.UNSEEN
    return result.gpus[0].wrong


@contextlib.contextmanager
def only_visible(usable: UsableGpus) -> Iterator[None]:
    """Hide all other GPUs from processes that are started in the context."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if usable.all_visible:
        yield
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(usable.ids)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
