"""Runs a command as this process, with signals handled from the start and user errors printed without traceback."""

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

from ser_ray.errors import InputError
from ser_ray.plain_text import escaped
from ser_ray.shadows import report_shadowing

EXIT_INPUT_WRONG, EXIT_INTERRUPTED = 2, 75

Command = Callable[[Sequence[str] | None], int]
"""Takes arguments (None: those of this process) and returns an exit code."""


def guarded(command: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; print an InputError (2) or an interruption (75) as one message."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of characters that an ASCII or 8-bit terminal lacks
    try:
        try:
            return command(argv)
        except InputError as error:
            print(f"error: {escaped(str(error))}", file=sys.stderr)
            return EXIT_INPUT_WRONG
        except KeyboardInterrupt as interrupt:
            name = str(interrupt) if isinstance(interrupt, SignalInterrupt) else "SIGINT"
            print(f"ended before it was done, as {name} asked for; run the same command again", file=sys.stderr)
            return EXIT_INTERRUPTED
        finally:
            print(end="", flush=True)  # a closed pipe raises here; at exit it could not be caught
    except BrokenPipeError:
        # the reader (head, less) is gone; Python would print another error when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run(command: Command, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command that signals may interrupt at any time, and exit with its code."""
    raise_on_signals()
    report_shadowing()
    try:
        code = guarded(command, argv)
    except KeyboardInterrupt:  # between two lines of `guarded`
        code = EXIT_INTERRUPTED
    ignore_signals()
    if any(getattr(thread, "left_behind", False) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a thread that is stuck in a library would hold up the exit, or break it
    sys.exit(code)


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
