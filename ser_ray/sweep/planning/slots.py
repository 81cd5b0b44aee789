"""How many trials run at once on given nodes: what a trial takes of a node, and how often that fits."""

import math
from collections.abc import Iterable

from ser_ray.sweep.spec.config import Resources


def slots(nodes: Iterable[tuple[float, float]], cpus: float, gpus: float) -> int:
    """Return how many trials run at once that take so many cores and GPUs each, none across nodes or GPUs.

    Args:
        nodes: (CPU cores, GPUs) of each node.
        cpus: cores of a trial, above 0.
        gpus: share of a GPU, or whole GPUs; 0 for none.
    """
    return sum(int(min(there / cpus, _on_gpus(there_gpus, gpus))) for there, there_gpus in nodes)


def at_once_on_a_gpu(gpus: float, trials: int) -> int:
    """Return how many of `trials` share one GPU, each with an equal part of it that is at least `gpus`.

    Whole GPUs, or 0 for none, count as a whole one. Fewer trials than there is room for have larger shares.
    """
    return max(1, min(int(_on_gpus(1, min(gpus or 1.0, 1.0))), trials))


def search_actors(asked: int | None, cpus: float, training: float) -> int:
    """Return how many processes may search post-processing: those asked for, else the cores that trials leave.

    At least one. `cpus` are the cores of all nodes together, `training` those that trials take.
    """
    return asked or max(1, int(cpus - training))


def taken(resources: Resources, gpus: float) -> tuple[float, float]:
    """Return the cores and GPUs that a trial takes, where there are so many GPUs on all nodes together.

    Without a GPU it takes one core, since it trains in one thread.
    """
    if gpus and resources.gpus:
        return float(resources.cpus), float(resources.gpus)
    return 1.0, 0.0


def _on_gpus(there: float, gpus: float) -> float:
    if not gpus:
        return math.inf
    return int(there / gpus) if gpus >= 1 else int(there) * int(1 / gpus)
