"""Which share of a GPU the next trial gets, so that no GPU idles while trials are open.

Ray packs shares: at 0.25 each, six trials would fill one of four GPUs, take half of the second and leave two idle. So
a trial is given as much as it can have while all that are open still find a place, and Ray's packing does the rest: of
six on four GPUs two get a GPU of their own, and four a half.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ser_ray.sweep.planning.slots import slots

PARTS = 10_000
"""Of a GPU, which Ray tells apart. Shares are counted in them, since sums of fractions are not exact."""


@dataclass
class _Gpu:
    node: int
    free: int = PARTS
    trials: int = 0


@dataclass
class _Held:
    share: int
    gpu: int | None
    """Where Ray puts it; None if it has to wait."""


class GpuShares:
    """Shares of GPUs that trials hold, and what the next one may have.

    Nodes are (CPU cores, GPUs). Each trial has `cpus` cores and at least the share `least` of a GPU; from 1 on, `least`
    whole GPUs.
    """

    def __init__(self, nodes: Sequence[tuple[float, float]], cpus: float, least: float) -> None:
        self._cpus, self._least = cpus, least
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._nodes, self._lost = tuple(nodes), 0

    @property
    def held(self) -> int:
        """How many trials hold a share."""
        return len(self._held)

    @property
    def gpus(self) -> int:
        """How many GPUs there are to be shared."""
        return max(0, sum(int(gpus) for _, gpus in self._nodes) - self._lost)

    def update(self, nodes: Sequence[tuple[float, float]]) -> None:
        """Count on the nodes that there are now."""
        with self._lock:
            if tuple(nodes) != self._nodes:
                self._nodes = tuple(nodes)
                self._place_again()

    def set_aside(self) -> None:
        """Count on one GPU less from now on."""
        with self._lock:
            self._lost += 1
            self._place_again()

    def take(self, key: str, waiting: int) -> float | None:
        """Give a trial the largest share that leaves one for the others that wait; None if there is none now.

        `waiting` counts the trials that wait for a share, this one among them.
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
        """Take back what a trial held, if it held anything."""
        with self._lock:
            self._held.pop(key, None)

    def _next(self, waiting: int) -> int | None:
        gpus, cores = self._occupied()
        least, new = int(PARTS * self._least), [0] * len(gpus)
        for _ in range(waiting):  # each to the GPU that has the fewest
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
        """Return the GPU that Ray puts a share on: of those that it fits on, the fullest."""
        gpus, cores = self._occupied()
        fits = [n for n, gpu in enumerate(gpus) if gpu.free >= share and cores[gpu.node] >= self._cpus]
        return min(fits, key=lambda n: gpus[n].free, default=None)

    def _place_again(self) -> None:
        """Find places anew for what is held, since GPUs came or went."""
        held, self._held = self._held, {}
        for key, one in held.items():
            self._held[key] = _Held(one.share, self._best_fit(one.share))

    def _occupied(self) -> tuple[list[_Gpu], list[float]]:
        """Return the GPUs with what is held of them, and the cores that are left of each node."""
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
