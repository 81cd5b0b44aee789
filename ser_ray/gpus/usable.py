"""Which GPUs of this node trials may be given: those that PyTorch computes rightly on, as many as the job was given."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ser_ray import allocation
from ser_ray.errors import InputError
from ser_ray.gpus import looking
from ser_ray.gpus.asking import Answer
from ser_ray.gpus.listed import ListedGpu, listed_gpus
from ser_ray.gpus.seen import Seen, seen_by

ON_THE_CPU = "to train on the CPU all the same: --set resources.gpus=0"


@dataclass(frozen=True)
class UsableGpus:
    """The GPUs of this node that trials may be given.

    Args:
        ids: as CUDA_VISIBLE_DEVICES names them.
        all_visible: whether these are all that PyTorch sees, so that nothing has to be hidden from it.
        unusable: what is wrong with each of the others, as far as this job has a claim to it.
    """

    ids: tuple[str, ...]
    all_visible: bool = True
    unusable: tuple[str, ...] = ()


def usable_gpus(
    environment: Mapping[str, str] = os.environ,
    *,
    devices: Callable[[], bool] = allocation.has_gpu_devices,
    probe: Callable[[str | None], Answer] = looking.probe,
    listed: Callable[[], Sequence[ListedGpu]] = listed_gpus,
) -> UsableGpus:
    """Return the GPUs of this node that trials may be given; of one that is cut into slices (MIG), each slice.

    Neither NVIDIA's library nor PyTorch's count is taken for them: a driver may be too old for this PyTorch, a GPU
    broken, or another job's. A process of its own tries each, for seconds; none is started where there is no device.

    Args:
        environment: of this process; the probe has it, too.
        devices: tells whether there is any device.
        probe: has each GPU compute that CUDA_VISIBLE_DEVICES names, if it is given that, and answers what it saw.
        listed: tells what NVIDIA's program lists.

    Raises:
        InputError: if the job was given GPUs and none of them can be used, or PyTorch cannot be imported.
    """
    given, named = allocation.gpus_given(environment), allocation.gpus_named(environment)
    wanted = given or len(named or ())
    if not wanted and (given == 0 or named == () or not devices()):
        return UsableGpus(())
    answer = probe(None)
    found = looking.look(answer, listed(), environment, probe_one=probe)
    seen = found.seen
    if seen is None:
        raise InputError(f"PyTorch cannot be imported ({answer.error}); ser-ray doctor tells more")
    wrong = [
        f"GPU {name} ({gpu.name}): {gpu.wrong}" for name, gpu in zip(found.names, seen.gpus, strict=True) if gpu.wrong
    ]
    ids = of_the_job(tuple(looking.working(found)), given)
    if wanted and not ids:
        raise gpus_unusable(wanted, "; ".join(wrong) or _reason(seen))
    if not seen.gpus and (reason := _reason(seen)):
        wrong = [f"the GPUs of this machine: {reason}"]
    return UsableGpus(ids, len(ids) == len(seen.gpus) and not found.split, tuple(wrong))


def of_the_job(names: Sequence[str], given: int | None) -> tuple[str, ...]:
    """Return those of the GPUs of a node that are a job's.

    Args:
        names: of those that work, as CUDA_VISIBLE_DEVICES names them. Slices are the job's own: SLURM counts a GPU once
            that the job has as a whole, and may count slices that it gives one by one.
        given: how many SLURM gave the job; None where it says nothing.
    """
    return tuple(names if any(name.startswith("MIG-") for name in names) else names[:given])


def gpus_unusable(given: int, reason: str | None) -> InputError:
    """Return what a user should read whose job was given GPUs of which none can be used.

    Args:
        given: how many.
        reason: why, in a line; None if it is not known here.
    """
    said = f" ({reason})" if reason else ""
    return InputError(
        f"this job was given {given} GPU{'s' if given > 1 else ''}, but PyTorch can use none{said}; it is not spent on "
        f"the CPU: take other nodes, or do as `ser-ray doctor` says there; {ON_THE_CPU}"
    )


def wrong_with(gpu: str) -> str | None:
    """Return what is wrong with a GPU of this node, tried by a process of its own; None if it computes rightly.

    Args:
        gpu: as CUDA_VISIBLE_DEVICES names it.
    """
    seen = seen_by(looking.probe(gpu))
    if seen is None or not seen.gpus:
        return (seen and _reason(seen)) or looking.UNSEEN
    return seen.gpus[0].wrong


@contextlib.contextmanager
def only_visible(usable: UsableGpus) -> Iterator[None]:
    """Have processes that are started meanwhile see no other GPUs.

    Args:
        usable: what they may see.
    """
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


def _reason(seen: Seen) -> str | None:
    """Return why PyTorch sees no GPU; CUDA goes on with advice of its own."""
    if seen.crash:
        return f"the process that tried them ended: {seen.crash}"
    if seen.cuda is None:
        return "this PyTorch was built for CPUs alone"
    return seen.reason.split(". ")[0] if seen.reason else None
