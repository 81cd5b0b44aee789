"""List the GPUs and MIG slices of this node, by nvidia-smi and as PyTorch sees them, with their names in CUDA.

A CUDA process sees at most one MIG slice: the first one named, or the first slice of a partitioned GPU that is named as
a whole. So each slice is probed by a separate process, under its UUID.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ser_ray import allocation
from ser_ray.gpus.run_python import PythonOutput, run_python

PROGRAM = "nvidia-smi"
TIMEOUT_S = 30.0
EXCLUSIVE, PROHIBITED = "Exclusive_Process", "Prohibited"
"""Compute modes that allow one process at a time, and none at all. In any other mode, processes share a GPU."""


@dataclass(frozen=True)
class ListedGpu:
    """A GPU in the list of nvidia-smi."""

    index: str  # also in CUDA_VISIBLE_DEVICES
    uuid: str  # such as GPU-8f2a...
    mode: str = ""  # compute mode; empty where it is not known
    slices: tuple[str, ...] = ()  # UUIDs of its MIG slices, such as MIG-5b1c...; empty if it is not partitioned

    def is_named(self, name: str) -> bool:
        """Return whether a name in CUDA_VISIBLE_DEVICES refers to this GPU: its number or a prefix of its UUID."""
        return name == self.index or (name.startswith("GPU-") and self.uuid.startswith(name))


def list_gpus() -> tuple[ListedGpu, ...]:
    """List the GPUs that nvidia-smi reports; none where it is not installed or does not answer."""
    if shutil.which(PROGRAM) is None:
        return ()
    modes = dict(
        re.findall(r"^(GPU-[^,\s]+), *(\S+)", _output("--query-gpu=uuid,compute_mode", "--format=csv,noheader"), re.M)
    )
    found: list[ListedGpu] = []
    for line in _output("-L").splitlines():
        gpu = re.match(r"GPU (\d+):.*\(UUID: (GPU-[^)]+)\)", line)
        mig_slice = re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)
        if gpu:
            found.append(ListedGpu(gpu[1], gpu[2], modes.get(gpu[2], "")))
        elif mig_slice and found:
            last = found.pop()
            found.append(ListedGpu(last.index, last.uuid, last.mode, (*last.slices, mig_slice[1])))
    return tuple(found)


def select_visible(listed: Sequence[ListedGpu], visible: Sequence[str] | None) -> list[ListedGpu]:
    """Select the GPUs that CUDA_VISIBLE_DEVICES names, entirely or by a slice; all where it is not set."""
    if visible is None:
        return list(listed)
    return [gpu for gpu in listed if any(gpu.is_named(name) or name in gpu.slices for name in visible)]


def _output(*arguments: str) -> str:
    try:
        return subprocess.run(
            [PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


PARALLEL_PROBES = 4
"""Slices probed at the same time; each process imports PyTorch and temporarily takes a gigabyte of memory."""
UNSEEN = "PyTorch does not see it"
NOT_ALLOWED = "its compute mode is prohibited: no process may compute on it"


@dataclass(frozen=True)
class Gpu:
    """A GPU as PyTorch sees it: total and free bytes of memory, and its problem (None if it computes correctly)."""

    name: str
    total: int
    free: int
    wrong: str | None
    mode: str = ""  # compute mode as nvidia-smi names it; empty if unknown


@dataclass(frozen=True)
class ProbeResult:
    """Result of a probe."""

    cuda: str | None  # CUDA version that PyTorch was built for; None if it was built without CUDA
    gpus: tuple[Gpu, ...] = ()  # all that PyTorch sees
    reason: str | None = None  # PyTorch's message if it sees none
    crash: str | None = None  # failure of the probing process, if any

    @property
    def reason_for_none(self) -> str | None:
        """Reason why PyTorch sees no GPU, in one line; None if unknown."""
        if self.crash:
            return f"the process that tested them failed: {self.crash}"
        if self.cuda is None:
            return "this PyTorch was built without CUDA"
        return self.reason.split(". ")[0] if self.reason else None  # CUDA's message continues with advice


@dataclass(frozen=True)
class VisibleGpus:
    """GPUs of this node that PyTorch sees."""

    result: ProbeResult | None  # None if PyTorch could not be imported
    names: tuple[str, ...] = ()  # names in CUDA_VISIBLE_DEVICES of the GPUs in `result`
    whole: int = 0  # number of GPUs; the slices of a GPU that was given as a whole count as one
    split: bool = False  # whether slices, probed one by one, replace GPUs that were visible before

    @property
    def working(self) -> tuple[str, ...]:
        """Names of the GPUs that compute correctly."""
        gpus = self.result.gpus if self.result is not None else ()
        return tuple(name for name, gpu in zip(self.names, gpus, strict=True) if gpu.wrong is None)


def probe(visible: str | None = None) -> PythonOutput:
    """Probe the GPUs that `visible` names in a separate process; by default those visible to this process."""
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return run_python("-m", "ser_ray.gpus.probe", variables=variables)


def read_probe(output: PythonOutput) -> ProbeResult | None:
    """Parse the output of a probe; None if it could not import PyTorch."""
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
    """Find the GPUs of this node from the output of `probe`; if some are partitioned, probe each slice."""
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
    # CUDA_VISIBLE_DEVICES may name more GPUs than there are
    return VisibleGpus(dataclasses.replace(result, gpus=gpus), tuple(all_names[: len(gpus)]), len(gpus))


def _slices(
    selected: Sequence[ListedGpu], named: Sequence[str] | None, given: int | None
) -> list[tuple[str, ...]] | None:
    """Return, for each visible GPU or slice, its slices' UUIDs or else its own name; None if none is partitioned."""
    if named is None:
        found = [gpu.slices or (gpu.uuid,) for gpu in selected]
        cut = found[:given] if given else found  # where the site does not confine devices, others may be another job's
        return cut if any(gpu.slices for gpu in selected) else None
    by_name = {name: gpu.slices for name in named for gpu in selected if gpu.is_named(name) and gpu.slices}
    if not by_name and (len(named) == 1 or not any(name.startswith("MIG-") for name in named)):
        return None  # also for a single named slice, which needs no further probe
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
    """Return the result for a GPU or slice that was probed by itself."""
    result = read_probe(output)
    if result is not None and result.gpus:
        return result.gpus[0]
    error = output.error if result is None else result.crash or result.reason
    return Gpu(name, 0, 0, error or UNSEEN)


def _with_mode(gpu: Gpu, name: str, listed: Sequence[ListedGpu]) -> Gpu:
    mode = next((one.mode for one in listed if one.is_named(name) or name in one.slices), "")
    return dataclasses.replace(gpu, mode=mode, wrong=NOT_ALLOWED if mode == PROHIBITED else gpu.wrong)
