"""Options of a run and of its workers."""

from dataclasses import dataclass
from pathlib import Path

from ser_ray.models.config import Backend
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


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Options of a worker that trains a trial."""

    go_file: Path  # when it is removed, the trial is saved and ends
    silence_s: float  # a process without a sign of life for this long counts as hung and is ended
    save_every_s: float
    cpus: float = 1.0  # cores of a trial
    backend: Backend = "auto"
    local_copy: str | None = None  # folder for a local copy of the corpus; None reads it in place
    verify_corpus: bool = False
