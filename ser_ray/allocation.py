"""Resources that the system and SLURM give this process, and the folder for its short-lived files."""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
TEMPORARY = Path("/tmp")  # not TMPDIR, whose path may be long
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of flock on file systems of clusters without locks (Lustre without -o flock, NFS without lockd)."""
GPU_DEVICES = ("dev/nvidia[0-9]*", "dev/kfd", "usr/lib/wsl/lib/libcuda.so.1")
"""Files of a machine with a GPU that PyTorch may be able to use: NVIDIA's, AMD's, NVIDIA's under Windows."""


def cpus(environment: Mapping[str, str] = os.environ, own: Path = Path("/proc/self/cgroup")) -> int:
    """Count the CPU cores that this process may use: the least that affinity, control groups and SLURM allow.

    At least 1. Where SLURM does not bind its jobs to cores, its own count is the only sign of the allocation. `own` is
    the file that lists the control groups of this process.
    """
    least = len(os.sched_getaffinity(0))
    for quota in _quotas(own):
        least = min(least, int(quota))
    given = slurm_number("SLURM_CPUS_ON_NODE", environment)
    return max(1, least if given is None else min(least, given))


def gpus_given(environment: Mapping[str, str] = os.environ) -> int | None:
    """Count the GPUs of this node that SLURM gave the job; None if SLURM does not mention GPUs."""
    listed = environment.get("SLURM_JOB_GPUS", "")
    count = slurm_number("SLURM_GPUS_ON_NODE", environment)
    return len(listed.split(",")) if count is None and listed else count


def gpus_named(environment: Mapping[str, str] = os.environ) -> tuple[str, ...] | None:
    """Read the numbers or UUIDs of GPUs from CUDA_VISIBLE_DEVICES; None if it is not set.

    As in CUDA, names after an invalid one, such as -1 or SLURM's NoDevFiles, do not count.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",")]
    invalid = (n for n, name in enumerate(names) if not (name.isdecimal() or name.startswith(("GPU-", "MIG-"))))
    return tuple(names[: next(invalid, len(names))])


def has_gpu_devices(root: Path = Path("/")) -> bool:
    """Check this machine for a GPU's device file, without calling a driver; PyTorch may not be able to use the GPU."""
    return any(next(root.glob(pattern), None) is not None for pattern in GPU_DEVICES)


def nodes(environment: Mapping[str, str] = os.environ) -> int:
    """Count the nodes of the SLURM job; 1 outside a job."""
    count = slurm_number("SLURM_JOB_NUM_NODES", environment)
    return 1 if count is None else count


def slurm_number(name: str, environment: Mapping[str, str] = os.environ) -> int | None:
    """Read a number from a SLURM variable; None if it is not set or not a number."""
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None


def temporary(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for short-lived files on this node's own disk: SER_RAY_TMP, or /tmp."""
    return Path(environment.get("SER_RAY_TMP") or TEMPORARY)


def machine_memory_bytes() -> int:
    """Return this machine's memory in bytes; this process may be limited to less."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_limit_bytes(own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Find the lowest memory limit of this process's control groups, in bytes; None if there is none."""
    limits = []
    for folder in (*_groups(own, ""), *_groups(own, "memory")):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdecimal() and int(text) < 2**60:  # version 1 writes a number near 2^63 for "no limit"
                limits.append(int(text))
    return min(limits, default=None)


def _quotas(own: Path) -> list[float]:
    """Return the CPU limits of the control groups, in cores."""
    texts = [_read(folder / "cpu.max").partition(" ")[::2] for folder in _groups(own, "")]
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    texts += [(_read(folder / names[0]), _read(folder / names[1])) for folder in _groups(own, "cpu")]
    return [int(quota) / int(period) for quota, period in texts if quota.isdecimal() and period.isdecimal()]


def _groups(own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, innermost first; controller "" means version 2."""
    for line in _read(own).splitlines():
        _, controllers, group = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        root = CGROUPS / (controllers or "unified")
        if not root.is_dir():
            root = CGROUPS / controller  # some systems name the folder differently and link each controller to it
        inner = root / group.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
