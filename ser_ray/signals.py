"""The signals that ask a process to end, and how a command takes them from its first moment to its exit."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

KEYBOARD = signal.SIGINT
SCHEDULER = frozenset({signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP})
"""A scheduler's, in several customs, and that of a terminal which is closed."""
TOGETHER_S = 1.0
"""Signals so close to each other are one wish: what starts a program often passes on what the program got as well."""

Handler = Callable[[int, FrameType | None], None]


class AskedToEnd(KeyboardInterrupt):
    """A signal asked for the end of a command that had nothing to save; `str` is the signal's name."""


def raise_on_signals() -> None:
    """Have each signal that asks for the end raise `AskedToEnd` in the main thread, for as long as the process runs."""
    raised_at: float | None = None

    def taken(number: int, frame: FrameType | None) -> None:
        nonlocal raised_at
        if raised_at is None or time.monotonic() - raised_at > TOGETHER_S:
            raised_at = time.monotonic()
            raise AskedToEnd(signal.Signals(number).name)

    for number in _not_ignored():
        signal.signal(number, taken)


def take_again() -> None:
    """Put in the present handlers again, where a library has put its own below them, of which Python does not know.

    Ray's prints where the process stood, hands the signal on, and aborts the process three seconds later by an alarm.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _not_ignored():
            handler = signal.getsignal(number)
            if handler is not None:  # put in by C code before Python: whoever embeds Python has it so
                signal.signal(number, handler)
        signal.alarm(0)


def ignore_signals() -> None:
    """Ignore a scheduler's signals from now on: the exit code is known, and the process is about to end with it."""
    for number in SCHEDULER:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def taken_by(handler: Handler) -> Iterator[None]:
    """Have a handler take the signals that ask for the end; in another thread than the main one nothing changes.

    Args:
        handler: as for `signal.signal`.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _not_ignored()} if main else {}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _not_ignored() -> list[signal.Signals]:
    """Return the signals to take: one that whoever started this process ignores, as nohup does, stays ignored."""
    return [number for number in (KEYBOARD, *SCHEDULER) if signal.getsignal(number) is not signal.SIG_IGN]
