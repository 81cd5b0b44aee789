"""Runs a command as this process, with signals handled from the start and user errors printed without traceback."""

import io
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from ser_ray.errors import InputError
from ser_ray.plain_text import escaped
from ser_ray.shadows import report_shadowing
from ser_ray.signals import SignalInterrupt, ignore_signals, raise_on_signals

EXIT_INPUT_WRONG, EXIT_INTERRUPTED = 2, 75

Command = Callable[[Sequence[str] | None], int]
"""Takes arguments (None: those of this process) and returns an exit code."""


def guarded(command: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; print an InputError (2) or an interruption (75) as one message."""
    _escape_unencodable()
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


def _escape_unencodable() -> None:
    """Make stdout and stderr escape characters that an ASCII or 8-bit terminal lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
