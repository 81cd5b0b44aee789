"""What PyTorch sees of the GPUs of this node, each with the name by which a trial is given it, slices one by one.

A process of CUDA sees one slice of a GPU (MIG) at most, the first that it is told, and of a GPU that is cut into slices
and is named as a whole the first of its slices: so each slice is tried by a process of its own, by its UUID.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ser_ray import allocation
from ser_ray.gpus.asking import Answer, ask
from ser_ray.gpus.listed import PROHIBITED, ListedGpu, named_gpus
from ser_ray.gpus.seen import Gpu, Seen, seen_by

AT_ONCE = 4
"""Slices that are tried at the same time: each process imports PyTorch, and takes a gigabyte of memory for a while."""
UNSEEN = "PyTorch does not see it"
NOT_ALLOWED = "its compute mode is prohibited: no process may compute on it"


@dataclass(frozen=True)
class Look:
    """The GPUs of this node.

    Args:
        seen: what PyTorch sees; None if it could not be imported.
        names: of its GPUs, as CUDA_VISIBLE_DEVICES names each.
        whole: how many GPUs these are, with all slices of a GPU that was named as a whole counted as one.
        split: whether slices stand in the place of what was visible before.
    """

    seen: Seen | None
    names: tuple[str, ...] = ()
    whole: int = 0
    split: bool = False


def probe(visible: str | None = None) -> Answer:
    """Have a process of its own try each GPU, and return what it answered.

    Args:
        visible: CUDA_VISIBLE_DEVICES for it; None for that of this process.
    """
    return ask("-m", "ser_ray.gpus.probe", variables={} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})


def look(
    answer: Answer,
    listed: Sequence[ListedGpu],
    environment: Mapping[str, str] = os.environ,
    *,
    probe_one: Callable[[str], Answer] = probe,
) -> Look:
    """Return the GPUs of this node, given what a probe saw that was told nothing of slices.

    Args:
        answer: of that probe.
        listed: what NVIDIA's program lists.
        environment: of this process.
        probe_one: tries what CUDA_VISIBLE_DEVICES is to name.
    """
    seen, named = seen_by(answer), allocation.gpus_named(environment)
    if seen is None:
        return Look(None)
    there = named_gpus(listed, named)
    slices = _with_slices(there, named, allocation.gpus_given(environment))
    if slices is not None:
        return _each_slice(seen, slices, probe_one, listed)
    if not seen.gpus and not seen.crash and there and all(gpu.mode == PROHIBITED for gpu in there):
        gpus = [Gpu(gpu.uuid, 0, 0, NOT_ALLOWED, gpu.mode) for gpu in there]
        return Look(dataclasses.replace(seen, gpus=tuple(gpus)), tuple(gpu.index for gpu in there), len(there))
    names = [str(number) for number in range(len(seen.gpus))] if named is None else list(named)
    found = list(zip(names, seen.gpus, strict=False))  # of a variable that names more, the rest are not there
    gpus = [_with_mode(gpu, name, listed) for name, gpu in found]
    return Look(dataclasses.replace(seen, gpus=tuple(gpus)), tuple(name for name, _ in found), len(gpus))


def _with_slices(
    there: Sequence[ListedGpu], named: Sequence[str] | None, given: int | None
) -> list[tuple[str, ...]] | None:
    """Return, for each GPU or slice that is named, the UUIDs of its slices, or its own name; None if all is whole.

    A single slice that is named is seen as it is.
    """
    if named is None:
        found = [gpu.slices or (gpu.uuid,) for gpu in there]
        cut = found[:given] if given else found  # a site that does not confine devices: others may be another job's
        return cut if any(gpu.slices for gpu in there) else None
    by_name = {name: gpu.slices for name in named for gpu in there if gpu.is_named(name) and gpu.slices}
    if not by_name and (len(named) == 1 or not any(name.startswith("MIG-") for name in named)):
        return None
    return [by_name.get(name, (name,)) for name in named]


def _each_slice(
    seen: Seen, parts: Sequence[tuple[str, ...]], probe_one: Callable[[str], Answer], listed: Sequence[ListedGpu]
) -> Look:
    names = [name for own in parts for name in own]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        gpus = tuple(pool.map(lambda name: _with_mode(_alone(name, probe_one(name)), name, listed), names))
    return Look(Seen(seen.cuda, gpus), tuple(names), len(parts), split=True)


def _alone(name: str, answer: Answer) -> Gpu:
    """Return the GPU or the slice that a process saw which saw no other."""
    seen = seen_by(answer)
    if seen is not None and seen.gpus:
        return seen.gpus[0]
    crash = answer.error if seen is None else seen.crash or seen.reason
    return Gpu(name, 0, 0, crash or UNSEEN)


def _with_mode(gpu: Gpu, name: str, listed: Sequence[ListedGpu]) -> Gpu:
    mode = next((one.mode for one in listed if one.is_named(name) or name in one.slices), "")
    return dataclasses.replace(gpu, mode=mode, wrong=NOT_ALLOWED if mode == PROHIBITED else gpu.wrong)


def working(found: Look) -> Iterator[str]:
    """Yield the names of the GPUs that compute what they should.

    Args:
        found: on this node.
    """
    if found.seen is not None:
        yield from (name for name, gpu in zip(found.names, found.seen.gpus, strict=True) if gpu.wrong is None)
