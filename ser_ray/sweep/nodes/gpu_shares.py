"""Choose the share of a GPU for the next trial, so that no GPU idles while trials are open.

Ray packs shares: at 0.25 each, six trials would fill one of four GPUs, take half of the second and leave two idle. So a
trial gets the largest share that still leaves a place for all other open trials, and Ray's packing does the rest: of
six trials on four GPUs, two get a GPU of their own and four get half a GPU.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ser_ray.sweep.planning.slots import slots

PARTS = 10_000
"""Parts of a GPU, Ray's resolution. Shares are counted in parts, since sums of fractions are not exact."""


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
