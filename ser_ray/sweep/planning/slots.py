"""Count the trials that run at once on given nodes, from the resources that a trial takes."""

import math
from collections.abc import Iterable

from ser_ray.sweep.spec.config import Resources


def slots(nodes: Iterable[tuple[float, float]], cpus: float, gpus: float) -> int:
    """Count the trials that run at once, each within one node and, with a share of a GPU, within one GPU.

    Args:
        nodes: (CPU cores, GPUs) of each node.
        cpus: cores of a trial, above 0.
        gpus: share of a GPU, or whole GPUs; 0 for none.
    """
    return sum(int(min(there / cpus, _on_gpus(there_gpus, gpus))) for there, there_gpus in nodes)


def at_once_on_a_gpu(gpus: float, trials: int) -> int:
    """Count how many of `trials` share one GPU, each with an equal share of at least `gpus`.

    Whole GPUs, or 0 for none, count as one whole GPU. Fewer trials than fit have larger shares.
    """
    return max(1, min(int(_on_gpus(1, min(gpus or 1.0, 1.0))), trials))


def search_actors(asked: int | None, cpus: float, training: float) -> int:
    """Compute how many processes search post-processing: as many as requested, else the cores that trials leave.

    It is at least one. `cpus` are the cores of all nodes together, `training` those that trials take.
    """
    return asked or max(1, int(cpus - training))


def taken(resources: Resources, gpus: float) -> tuple[float, float]:
    """Return the cores and GPUs that a trial takes; `gpus` is the number of GPUs on all nodes together.

    Without a GPU it takes one core, since it trains in one thread.
    """
    if gpus and resources.gpus:
        return float(resources.cpus), float(resources.gpus)
    return 1.0, 0.0


def _on_gpus(there: float, gpus: float) -> float:
    if not gpus:
        return math.inf
    return int(there / gpus) if gpus >= 1 else int(there) * int(1 / gpus)
