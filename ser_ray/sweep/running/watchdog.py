"""Watchdog for hung trials whose processes do not end by themselves: stopped, or stuck in a dead file system."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ser_ray.sweep.running.worker import HUNG

CACHED_S = 60.0
"""How long a network file system may show an old time of a file."""


@dataclass
class _Watched:
    log: Path
    kill: Callable[[], None]
    touched: int
    seen_at: float


class Watchdog:
    """Ends the processes of trials whose logs, touched every second, were not touched for too long.

    A hung process usually ends by itself after `silence_s` and logs its traceback; the watchdog is for those that
    cannot.
    """

    def __init__(self, silence_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = silence_s + min(CACHED_S, silence_s)
        self._clock = clock
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}

    def watch(self, key: str, log: Path, kill: Callable[[], None]) -> None:
        """Watch a trial from now on; `kill` ends its process."""
        with self._lock:
            self._watched[key] = _Watched(log, kill, _touched(log), self._clock())

    def forget(self, key: str) -> None:
        """Stop watching a trial."""
        with self._lock:
            self._watched.pop(key, None)

    def check(self) -> list[str]:
        """End the processes that were silent for too long, and return their trials' keys."""
        ended = []
        with self._lock:
            for key, trial in list(self._watched.items()):
                touched = _touched(trial.log)
                if touched != trial.touched:
                    trial.touched, trial.seen_at = touched, self._clock()
                elif self._clock() - trial.seen_at > self._limit_s:
                    del self._watched[key]
                    self._end(trial)
                    ended.append(key)
        return ended

    def _end(self, trial: _Watched) -> None:
        with contextlib.suppress(OSError), trial.log.open("a", encoding="utf-8") as log:
            log.write(f"{HUNG}no progress for {self._limit_s:.0f} s: its process is killed)\n")
        trial.kill()


def _touched(log: Path) -> int:
    try:
        return log.stat().st_mtime_ns
    except OSError:
        return 0
