"""How far a sweep has come, read from its files alone: `ser-ray status DIR`."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from ser_ray.report.logs import last_lines
from ser_ray.report.progress import Progress, UnderWay, left_out_line, one_line, read_progress, summary
from ser_ray.report.running import driver_lines
from ser_ray.report.terminal import MISSING, open_console
from ser_ray.report.times import format_age
from ser_ray.results import SweepFolder, open_sweep, read_planned

__all__ = ["Progress", "UnderWay", "format_age", "main", "one_line", "print_status", "read_progress", "summary"]

FAILED_SHOWN = 20
"""So many failed trials are named unless all are asked for."""
LOGS_SHOWN, LINES_SHOWN = 3, 5
"""Of so many of them the last lines of the log are shown, and how many of each."""


def print_status(
    console: Console, folder: SweepFolder, progress: Progress, now: datetime, *, all_failed: bool = False
) -> None:
    """Print how far a sweep has come.

    Args:
        console: where to.
        folder: the sweep's folder, named in the hints.
        progress: of `read_progress`.
        now: the present, with its time zone; ages are counted up to it.
        all_failed: name every failed trial, not only the first of many.
    """
    _say(console, f"{folder.path}: {summary(progress)}")
    if line := left_out_line(progress):
        _say(console, line)
    for line in driver_lines(progress.drivers, now):
        _say(console, line)
    for heading, trials in (("under way", progress.under_way), ("interrupted", progress.interrupted)):
        if trials:
            console.print(_begun_table(heading, trials, now))
    if progress.unsearched:
        _say(console, f"\nnot searched yet: {' '.join(progress.unsearched)}")
        _say(console, "  running the sweep again searches them")
    if progress.failed:
        _print_failed(console, folder, progress.failed, len(progress.failed) if all_failed else FAILED_SHOWN)


def _print_failed(console: Console, folder: SweepFolder, failed: Sequence[tuple[str, str]], shown: int) -> None:
    _say(console, "\nfailed:")
    for number, (key, reason) in enumerate(failed[:shown]):
        _say(console, f"  {key}  {reason}")
        log = folder.log(key)
        if number < LOGS_SHOWN and log.is_file():
            for line in last_lines(log, LINES_SHOWN):
                _say(console, f"      {line}")
    if len(failed) > shown:
        _say(console, f"  and {len(failed) - shown:,} more: ser-ray status {folder.path} --all   shows them")
    whole = "the whole log" if len(failed) == 1 else "the whole log of one"
    key = failed[0][0] if len(failed) == 1 else "KEY"
    _say(console, f"  ser-ray logs {folder.path} {key}   shows {whole}")


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)  # a terminal breaks it where it likes, and a path in it is copied whole


def _begun_table(heading: str, trials: Sequence[UnderWay], now: datetime) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(heading)
    for figure in ("epoch", "best devel CCC", "last sign"):
        table.add_column(figure, justify="right", no_wrap=True)
    for trial in trials:
        epoch = MISSING if trial.epoch is None else str(trial.epoch)
        best = MISSING if trial.best_devel is None else f"{trial.best_devel:.3f}"
        sign = MISSING if trial.last_sign is None else f"{format_age(now - trial.last_sign)} ago"
        table.add_row(trial.key, epoch, best, sign)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Print how far a sweep has come; return 0.

    Args:
        argv: arguments of the command line.

    Raises:
        InputError: if the folder holds no sweep.
    """
    parser = argparse.ArgumentParser("ser-ray status", description="How far a sweep has come.")
    parser.add_argument("folder", metavar="DIR", help="results/<sweep>")
    parser.add_argument(
        "--all",
        action="store_true",
        help="every failed trial, not only the first of many; trials of earlier plans, too",
    )
    arguments = parser.parse_args(argv)
    folder = open_sweep(arguments.folder)
    now = datetime.now(UTC)
    progress = read_progress(folder, now, planned=None if arguments.all else read_planned(folder))
    print_status(open_console(), folder, progress, now, all_failed=arguments.all)
    return 0
