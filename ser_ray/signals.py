"""Signals that request a stop, and their handling by a command from its start to its exit."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

KEYBOARD = signal.SIGINT
SCHEDULER = frozenset({signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP})
"""Signals of various schedulers, and that of a closed terminal."""
TOGETHER_S = 1.0
"""Signals this close to each other count as one: a launcher often forwards a signal that the program also received."""

Handler = Callable[[int, FrameType | None], None]


class SignalInterrupt(KeyboardInterrupt):
    """Raised by a signal in a command that has nothing to save; `str` is the signal's name."""


def raise_on_signals() -> None:
    """Make each of these signals raise `SignalInterrupt` in the main thread, for as long as the process runs."""
    raised_at: float | None = None

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal raised_at
        if raised_at is None or time.monotonic() - raised_at > TOGETHER_S:
            raised_at = time.monotonic()
            raise SignalInterrupt(signal.Signals(number).name)

    for number in _not_ignored():
        signal.signal(number, handler)


def restore_handlers() -> None:
    """Reinstall Python's current signal handlers after a C library has replaced them without its knowledge.

    Ray's handler prints a stack trace, forwards the signal, and aborts the process three seconds later by an alarm.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _not_ignored():
            handler = signal.getsignal(number)
            if handler is not None:  # None: installed by C code that embeds Python
                signal.signal(number, handler)
        signal.alarm(0)


def ignore_signals() -> None:
    """Ignore a scheduler's signals from now on: the exit code is final, and the process is about to end."""
    for number in SCHEDULER:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def handle_signals(handler: Handler) -> Iterator[None]:
    """Handle these signals with `handler` inside the context; outside the main thread nothing changes."""
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
    """Return the signals to handle; those ignored when this process started, as with nohup, stay ignored."""
    return [number for number in (KEYBOARD, *SCHEDULER) if signal.getsignal(number) is not signal.SIG_IGN]
