"""What NVIDIA's own program tells of the GPUs that this process may see: UUIDs, compute modes, and slices (MIG)."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

PROGRAM = "nvidia-smi"
ANSWER_S = 30.0
EXCLUSIVE, PROHIBITED = "Exclusive_Process", "Prohibited"
"""Compute modes: one process at a time, and none at all. In any other, processes share a GPU."""


@dataclass(frozen=True)
class ListedGpu:
    """A GPU as NVIDIA's program lists it.

    Args:
        index: its number there, and in CUDA_VISIBLE_DEVICES.
        uuid: its UUID, such as GPU-8f2a...
        mode: its compute mode; empty where that is not told.
        slices: UUIDs of the parts that it is cut into, such as MIG-5b1c...; none where it is whole.
    """

    index: str
    uuid: str
    mode: str = ""
    slices: tuple[str, ...] = ()

    def is_named(self, name: str) -> bool:
        """Return whether CUDA takes a name in CUDA_VISIBLE_DEVICES for this GPU: by number or by UUID, cut short."""
        return name == self.index or (name.startswith("GPU-") and self.uuid.startswith(name))


def listed_gpus() -> tuple[ListedGpu, ...]:
    """Return the GPUs that NVIDIA's program lists; none where it is not there, or does not answer."""
    if shutil.which(PROGRAM) is None:
        return ()
    modes = dict(
        re.findall(r"^(GPU-[^,\s]+), *(\S+)", _told("--query-gpu=uuid,compute_mode", "--format=csv,noheader"), re.M)
    )
    found: list[ListedGpu] = []
    for line in _told("-L").splitlines():
        whole = re.match(r"GPU (\d+):.*\(UUID: (GPU-[^)]+)\)", line)
        part = re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)
        if whole:
            found.append(ListedGpu(whole[1], whole[2], modes.get(whole[2], "")))
        elif part and found:
            last = found.pop()
            found.append(ListedGpu(last.index, last.uuid, last.mode, (*last.slices, part[1])))
    return tuple(found)


def named_gpus(listed: Sequence[ListedGpu], named: Sequence[str] | None) -> list[ListedGpu]:
    """Return those GPUs of which a process sees all or a slice.

    Args:
        listed: all.
        named: in CUDA_VISIBLE_DEVICES; None where it is not set.
    """
    if named is None:
        return list(listed)
    return [gpu for gpu in listed if any(gpu.is_named(name) or name in gpu.slices for name in named)]


def _told(*arguments: str) -> str:
    try:
        return subprocess.run(
            [PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
