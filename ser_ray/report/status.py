"""The progress of a sweep and of the processes that run it, from its files alone: `ser-ray status DIR`."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from ser_ray.report.logs import last_lines
from ser_ray.report.progress import SweepProgress, UnderWay, counts_line, left_out_line, read_progress
from ser_ray.report.terminal import MISSING, format_age, format_moment, open_console
from ser_ray.results import DriverStatus, SweepFolder, open_sweep, read_planned

FAILED_SHOWN = 20
"""Number of failed trials that are named unless all are requested."""
LOGS_SHOWN, LINES_SHOWN = 3, 5
"""Number of failed trials whose log's last lines are shown, and number of lines of each."""
_GO_ON = "run the sweep again to continue"


def print_status(
    console: Console, folder: SweepFolder, progress: SweepProgress, now: datetime, *, all_failed: bool = False
) -> None:
    """Print the progress of a sweep and its failed trials, all or the first of many; ages are counted up to `now`."""
    _print(console, f"{folder.path}: {counts_line(progress)}")
    if line := left_out_line(progress):
        _print(console, line)
    for line in driver_lines(progress.drivers, now):
        _print(console, line)
    for heading, trials in (("under way", progress.under_way), ("interrupted", progress.interrupted)):
        if trials:
            console.print(_begun_table(heading, trials, now))
    if progress.unsearched:
        _print(console, f"\nnot searched yet: {' '.join(progress.unsearched)}")
        _print(console, "  run the sweep again to search them")
    if progress.failed:
        _print_failed(console, folder, progress.failed, len(progress.failed) if all_failed else FAILED_SHOWN)


def _print(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)  # a terminal may break it anywhere, so that a path in it can be copied whole


def _print_failed(console: Console, folder: SweepFolder, failed: Sequence[tuple[str, str]], shown: int) -> None:
    _print(console, "\nfailed:")
    for number, (key, reason) in enumerate(failed[:shown]):
        _print(console, f"  {key}  {reason}")
        log = folder.log(key)
        if number < LOGS_SHOWN and log.is_file():
            for line in last_lines(log, LINES_SHOWN):
                _print(console, f"      {line}")
    if len(failed) > shown:
        _print(console, f"  and {len(failed) - shown:,} more: ser-ray status {folder.path} --all   shows them")
    whole = "the whole log" if len(failed) == 1 else "the whole log of one"
    key = failed[0][0] if len(failed) == 1 else "KEY"
    _print(console, f"  ser-ray logs {folder.path} {key}   shows {whole}")


def _begun_table(heading: str, trials: Sequence[UnderWay], now: datetime) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(heading)
    for figure in ("epoch", "best devel CCC", "last sign"):
        table.add_column(figure, justify="right", no_wrap=True)
    for trial in trials:
        table.add_row(*under_way_cells(trial, now))
    return table


def under_way_cells(trial: UnderWay, now: datetime) -> list[str]:
    """Format key, epoch, best devel CCC and last sign of a trial for printing."""
    return [
        trial.key,
        MISSING if trial.epoch is None else str(trial.epoch),
        MISSING if trial.best_devel is None else f"{trial.best_devel:.3f}",
        MISSING if trial.last_sign is None else f"{format_age(now - trial.last_sign)} ago",
    ]


def driver_lines(drivers: Sequence[DriverStatus], now: datetime) -> list[str]:
    """Format two lines per driver, running ones first; a driver that a later one has replaced is left out."""
    shown = [driver for driver in drivers if driver.alive(now) or not _is_superseded(driver, drivers)]
    ordered = sorted(shown, key=lambda driver: (not driver.alive(now), driver.started_at, driver.name))
    return [line for driver in ordered for line in _driver_lines(driver, now)]


def _is_superseded(driver: DriverStatus, drivers: Sequence[DriverStatus]) -> bool:
    later = (other for other in drivers if other.started_at > driver.started_at)
    return any(other.share in ("1/1", driver.share) for other in later)


def _driver_lines(driver: DriverStatus, now: datetime) -> list[str]:
    who, done, age = _identity(driver, now), _trials_done(driver), format_age(now - driver.seen_at)
    if driver.alive(now):
        return [f"running: {who}; last sign {age} ago", f"  {done}; {_expected_end(driver, now)}"]
    if driver.ended is None:
        ended = f"lost: {who}; no sign of it for {age}: it ended unexpectedly; {_GO_ON}"
    elif driver.ended == "interrupted":
        ended = f"interrupted {age} ago: {who}; {_GO_ON}"
    elif driver.ended == "failed":
        ended = f"ended with failures {age} ago: {who}"
    else:
        ended = f"done {age} ago: {who}"
    return [ended, f"  {done}"]


def _identity(driver: DriverStatus, now: datetime) -> str:
    job = [] if driver.job_id is None else [f"job {driver.job_id}"]
    share = [] if driver.share == "1/1" else [f"share {driver.share} of the plan"]
    since = f"since {format_moment(driver.started_at, now)}"
    return ", ".join([driver.host, f"pid {driver.pid}", *job, *share, since])


def _trials_done(driver: DriverStatus) -> str:
    epochs = f" ({driver.epochs_to_do:,} epochs to train)" if driver.left and driver.epochs_to_do else ""
    return f"{driver.standing:,} of {driver.planned:,} planned trials done, {driver.left:,} left{epochs}"


def _expected_end(driver: DriverStatus, now: datetime) -> str:
    if driver.ends_at is None:
        return "no estimate of the end yet"
    if driver.ends_at <= now:
        return "ends about now"
    return f"ends about {format_moment(driver.ends_at, now)} (in {format_age(driver.ends_at - now)})"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the progress of a sweep; return 0."""
    parser = argparse.ArgumentParser("ser-ray status", description="Show the progress of a sweep.")
    parser.add_argument("folder", metavar="DIR", help="results/<sweep>")
    parser.add_argument(
        "--all",
        action="store_true",
        help="show all failed trials, and include the trials of earlier plans",
    )
    arguments = parser.parse_args(argv)
    folder = open_sweep(arguments.folder)
    now = datetime.now(UTC)
    progress = read_progress(folder, now, planned=None if arguments.all else read_planned(folder))
    print_status(open_console(), folder, progress, now, all_failed=arguments.all)
    return 0
