"""What this process may use of its machine, as the system and SLURM say it, and where short-lived files go."""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
TEMPORARY = Path("/tmp")  # not TMPDIR, whose path may be long
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What file systems of clusters say to flock that know no locks (Lustre without -o flock, NFS without lockd)."""
GPU_DEVICES = ("dev/nvidia[0-9]*", "dev/kfd", "usr/lib/wsl/lib/libcuda.so.1")
"""What a machine with a GPU that PyTorch may be able to use has: NVIDIA's, AMD's, NVIDIA's under Windows."""


def cpus(environment: Mapping[str, str] = os.environ, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many CPU cores this process may use: the least that affinity, control group and SLURM allow.

    Args:
        environment: of the process.
        own: the file that says in which control groups it is.

    Returns:
        At least 1. Where SLURM does not bind its jobs to cores, its own count is the only sign of what was given.
    """
    least = len(os.sched_getaffinity(0))
    for quota in _quotas(own):
        least = min(least, int(quota))
    given = environment.get("SLURM_CPUS_ON_NODE", "")
    if given.isdecimal():
        least = min(least, int(given))
    return max(1, least)


def gpus_given(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return how many GPUs of this node SLURM gave the job, or None where it says nothing of GPUs.

    Args:
        environment: of the process.
    """
    count = environment.get("SLURM_GPUS_ON_NODE", "")
    if count.isdecimal():
        return int(count)
    listed = environment.get("SLURM_JOB_GPUS", "")
    return len(listed.split(",")) if listed else None


def gpus_named(environment: Mapping[str, str] = os.environ) -> tuple[str, ...] | None:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, by number or UUID; None where it is not set.

    Args:
        environment: of the process.

    Returns:
        As CUDA reads it: what stands behind a name of nothing, such as -1 or SLURM's NoDevFiles, does not count.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",")]
    nothing = (n for n, name in enumerate(names) if not (name.isdecimal() or name.startswith(("GPU-", "MIG-"))))
    return tuple(names[: next(nothing, len(names))])


def has_gpu_devices(root: Path = Path("/")) -> bool:
    """Return whether this machine has a device that may be a GPU, whatever PyTorch can do with it; asks no driver.

    Args:
        root: of the file system.
    """
    return any(next(root.glob(pattern), None) is not None for pattern in GPU_DEVICES)


def nodes(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many nodes the job has; 1 outside of one.

    Args:
        environment: of the process.
    """
    count = environment.get("SLURM_JOB_NUM_NODES", "")
    return int(count) if count.isdecimal() else 1


def temporary(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder on this node's own disk in which short-lived files go: SER_RAY_TMP, or /tmp.

    Args:
        environment: of the process.
    """
    return Path(environment.get("SER_RAY_TMP") or TEMPORARY)


def memory_limit_bytes(own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the least memory limit of the control groups of this process; None if there is none.

    Args:
        own: the file that says in which control groups it is.
    """
    limits = []
    for folder in (*_groups(own, ""), *_groups(own, "memory")):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdecimal() and int(text) < 2**60:  # version 1 says none by a number near 2^63
                limits.append(int(text))
    return min(limits, default=None)


def _quotas(own: Path) -> Iterator[float]:
    """Yield how many cores' time each control group allows that limits it."""
    for folder in _groups(own, ""):
        allowed, _, period = _read(folder / "cpu.max").partition(" ")
        if allowed.isdecimal() and period.isdecimal():
            yield int(allowed) / int(period)
    for folder in _groups(own, "cpu"):
        allowed, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if allowed.isdecimal() and period.isdecimal():
            yield int(allowed) / int(period)


def _groups(own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, innermost first; of version 2 for the controller ""."""
    for line in _read(own).splitlines():
        _, controllers, group = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        root = CGROUPS / (controllers or "unified")
        if not root.is_dir():
            root = CGROUPS / controller  # some systems name the folder otherwise, and link each controller to it
        inner = root / group.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
