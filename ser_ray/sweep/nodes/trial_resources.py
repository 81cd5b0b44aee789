"""The cores and the share of a GPU that each trial gets on a cluster."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_ray import allocation, provenance, triton_host
from ser_ray.errors import InputError
from ser_ray.gpus.visible import EXCLUSIVE, list_gpus, select_visible
from ser_ray.plain_text import counted
from ser_ray.sweep.nodes import mps
from ser_ray.sweep.planning.slots import taken
from ser_ray.sweep.spec.config import Resources

if TYPE_CHECKING:
    from ser_ray.sweep.nodes.cluster import Cluster


def gpus_are_exclusive() -> bool:
    """Check whether a GPU of this node admits one process at a time, so that trials cannot share it."""
    if mps.is_running():  # all compute through one process, the service
        return False
    return any(gpu.mode == EXCLUSIVE for gpu in select_visible(list_gpus(), allocation.gpus_named()))


@dataclass(frozen=True)
class TrialResources:
    """A trial's cores, and its least share of a GPU or number of whole GPUs; 0 trains on the CPU."""

    cpus: float
    gpus: float


def trial_resources(
    asked: Resources,
    machines: "Cluster",
    log: Callable[[str], None],
    exclusive: Callable[[], bool] = gpus_are_exclusive,
) -> TrialResources:
    """Choose the cores and the share of a GPU that each trial gets.

    Without a GPU a trial gets one core, since it trains in one thread. In a scheduler's job with fewer cores than a GPU
    trial requests, it gets the cores there are: the job has waited in a queue, and a GPU trial needs its cores for
    little. It is logged if a lack of cores leaves GPUs idle, or if trials get more of a GPU than requested.

    Raises:
        InputError: if no node has as much, so that trials would wait for ever, or if this node lacks what the fused
            back end needs on a GPU, so that each trial would fail.
    """
    cpus, share = taken(asked, machines.gpus)
    if not share:
        return TrialResources(cpus, share)
    if asked.backend == "fused":
        triton_host.refuse_fused()
    if asked.gpus < 1 and exclusive():
        log(
            f"GPU       in exclusive process mode, which allows one process: each trial gets a whole GPU instead of "
            f"{asked.gpus:g}; to share GPUs, set resources.mps: true or the default mode (nvidia-smi -c 0)"
        )
        asked = dataclasses.replace(asked, gpus=1.0)
    most = max((int(cpus) for cpus, gpus in machines.nodes if gpus >= asked.gpus), default=0)
    if provenance.job_id() is not None and 0 < most < cpus:
        cpus = float(most)
    at_once, by_gpus = machines.slots(cpus, asked.gpus), machines.slots(1e-9, asked.gpus)
    if not at_once:
        raise InputError(
            f"resources: a trial requests cpus {asked.cpus} and gpus {asked.gpus:g}, but no node has as many (nodes "
            f"have {_in_words(machines.nodes)}); request fewer, with --set resources.cpus=N or --set resources.gpus=N"
        )
    if at_once < by_gpus:
        log(
            f"CPUS      {counted(at_once, 'trial')} can run in parallel, although the GPUs have room for {by_gpus}: "
            f"the nodes have {_in_words(machines.nodes)}, and a trial gets {cpus:g} of the {asked.cpus} CPUs it "
            "requests; request more CPUs (sbatch --cpus-per-task=N), or use --set resources.cpus=1"
        )
    return TrialResources(cpus, float(asked.gpus))


def _in_words(nodes: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}" for cpus, gpus in sorted(set(nodes)))
