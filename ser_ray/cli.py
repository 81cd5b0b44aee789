"""The door: hands each command to its room, importing it only then; says the user's mistakes without traceback."""

import importlib
import io
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from ser_ray import __version__
from ser_ray.errors import InputError
from ser_ray.plain_text import escaped
from ser_ray.shadows import name_shadows
from ser_ray.signals import AskedToEnd, ignore_signals, raise_on_signals

COMMANDS = {
    "sweep": ("ser_ray.sweep.command", "run a sweep file, or go on with it"),
    "submit": ("ser_ray.slurm.submit", "a sweep's time and the sbatch line for it; with --go it is submitted"),
    "status": ("ser_ray.report.status", "where a sweep stands, from its files alone"),
    "leaderboard": ("ser_ray.report.leaderboard", "a sweep's configurations, best first"),
    "logs": ("ser_ray.report.logs", "what a trial printed"),
    "report": ("ser_ray.report.__main__", "a page with a sweep's figures and tables"),
    "postprocess": ("ser_ray.sweep.running.search_again", "search a sweep's post-processing again, without training"),
    "reproduce": ("ser_ray.reproduce", "train one trial again, as it was trained, and compare"),
    "corpus": ("ser_ray.corpus.__main__", "make, import, describe or check a corpus"),
    "doctor": ("ser_ray.doctor.__main__", "whether this machine, or a node of a job, is fit to run sweeps"),
    "predict": ("ser_ray.predict", "a trained model's predictions for audio files"),
}
"""Command -> the module whose `main` it is, and what it does."""

EXIT_INPUT_WRONG, EXIT_INTERRUPTED = 2, 75


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of `ser-ray` and return its exit code.

    Args:
        argv: the arguments after `ser-ray`; None takes those of this process.

    Returns:
        The exit code: 2 if the input is wrong.
    """
    name_shadows()
    return guarded(_dispatch, sys.argv[1:] if argv is None else argv)


def _dispatch(argv: Sequence[str] | None) -> int:
    arguments = list(argv or ())
    if arguments[:1] == ["--version"]:
        print(f"ser_ray {__version__}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else EXIT_INPUT_WRONG
    if arguments[0] not in COMMANDS:
        raise InputError(f"no command {arguments[0]!r}\n\n{_usage()}")
    module, _ = COMMANDS[arguments[0]]
    command: Callable[[Sequence[str] | None], int] = importlib.import_module(module).main
    return command(arguments[1:])


def guarded(command: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a command; print an InputError, or that it was asked to end, as one message and return its exit code.

    Args:
        command: takes the arguments and returns an exit code.
        argv: the arguments; None lets the command take those of this process.

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


def _replace_what_cannot_be_shown() -> None:
    """Let an ASCII or 8-bit terminal show what it has no sign for as an escape, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(command: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run a command as this process and exit with its code: what `python -m ser_ray.<room>` does.

    Args:
        command: takes the arguments and returns an exit code.
    """
    _exit_with(lambda: guarded(command))


def start(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command of `ser-ray` as this process, and exit with its code.

    Args:
        argv: the arguments after `ser-ray`; None takes those of this process.
    """
    _exit_with(lambda: main(argv))


def _exit_with(command: Callable[[], int]) -> NoReturn:
    """Run a command that may be asked to end at any time, before it is loaded and after it is done."""
    raise_on_signals()
    try:
        code = command()
    except KeyboardInterrupt:  # between two lines of the door
        code = EXIT_INTERRUPTED
    ignore_signals()
    if any(getattr(thread, "left_behind", False) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a thread that is stuck in a library would hold up the exit, or break it
    sys.exit(code)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  ser-ray {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: ser-ray COMMAND ...", "", *lines, "", "`ser-ray COMMAND --help` tells more."])
