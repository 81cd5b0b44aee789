"""What PyTorch sees of the GPUs of this node, each with the name by which a trial is given it, slices one by one.

A CUDA process sees at most one slice of a GPU (MIG): the first that it is given, and of a partitioned GPU that is named
as a whole the first of its slices. So each slice is probed by a process of its own, by its UUID.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ser_ray import allocation
from ser_ray.gpus.nvidia_smi import PROHIBITED, ListedGpu, select_visible
from ser_ray.gpus.run_python import PythonOutput, run_python

PARALLEL_PROBES = 4
"""Slices that are probed at the same time: each process imports PyTorch, and takes a gigabyte of memory for a while."""
UNSEEN = "PyTorch does not see it"
NOT_ALLOWED = "its compute mode is prohibited: no process may compute on it"


@dataclass(frozen=True)
class Gpu:
    """A GPU as PyTorch sees it: bytes of its memory, and what it computes wrongly (None if it is right)."""

    name: str
    total: int
    free: int
    wrong: str | None
    mode: str = ""  # compute mode as nvidia-smi names it; empty where it is not known


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found."""

    cuda: str | None  # the version that PyTorch was built for; None for none
    gpus: tuple[Gpu, ...] = ()  # all that PyTorch sees
    reason: str | None = None  # why it sees none, in its own words
    crash: str | None = None  # how the probing process failed, if it did

    @property
    def reason_for_none(self) -> str | None:
        """Why PyTorch sees no GPU, in a line; None if it is not known."""
        if self.crash:
            return f"the process that tried them ended: {self.crash}"
        if self.cuda is None:
            return "this PyTorch was built for CPUs alone"
        return self.reason.split(". ")[0] if self.reason else None  # CUDA goes on with advice of its own


@dataclass(frozen=True)
class VisibleGpus:
    """The GPUs of this node that PyTorch sees."""

    result: ProbeResult | None  # None if PyTorch could not be imported
    names: tuple[str, ...] = ()  # of the GPUs in it, as CUDA_VISIBLE_DEVICES names each
    whole: int = 0  # their number, all slices of one that was given as a whole counted as one
    split: bool = False  # whether slices replace a GPU that was visible before

    @property
    def working(self) -> tuple[str, ...]:
        """The names of those that compute what they should."""
        gpus = self.result.gpus if self.result is not None else ()
        return tuple(name for name, gpu in zip(self.names, gpus, strict=True) if gpu.wrong is None)


def probe(visible: str | None = None) -> PythonOutput:
    """Probe each GPU in a process of its own: those that `visible` names, by default those visible to this process."""
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return run_python("-m", "ser_ray.gpus.probe", variables=variables)


def read_probe(output: PythonOutput) -> ProbeResult | None:
    """Return what a probe found; None if it could not import PyTorch."""
    if not output.lines:
        return None
    cuda = json.loads(output.lines[0])["cuda"]
    if len(output.lines) < 2:
        return ProbeResult(cuda, crash=output.error or "nothing was printed")
    tried = json.loads(output.lines[1])
    return ProbeResult(cuda, tuple(Gpu(**gpu) for gpu in tried["gpus"]), tried["reason"])


def visible_gpus(
    output: PythonOutput,
    listed: Sequence[ListedGpu],
    environment: Mapping[str, str] = os.environ,
    *,
    probe_one: Callable[[str], PythonOutput] = probe,
) -> VisibleGpus:
    """Return the GPUs of this node, from a probe of what is visible; where that holds slices, each is probed again."""
    result, named = read_probe(output), allocation.gpus_named(environment)
    if result is None:
        return VisibleGpus(None)
    selected = select_visible(listed, named)
    slices = _slices(selected, named, allocation.gpus_given(environment))
    if slices is not None:
        return _probe_slices(result, slices, probe_one, listed)
    if not result.gpus and not result.crash and selected and all(gpu.mode == PROHIBITED for gpu in selected):
        prohibited = tuple(Gpu(gpu.uuid, 0, 0, NOT_ALLOWED, gpu.mode) for gpu in selected)
        names = tuple(gpu.index for gpu in selected)
        return VisibleGpus(dataclasses.replace(result, gpus=prohibited), names, len(names))
    all_names = [str(number) for number in range(len(result.gpus))] if named is None else named
    gpus = tuple(_with_mode(gpu, name, listed) for name, gpu in zip(all_names, result.gpus, strict=False))
    # the variable may name more than there are
    return VisibleGpus(dataclasses.replace(result, gpus=gpus), tuple(all_names[: len(gpus)]), len(gpus))


def _slices(
    selected: Sequence[ListedGpu], named: Sequence[str] | None, given: int | None
) -> list[tuple[str, ...]] | None:
    """Return, for each GPU or slice that is visible, its slices' UUIDs, or its own name; None if none is partitioned.

    A single slice that is named is seen as it is.
    """
    if named is None:
        found = [gpu.slices or (gpu.uuid,) for gpu in selected]
        cut = found[:given] if given else found  # a site that does not confine devices: others may be another job's
        return cut if any(gpu.slices for gpu in selected) else None
    by_name = {name: gpu.slices for name in named for gpu in selected if gpu.is_named(name) and gpu.slices}
    if not by_name and (len(named) == 1 or not any(name.startswith("MIG-") for name in named)):
        return None
    return [by_name.get(name, (name,)) for name in named]


def _probe_slices(
    result: ProbeResult,
    slices: Sequence[tuple[str, ...]],
    probe_one: Callable[[str], PythonOutput],
    listed: Sequence[ListedGpu],
) -> VisibleGpus:
    names = [name for own in slices for name in own]
    with ThreadPoolExecutor(PARALLEL_PROBES) as pool:
        gpus = tuple(pool.map(lambda name: _with_mode(_only_gpu(name, probe_one(name)), name, listed), names))
    return VisibleGpus(ProbeResult(result.cuda, gpus), tuple(names), len(slices), split=True)


def _only_gpu(name: str, output: PythonOutput) -> Gpu:
    """Return the GPU or slice that was probed alone."""
    result = read_probe(output)
    if result is not None and result.gpus:
        return result.gpus[0]
    error = output.error if result is None else result.crash or result.reason
    return Gpu(name, 0, 0, error or UNSEEN)


def _with_mode(gpu: Gpu, name: str, listed: Sequence[ListedGpu]) -> Gpu:
    mode = next((one.mode for one in listed if one.is_named(name) or name in one.slices), "")
    return dataclasses.replace(gpu, mode=mode, wrong=NOT_ALLOWED if mode == PROHIBITED else gpu.wrong)
