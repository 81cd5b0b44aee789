"""Runs a command as this process: takes signals from its first moment on, says a user's mistakes without traceback."""

import io
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from ser_ray.errors import InputError
from ser_ray.plain_text import escaped
from ser_ray.shadows import report_shadowing
from ser_ray.signals import AskedToEnd, ignore_signals, raise_on_signals

EXIT_INPUT_WRONG, EXIT_INTERRUPTED = 2, 75

Command = Callable[[Sequence[str] | None], int]
"""Takes arguments, or None for those of this process, and returns an exit code."""


def guarded(command: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command; print an InputError, or that it was asked to end, as one message and return its exit code.

    Returns:
        The exit code: 2 if the input is wrong, 75 if the command was asked to end before it was done.
    """
    _replace_what_cannot_be_shown()
    try:
        try:
            return command(argv)
        except InputError as error:
            print(f"error: {escaped(str(error))}", file=sys.stderr)
            return EXIT_INPUT_WRONG
        except KeyboardInterrupt as asked:
            name = str(asked) if isinstance(asked, AskedToEnd) else "SIGINT"
            print(f"ended before it was done, as {name} asked for; run the same command again", file=sys.stderr)
            return EXIT_INTERRUPTED
        finally:
            print(end="", flush=True)  # here, where a reader that has gone can be noticed; at the exit it cannot
    except BrokenPipeError:
        # the reader (head, less) has seen enough; Python would complain once more when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run(command: Command, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command, which may be asked to end at any time, and exit with its code."""
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


def _replace_what_cannot_be_shown() -> None:
    """Let an ASCII or 8-bit terminal show what it has no sign for as an escape, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
