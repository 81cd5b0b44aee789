"""Wall-clock time: SLURM's ways to write it, how long trials take side by side, and the limit to ask for."""

import heapq
import math
import re
from collections.abc import Callable, Sequence

from ser_ray.errors import InputError
from ser_ray.sweep.nodes.gpu_shares import GpuShares

START_H = 0.05
"""Three minutes for what is no training: looking at the nodes, the start of Python and Ray from a cold file system."""
MARGIN = 1.5
QUARTER_S = 15 * 60
MOST_S = 24 * 3600
"""A job that reaches its limit saves and goes on; one that asks for more than a day waits long on most clusters."""

_CLOCK = re.compile(r"(\d+)(?::(\d+))?(?::(\d+))?")
_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?")
FORMS = "minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"


def read_time(text: str) -> int:
    """Return the seconds of a time as SLURM writes it.

    Args:
        text: in one of FORMS; as in SLURM, any field may be above 59.

    Raises:
        InputError: if it has another form, or is no time at all, which SLURM takes for no limit.
    """
    if text.isascii() and (clock := _CLOCK.fullmatch(text)):
        fields = [int(field) for field in clock.groups() if field is not None]
        hours, minutes, seconds = {1: (0, *fields, 0), 2: (0, *fields), 3: tuple(fields)}[len(fields)]
        days = 0
    elif text.isascii() and (whole := _DAYS.fullmatch(text)):
        days, hours, minutes, seconds = (int(field or 0) for field in whole.groups())
    else:
        raise InputError(f"--time is {text!r}, but must be {FORMS}, such as --time 4:00:00 for four hours")
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise InputError(f"--time is {text!r}, but must be above 0 ({FORMS}); leave it out to have it estimated")
    return total


def time_text(seconds: int) -> str:
    """Return a time as SLURM writes it: "04:30:00", or "1-04:30:00" from a day on.

    Args:
        seconds: at least 0.
    """
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days}-{h:02}:{m:02}:{s:02}" if days else f"{h:02}:{m:02}:{s:02}"


def wall_hours(hours: Sequence[float], slots: int) -> float:
    """Return how long trials take side by side, each beginning in its order where one ended first; start-up included.

    Args:
        hours: of each trial.
        slots: how many run at once, at least 1.
    """
    free = [0.0] * min(slots, len(hours))
    for one in hours:
        heapq.heapreplace(free, free[0] + one)
    return START_H + max(free, default=0.0)


def shared_wall_hours(trials: int, hours: Callable[[int, float], float], shares: GpuShares) -> float:
    """Return how long trials take that share GPUs, start-up included: each begins as soon as it finds a place.

    A trial has the share that a run would give it, larger where fewer trials wait than there is room for, and keeps it
    to its end.

    Args:
        trials: how many there are.
        hours: of a trial, given its number from 0 and its share of a GPU, or whole GPUs.
        shares: of GPUs that have room for one trial at least, with none given yet.
    """
    running: list[tuple[float, int]] = []
    now = end = 0.0
    for number in range(trials):
        while (share := shares.take(str(number), trials - number)) is None:
            now, ended = heapq.heappop(running)
            shares.release(str(ended))
        heapq.heappush(running, (now + hours(number, share), number))
        end = max(end, now + hours(number, share))
    return START_H + end


def limit_s(hours: float) -> int:
    """Return the limit to ask for: half as much again, in whole quarters of an hour, a day at most.

    Args:
        hours: that are expected.

    Returns:
        Seconds.
    """
    quarters = math.ceil(round(MARGIN * hours * 3600 / QUARTER_S, 6))
    return min(max(1, quarters) * QUARTER_S, MOST_S)
