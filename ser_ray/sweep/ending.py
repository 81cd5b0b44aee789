"""Whether a run is to end before its plan, why, and how: saved, or at once."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
"""A keyboard's; a scheduler's, in several customs; and that of a terminal which is closed."""
MAKE_ROOM = "results cannot be written: make room, and run the same command again"
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
        self.go.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the file; the run is over."""
        self.go.unlink(missing_ok=True)


@contextlib.contextmanager
def on_signals(ending: Ending) -> Iterator[None]:
    """Take the first signal for the wish to end, and a later one for the wish to end at once.

    Args:
        ending: told of it.

    Raises:
        KeyboardInterrupt: in the main thread, on a later signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
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
    try:
        for number in before:
            signal.signal(number, taken)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
