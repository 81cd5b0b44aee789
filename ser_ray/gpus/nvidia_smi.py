"""List the GPUs of this node with nvidia-smi: UUIDs, compute modes, and MIG slices."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

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
