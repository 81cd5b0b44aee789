"""Cores and GPUs of trials: what each gets of the nodes, and how many run at once.

Ray packs shares: at 0.25 each, six trials would fill one of four GPUs, take half of the second and leave two idle. So a
trial gets the largest share that still leaves a place for all other open trials, and Ray's packing does the rest: of
six trials on four GPUs, two get a GPU of their own and four get half a GPU.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_ray import allocation, provenance, triton_host
from ser_ray.errors import InputError
from ser_ray.gpus.visible import EXCLUSIVE, list_gpus, select_visible
from ser_ray.plain_text import counted
from ser_ray.sweep.nodes import mps
from ser_ray.sweep.spec.config import Resources

if TYPE_CHECKING:
    from ser_ray.sweep.nodes.cluster import Cluster

PARTS = 10_000
"""Parts of a GPU, Ray's resolution. Shares are counted in parts, since sums of fractions are not exact."""


def slots(nodes: Iterable[tuple[float, float]], cpus: float, gpus: float) -> int:
    """Count the trials that run at once, each within one node and, with a share of a GPU, within one GPU.

    Args:
        nodes: (CPU cores, GPUs) of each node.
        cpus: cores of a trial, above 0.
        gpus: share of a GPU, or whole GPUs; 0 for none.
    """
    count = 0
    for cores, there in nodes:
        fit = cores / cpus  # infinite where only the GPUs of a node are asked for
        if gpus:
            fit = min(fit, int(there / gpus) if gpus >= 1 else int(there) * int(1 / gpus))
        count += int(fit)
    return count


def taken(resources: Resources, gpus: float) -> tuple[float, float]:
    """Return the cores and GPUs that a trial takes; `gpus` is the number of GPUs on all nodes together.

    Without a GPU it takes one core, since it trains in one thread.
    """
    if gpus and resources.gpus:
        return float(resources.cpus), float(resources.gpus)
    return 1.0, 0.0


@dataclass(frozen=True)
class TrialResources:
    """A trial's cores, and its least share of a GPU or number of whole GPUs; 0 trains on the CPU."""

    cpus: float
    gpus: float


def trial_resources(asked: Resources, machines: "Cluster", log: Callable[[str], None]) -> TrialResources:
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
    # under the service, all trials compute through one process
    if asked.gpus < 1 and not mps.is_running() and _gpus_are_exclusive():
        log(
            f"GPU       in exclusive process mode, which allows one process: each trial gets a whole GPU instead of "
            f"{asked.gpus:g}; to share GPUs, set resources.mps: true or the default mode (nvidia-smi -c 0)"
        )
        asked = dataclasses.replace(asked, gpus=1.0)
    most = max((int(cpus) for cpus, gpus in machines.nodes if gpus >= asked.gpus), default=0)
    if provenance.job_id() is not None and 0 < most < cpus:
        cpus = float(most)
    at_once, by_gpus = (slots(machines.nodes, each, asked.gpus) for each in (cpus, 1e-9))
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


def _gpus_are_exclusive() -> bool:
    """Check whether a GPU of this node admits one process at a time, so that trials cannot share it."""
    return any(gpu.mode == EXCLUSIVE for gpu in select_visible(list_gpus(), allocation.gpus_named()))


def _in_words(nodes: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}" for cpus, gpus in sorted(set(nodes)))


@dataclass
class _Gpu:
    node: int
    free: int = PARTS
    trials: int = 0


@dataclass
class _Held:
    share: int
    gpu: int | None
    """Number of the GPU on which Ray puts it; None if it has to wait."""


class GpuShares:
    """The GPU shares that trials have, and the share that the next trial may have.

    `nodes` are (CPU cores, GPUs). Each trial has `cpus` cores and at least the share `least` of a GPU; a `least` of 1
    or more is a number of whole GPUs.
    """

    def __init__(self, nodes: Sequence[tuple[float, float]], cpus: float, least: float) -> None:
        self._cpus, self._least = cpus, least
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._nodes, self._lost = tuple(nodes), 0

    @property
    def held(self) -> int:
        """Number of trials that have a share."""
        return len(self._held)

    @property
    def gpus(self) -> int:
        """Number of GPUs to share."""
        return max(0, sum(int(gpus) for _, gpus in self._nodes) - self._lost)

    def update(self, nodes: Sequence[tuple[float, float]]) -> None:
        """Set the nodes to those present now."""
        with self._lock:
            if tuple(nodes) != self._nodes:
                self._nodes = tuple(nodes)
                self._place_again()

    def set_aside(self) -> None:
        """Use one GPU fewer from now on."""
        with self._lock:
            self._lost += 1
            self._place_again()

    def take(self, key: str, waiting: int) -> float | None:
        """Give a trial the largest share that leaves one for the others waiting; None if none is free now.

        `waiting` counts the trials that wait for a share, including this one.
        """
        with self._lock:
            if self._least >= 1:
                if len(self._held) >= slots(self._nodes, self._cpus, self._least) - self._lost:
                    return None
                self._held[key] = _Held(0, None)
                return self._least
            share = self._next(waiting)
            if share is None:
                return None
            self._held[key] = _Held(share, self._best_fit(share))
            return share / PARTS

    def release(self, key: str) -> None:
        """Take back a trial's share, if it has one."""
        with self._lock:
            self._held.pop(key, None)

    def _next(self, waiting: int) -> int | None:
        gpus, cores = self._occupied()
        least, new = int(PARTS * self._least), [0] * len(gpus)
        for _ in range(waiting):  # each to the GPU with the fewest trials
            fits = [
                n for n, gpu in enumerate(gpus) if cores[gpu.node] >= self._cpus and gpu.free >= least * (new[n] + 1)
            ]
            if not fits:
                break
            fewest = min(fits, key=lambda n: gpus[n].trials + new[n])
            new[fewest] += 1
            cores[gpus[fewest].node] -= self._cpus
        # the largest first, since Ray puts each where it fits best
        return max((gpu.free // more for gpu, more in zip(gpus, new, strict=True) if more), default=None)

    def _best_fit(self, share: int) -> int | None:
        """Find the GPU on which Ray puts a share: the fullest of those where it fits."""
        gpus, cores = self._occupied()
        fits = [n for n, gpu in enumerate(gpus) if gpu.free >= share and cores[gpu.node] >= self._cpus]
        return min(fits, key=lambda n: gpus[n].free, default=None)

    def _place_again(self) -> None:
        """Assign all shares to GPUs anew, since GPUs came or went."""
        held, self._held = self._held, {}
        for key, one in held.items():
            self._held[key] = _Held(one.share, self._best_fit(one.share))

    def _occupied(self) -> tuple[list[_Gpu], list[float]]:
        """Return the GPUs with their occupation, and the free cores of each node."""
        gpus = [_Gpu(node) for node, (_, there) in enumerate(self._nodes) for _ in range(int(there))]
        gpus = gpus[: self.gpus]
        cores = [cpus for cpus, _ in self._nodes]
        for held in self._held.values():
            if held.gpu is not None:
                gpu = gpus[held.gpu]
                gpu.free -= held.share
                gpu.trials += 1
                cores[gpu.node] -= self._cpus
        return gpus, cores
