"""Whether a run is to end before its plan, why, and how: saved, or at once."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ser_ray import provenance
from ser_ray.unwritable import is_unwritable

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
"""A keyboard's; a scheduler's, in several customs; and that of a terminal which is closed."""
HELD = frozenset({signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP})
"""Of these, those that a scheduler sends."""
MAKE_ROOM = "results cannot be written: make room or get leave to write, and run the same command again"
RAY_LOST = "Ray's process on this host was lost (killed, or out of memory?)"
TOGETHER_S = 1.0
"""Signals so close to each other are one wish: what starts a program often passes on what the program got as well."""


class Ending:
    """The wish that a run ends before its plan is done.

    Trials see it by a file that is gone: it can be removed on a disk that is full, and seen from every node.

    Args:
        go: the file; it is made here.
    """

    def __init__(self, go: Path) -> None:
        self.go = go
        go.parent.mkdir(parents=True, exist_ok=True)
        go.touch()
        self.reason: str | None = None
        self.asked_at = 0.0
        self.now = False

    @property
    def wanted(self) -> bool:
        """True once the run is to end."""
        return self.reason is not None

    @property
    def since(self) -> float:
        """Seconds since the run is to end."""
        return time.monotonic() - self.asked_at if self.wanted else 0.0

    def ask(self, reason: str, *, now: bool = False) -> None:
        """Have the run end: trials save what they have.

        Args:
            reason: why, in a few words; the first one counts.
            now: do not wait for anything.
        """
        if self.reason is None:
            self.asked_at, self.reason = time.monotonic(), reason
        if now and not self.now:
            self.asked_at, self.now = time.monotonic(), True
        if not self._remove() and not self.now:
            # trials do not see the wish, and could not save where even this cannot be written
            self.asked_at, self.now = time.monotonic(), True

    def close(self) -> None:
        """Remove the file, where it can be; the run is over."""
        self._remove()

    def _remove(self) -> bool:
        """Remove the file; return whether it is gone."""
        try:
            self.go.unlink(missing_ok=True)
        except OSError as error:
            if not is_unwritable(error):
                raise
            return False
        return True


def hold_signals() -> None:
    """In a scheduler's job, have processes started from now on not notice the signals that end a run.

    A scheduler sends its signals to all processes of a job at once. Those of the cluster would end before the trials
    have saved; it is this process that ends them, when that is done. `on_signals` takes what has come meanwhile.
    """
    if provenance.job_id() is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


@contextlib.contextmanager
def on_signals(ending: Ending) -> Iterator[Callable[[], None]]:
    """Take the first signal for the wish to end, and a later one for the wish to end at once.

    Args:
        ending: told of it.

    Yields:
        What is called where a library may have put in handlers of its own: it puts in these again.

    Raises:
        KeyboardInterrupt: in the main thread, on a later signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def taken(number: int, frame: object) -> None:
        if not ending.wanted:
            ending.ask(f"asked to end by {signal.Signals(number).name}")
        elif time.monotonic() - ending.asked_at > TOGETHER_S:
            ending.ask("", now=True)
            raise KeyboardInterrupt

    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    # one that whoever started us ignores, as nohup does, stays ignored
    before = {number: signal.getsignal(number) for number in known if signal.getsignal(number) is not signal.SIG_IGN}

    def take() -> None:
        for number in before:
            signal.signal(number, taken)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)

    try:
        take()
        yield take
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
