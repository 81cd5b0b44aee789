"""How a training is watched from outside: signs of life, a wish that it ends, and how much of it may be lost."""

from collections.abc import Callable
from dataclasses import dataclass


class TrainingInterruptedError(RuntimeError):
    """A training that was asked to end; it is saved and goes on from there."""


def _nothing() -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Supervision:
    """What a training tells and asks while it runs.

    Args:
        alive: called after every step and every chunk of evaluation.
        stop: asked as often; once it is true the training is saved and raises TrainingInterruptedError.
        save_every_s: the training is saved within an epoch, too, when so many seconds have passed since it last was.
        say: takes a line for the trial's log.
    """

    alive: Callable[[], None] = _nothing
    stop: Callable[[], bool] = _never
    save_every_s: float = 600.0
    say: Callable[[str], None] = print
