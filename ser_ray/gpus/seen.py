"""What PyTorch saw of the GPUs of a machine, as the probe tells it."""

import json
from dataclasses import dataclass

from ser_ray.gpus.asking import Answer


@dataclass(frozen=True)
class Gpu:
    """A GPU as PyTorch sees it.

    Args:
        name: its model.
        total: bytes of its memory.
        free: bytes of them that nothing uses.
        wrong: what it computes wrongly, or why it does not compute; None if it is right.
        mode: its compute mode, as NVIDIA's program tells it; empty where it does not.
    """

    name: str
    total: int
    free: int
    wrong: str | None
    mode: str = ""


@dataclass(frozen=True)
class Seen:
    """What PyTorch sees.

    Args:
        cuda: the CUDA version that it was built for; None for none.
        gpus: all that are visible.
        reason: why there are none, as it says it.
        crash: how the process that tried them ended, if not well.
    """

    cuda: str | None
    gpus: tuple[Gpu, ...] = ()
    reason: str | None = None
    crash: str | None = None

    @property
    def working(self) -> int:
        """How many compute what they should."""
        return sum(gpu.wrong is None for gpu in self.gpus)


def seen_by(probe: Answer) -> Seen | None:
    """Return what the probe saw; None if it could not import PyTorch.

    Args:
        probe: the answer of `ser_ray.gpus.probe`.
    """
    if not probe.lines:
        return None
    cuda = json.loads(probe.lines[0])["cuda"]
    if len(probe.lines) < 2:
        return Seen(cuda, crash=probe.error or "nothing was printed")
    tried = json.loads(probe.lines[1])
    return Seen(cuda, tuple(Gpu(**gpu) for gpu in tried["gpus"]), tried["reason"])
