"""Watch a training and end it from outside: its callbacks, and the errors by which it ends early."""

from collections.abc import Callable
from dataclasses import dataclass


class TrainingDivergedError(RuntimeError):
    """A training whose loss became NaN, infinite or absurdly large."""


class TrainingInterruptedError(RuntimeError):
    """A training that ended on a stop request; it is saved and can resume from there."""


@dataclass(frozen=True)
class Supervision:
    """Callbacks by which a training is monitored and stopped from outside.

    Args:
        alive: called after every step and every chunk of evaluation.
        stop: called as often; once it returns true, the training is saved and raises TrainingInterruptedError.
        save_every_s: seconds after which the training is saved again, also within an epoch.
        log: writes a line to the trial's log.
    """

    alive: Callable[[], None] = lambda: None
    stop: Callable[[], bool] = lambda: False
    save_every_s: float = 600.0
    log: Callable[[str], None] = print
