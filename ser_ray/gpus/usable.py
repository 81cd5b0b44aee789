"""Which GPUs of this node trials may be given: those that PyTorch computes rightly on, as many as the job was given."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ser_ray import allocation
from ser_ray.errors import InputError
from ser_ray.gpus.asking import Answer, ask
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
    probe: Callable[[], Answer] = lambda: ask("-m", "ser_ray.gpus.probe"),
) -> UsableGpus:
    """Return the GPUs of this node that trials may be given.

    Neither NVIDIA's library nor PyTorch's count is taken for them: a driver may be too old for this PyTorch, a GPU
    broken, or another job's. A process of its own tries each, for seconds; none is started where there is no device.

    Args:
        environment: of this process; the probe has it, too.
        devices: tells whether there is any device.
        probe: has each GPU compute, and answers with what it saw.

    Raises:
        InputError: if the job was given GPUs and none of them can be used, or PyTorch cannot be imported.
    """
    given, named = allocation.gpus_given(environment), allocation.gpus_named(environment)
    wanted = given or len(named or ())
    if not wanted and (given == 0 or named == () or not devices()):
        return UsableGpus(())
    answer = probe()
    seen = seen_by(answer)
    if seen is None:
        raise InputError(f"PyTorch cannot be imported ({answer.error}); ser-ray doctor tells more")
    names = [str(number) for number in range(len(seen.gpus))] if named is None else named
    found = list(zip(names, seen.gpus, strict=False))  # of a variable that names more, the rest are not there
    wrong = [f"GPU {name} ({gpu.name}): {gpu.wrong}" for name, gpu in found if gpu.wrong]
    ids = [name for name, gpu in found if not gpu.wrong][:given]
    if wanted and not ids:
        raise gpus_unusable(wanted, "; ".join(wrong) or _reason(seen))
    if not seen.gpus and (reason := _reason(seen)):
        wrong = [f"the GPUs of this machine: {reason}"]
    return UsableGpus(tuple(ids), len(ids) == len(seen.gpus), tuple(wrong))


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
