"""What a run, and each of its workers, is told of how to do it."""

from dataclasses import dataclass
from pathlib import Path

from ser_ray.sweep.nodes.rendezvous import Meeting
from ser_ray.sweep.nodes.share import WHOLE, Share
from ser_ray.sweep.running.staging import Staging
from ser_ray.sweep.spec.config import Backend


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a plan is run.

    Args:
        command: that ran it, for the head of sweep.yaml.
        retry_failed: run trials again that failed before.
        share: what of the plan is run here; other drivers may run the other shares at the same time.
        meeting: where the nodes of a job meet, if the sweep runs on several.
        tensorboard: whether files for TensorBoard are written.
    """

    command: str = ""
    retry_failed: bool = False
    share: Share = WHOLE
    meeting: Meeting | None = None
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a worker trains a trial.

    Args:
        go: a file; when it is gone, the trial is saved and ends.
        silence_s: a process that gives no sign of life for so long is taken for hung, and ended.
        save_every_s: how much of a training may be lost.
        cpus: cores of a trial.
        backend: what computes the convolutional blocks.
        staging: where the corpus is copied to before it is read, if anywhere.
        verify_corpus: whether the corpus is compared with its hashes first.
    """

    go: Path
    silence_s: float
    save_every_s: float
    cpus: float = 1.0
    backend: Backend = "auto"
    staging: Staging | None = None
    verify_corpus: bool = False
