"""Check cores, memory and limits of this process, and the address by which other nodes reach this one."""

import os
import resource
import socket
from collections.abc import Iterator, Mapping, Sequence

from ser_ray import allocation
from ser_ray.doctor.finding import Finding, ok, size, warn

MEMORY_PER_CORE = 2e9
"""A core trains one trial. Besides PyTorch itself, a step takes at its peak 0.3 GB with the fused operation, and 2 GB
in plain PyTorch, which networks without a fused operation use. Not all trials reach their peak at once."""
LEAST_FILES = 4096
"""Below this limit of open files, Ray warns of failing connections (ray._private.worker)."""
RAY_RAISES_TO = 65536
"""A Ray started by a driver raises the limit itself, up to this value and the hard limit; `ray start` does not."""
LEAST_PROCESSES = 4096
"""Enough for 128 Ray workers; threads count, and each worker has about thirty."""
SITE_LIMITS = "in slurm/site.env"


def findings(gpus: int, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield the findings on this machine, given the number of working GPUs."""
    cores, nodes = allocation.cpus(environment), allocation.nodes(environment)
    yield check_cores(
        cores,
        in_machine=os.cpu_count() or 1,
        bound=len(os.sched_getaffinity(0)),
        given=allocation.slurm_number("SLURM_CPUS_ON_NODE", environment),
        requested=allocation.slurm_number("SLURM_CPUS_PER_TASK", environment),
        gpus=gpus,
    )
    yield check_memory(_memory(cores, environment), cores)
    yield check_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE), nodes=nodes)
    yield check_processes(*resource.getrlimit(resource.RLIMIT_NPROC))
    if nodes > 1:
        host = socket.gethostname()
        interfaces = [name for _, name in socket.if_nameindex() if name != "lo"]
        yield check_network(host, _addresses(host), environment.get("SER_RAY_INTERFACE"), interfaces)


def check_cores(
    usable: int, *, in_machine: int, bound: int, given: int | None, requested: int | None, gpus: int
) -> Finding:
    """Judge the number of usable cores.

    Args:
        usable: cores that this process may use under all limits.
        in_machine: cores of the machine.
        bound: cores to which this process is bound.
        given: cores that SLURM gave this step on this node; None outside of a job.
        requested: cores requested per task of the job; None if it requested none.
        gpus: number of working GPUs.
    """
    said = "" if given is None else f" (SLURM gave {given}, bound to {bound})"
    text = f"{usable} of {in_machine} can be used{said}"
    if given is not None and min(bound, given) < min(max(given, requested or 0), in_machine):
        return warn(
            "cores",
            f"{text}: the job step has fewer than its job",
            "srun --cpus-per-task=N, or export SRUN_CPUS_PER_TASK",
        )
    if gpus and usable < 2:
        return warn(
            "cores",
            f"{text}, beside {gpus} GPUs: trials wait for cores",
            "sbatch --cpus-per-task=N, two for each parallel trial",
        )
    if usable < min(bound, in_machine if given is None else given):
        return ok("cores", f"{text}; the control group limits it")
    return ok("cores", text)


def check_memory(memory: int, cores: int) -> Finding:
    """Judge the usable bytes of memory, given the number of cores."""
    text = f"{size(memory)}, {size(memory / cores)} per core"
    if memory < MEMORY_PER_CORE * cores:
        return warn(
            "memory",
            f"{text}: a trial on each core may need {size(MEMORY_PER_CORE)}",
            f"sbatch --mem-per-cpu={MEMORY_PER_CORE / 1e9:.0f}G, or a larger resources.cpus, for fewer parallel trials",
        )
    return ok("memory", text)


def check_open_files(soft: int, hard: int, *, nodes: int) -> Finding:
    """Judge the limit of open files; a hard limit of -1 means none."""
    name, fix = "files", f"ulimit -n {RAY_RAISES_TO} {SITE_LIMITS}"
    highest = RAY_RAISES_TO if hard == resource.RLIM_INFINITY else min(hard, RAY_RAISES_TO)
    if soft == resource.RLIM_INFINITY or soft >= LEAST_FILES:
        return ok(name, f"{_limit(soft)} may be open at once")
    if highest < LEAST_FILES:
        fix = f"have the hard limit raised to {RAY_RAISES_TO} (limits.conf, or sbatch --propagate=NONE), then {fix}"
        return warn(name, f"{_limit(soft)} may be open at once, at most {hard:,}: Ray's connections may fail", fix)
    if nodes > 1:
        return warn(name, f"{_limit(soft)} may be open at once: Ray's connections may fail", fix)
    return ok(name, f"{_limit(soft)} may be open at once, which Ray raises to {highest:,}")


def check_processes(soft: int, hard: int) -> Finding:
    """Judge the limit of the user's processes and threads; a hard limit of -1 means none."""
    text = f"{_limit(soft)} may run at once, threads included"
    if soft == resource.RLIM_INFINITY or soft >= LEAST_PROCESSES:
        return ok("processes", text)
    fix = f"have the hard limit raised above {LEAST_PROCESSES} (limits.conf), or sbatch --propagate=NONE"
    if hard == resource.RLIM_INFINITY or hard >= LEAST_PROCESSES:
        fix = f"ulimit -u {LEAST_PROCESSES * 4 if hard == resource.RLIM_INFINITY else hard} {SITE_LIMITS}"
    return warn("processes", f"{text}: each of Ray's workers takes about thirty", fix)


def check_network(host: str, addresses: Sequence[str], interface: str | None, interfaces: Sequence[str]) -> Finding:
    """Judge the address at which other nodes reach this one; `addresses` are the IPv4 addresses of its name."""
    if interface:
        if interface in interfaces:
            return ok("network", f"{host}, by the interface {interface}")
        text = f"{host} has no interface {interface}, to which SER_RAY_INTERFACE is set; it has {', '.join(interfaces)}"
        return warn(
            "network", text, "set SER_RAY_INTERFACE in slurm/site.env to an interface that all nodes have, or unset it"
        )
    if not interfaces:
        text = f"{host} has no network interface except the loopback"
        return warn("network", text, "exclude this node (sbatch --exclude), or run single-node jobs")
    known = ", ".join(addresses) or "without an IPv4 address"
    return ok("network", f"{host} is {known} by its name; the address on the route to the other nodes is used")


def _limit(value: int) -> str:
    return "any number" if value == resource.RLIM_INFINITY else f"{value:,}"


def _memory(cores: int, environment: Mapping[str, str]) -> int:
    """Return the bytes that the machine, the control groups and SLURM (which counts in MiB) all allow."""
    limits = [allocation.machine_memory_bytes(), allocation.memory_limit_bytes()]
    for_node = allocation.slurm_number("SLURM_MEM_PER_NODE", environment)
    for_core = allocation.slurm_number("SLURM_MEM_PER_CPU", environment)
    limits += [for_node * 2**20 if for_node else None, for_core * cores * 2**20 if for_core else None]
    return min(limit for limit in limits if limit is not None)


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return sorted({str(entry[4][0]) for entry in found})
