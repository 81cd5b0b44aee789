"""Options of a run."""

from dataclasses import dataclass

from ser_ray.sweep.nodes.heartbeat import WHOLE, Share
from ser_ray.sweep.nodes.rendezvous import Rendezvous


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options for running a plan."""

    command: str = ""  # for the head of sweep.yaml
    retry_failed: bool = False
    share: Share = WHOLE  # other drivers may run the other shares at the same time
    rendezvous: Rendezvous | None = None  # of the nodes of a job
    tensorboard: bool = False
