"""Command line of `ser-ray`; the module of a command is imported only when the command is called."""

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from ser_ray import __version__
from ser_ray.errors import InputError
from ser_ray.process import EXIT_INPUT_WRONG, Command, guarded, run

COMMANDS = {
    "sweep": ("ser_ray.sweep.command", "run a sweep file, or go on with it"),
    "submit": ("ser_ray.slurm.submit", "a sweep's time and the sbatch line for it; with --go it is submitted"),
    "status": ("ser_ray.report.status", "where a sweep stands, from its files alone"),
    "leaderboard": ("ser_ray.report.leaderboard", "a sweep's configurations, best first"),
    "logs": ("ser_ray.report.logs", "what a trial printed"),
    "report": ("ser_ray.report.__main__", "a page with a sweep's figures and tables"),
    "postprocess": ("ser_ray.sweep.running.search_again", "search a sweep's post-processing again, without training"),
    "reproduce": ("ser_ray.reproduce.command", "train one trial again, as it was trained, and compare"),
    "corpus": ("ser_ray.corpus.__main__", "make, import, describe or check a corpus"),
    "doctor": ("ser_ray.doctor.__main__", "whether this machine, or a node of a job, is fit to run sweeps"),
    "predict": ("ser_ray.predict", "a trained model's predictions for audio files"),
}
"""Command -> the module with its `main`, and a description."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of `ser-ray`, given its name and arguments, and return the exit code."""
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
    command: Command = importlib.import_module(module).main
    return command(arguments[1:])


def start(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command of `ser-ray` as this process, and exit with its code."""
    run(_dispatch, sys.argv[1:] if argv is None else argv)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  ser-ray {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: ser-ray COMMAND ...", "", *lines, "", "`ser-ray COMMAND --help` tells more."])
