"""The door: hands each command to its room, importing it only then; says the user's mistakes without traceback."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ser_ray import __version__
from ser_ray.errors import InputError
from ser_ray.shadows import name_shadows

COMMANDS = {
    "sweep": ("ser_ray.sweep.__main__", "run a sweep file, or go on with it"),
    "submit": ("ser_ray.slurm.submit", "a sweep's time and the sbatch line for it; with --go it is submitted"),
    "status": ("ser_ray.report.status", "where a sweep stands, from its files alone"),
    "leaderboard": ("ser_ray.report.leaderboard", "a sweep's configurations, best first"),
    "logs": ("ser_ray.report.logs", "what a trial printed"),
    "report": ("ser_ray.report.__main__", "a page with a sweep's figures and tables"),
    "postprocess": ("ser_ray.sweep.search_again", "search a sweep's post-processing again, without training"),
    "reproduce": ("ser_ray.reproduce", "train one trial again, as it was trained, and compare"),
    "corpus": ("ser_ray.corpus.__main__", "make, import, describe or check a corpus"),
    "doctor": ("ser_ray.doctor.__main__", "whether this machine, or a node of a job, is fit to run sweeps"),
    "predict": ("ser_ray.predict", "a trained model's predictions for audio files"),
}
"""Command -> the module whose `main` it is, and what it does."""

EXIT_INPUT_WRONG = 2


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
    """Run a command; print an InputError as one message and return 2.

    Args:
        command: takes the arguments and returns an exit code.
        argv: the arguments; None lets the command take those of this process.

    Returns:
        The exit code.
    """
    try:
        try:
            return command(argv)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return EXIT_INPUT_WRONG
        finally:
            print(end="", flush=True)  # here, where a reader that has gone can be noticed; at the exit it cannot
    except BrokenPipeError:
        # the reader (head, less) has seen enough; Python would complain once more when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run(command: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run a command as this process and exit with its code: what `python -m ser_ray.<room>` does.

    Args:
        command: takes the arguments and returns an exit code.
    """
    sys.exit(guarded(command))


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  ser-ray {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: ser-ray COMMAND ...", "", *lines, "", "`ser-ray COMMAND --help` tells more."])
