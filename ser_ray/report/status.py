"""How far a sweep has come, read from its files alone: `ser-ray status DIR`."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from ser_ray.report.columns import MISSING
from ser_ray.report.terminal import open_console
from ser_ray.results import STATUSES, TARGETS, SweepFolder, open_sweep, read_table


@dataclass(frozen=True)
class UnderWay:
    """A trial that has begun and has neither predictions nor a row.

    Args:
        key: the trial's key.
        epoch: the last epoch that ended; None before the first.
        best_devel: the best devel CCC so far, mean of the targets.
        last_sign: when that epoch ended, or when its log was last written.
    """

    key: str
    epoch: int | None
    best_devel: float | None
    last_sign: datetime | None


@dataclass(frozen=True)
class Progress:
    """The trials of a sweep by how far they have come.

    Args:
        counts: number of trials of each status.
        failed: key and reason, in one line, of each failed trial.
        unsearched: keys of trials that are trained and wait for their post-processing search.
        under_way: trials that are training, or were when the sweep was interrupted.
    """

    counts: Mapping[str, int]
    failed: tuple[tuple[str, str], ...]
    unsearched: tuple[str, ...]
    under_way: tuple[UnderWay, ...]

    @property
    def empty(self) -> bool:
        """True if no trial has left anything yet."""
        return not (any(self.counts.values()) or self.unsearched or self.under_way)


def read_progress(folder: SweepFolder) -> Progress:
    """Return how far the trials of a sweep have come.

    Args:
        folder: the sweep's folder; the sweep may be running.

    Raises:
        InputError: if a part cannot be read.
    """
    # From a trial's first trace to its last: one that goes on meanwhile is counted once, none lost.
    logged = {path.stem for path in (folder.path / "logs").glob("*.log")}
    begun = logged | folder.keys("epochs")
    trained = folder.keys("predictions")
    trials = read_table(folder, "trials", columns=["key", "status", "error"]).to_pylist()
    rows = {row["key"] for row in trials}
    counts = {status: sum(row["status"] == status for row in trials) for status in STATUSES}
    failed = tuple((r["key"], one_line(r["error"])) for r in trials if r["status"] == "failed")
    running = begun - trained - rows
    return Progress(counts, failed, tuple(sorted(trained - rows)), _under_way(folder, running))


def _under_way(folder: SweepFolder, keys: set[str]) -> tuple[UnderWay, ...]:
    if not keys:
        return ()
    scores = [f"ccc_devel_{target}" for target in ("mean", *TARGETS)]
    columns = ["key", "epoch", *scores, "ended_at"]
    epochs: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    for row in read_table(folder, "epochs", keys=keys, columns=columns).to_pylist():
        epochs[row["key"]].append(row)
    found = [_last_sign(folder, key, rows) for key, rows in epochs.items()]
    return tuple(sorted(found, key=lambda trial: (-(trial.epoch or 0), trial.key)))


def _last_sign(folder: SweepFolder, key: str, rows: list[dict[str, Any]]) -> UnderWay:
    if not rows:
        log = folder.log(key)
        written = datetime.fromtimestamp(log.stat().st_mtime, UTC) if log.exists() else None
        return UnderWay(key, None, None, written)
    last = max(rows, key=lambda row: row["epoch"])
    ended_at = last["ended_at"]  # UTC, unmarked
    last_sign = None if ended_at is None else ended_at.replace(tzinfo=UTC)
    return UnderWay(key, last["epoch"], _best_devel(rows), last_sign)


def _best_devel(rows: list[dict[str, Any]]) -> float | None:
    for target in ("mean", *TARGETS):
        scores = [row[f"ccc_devel_{target}"] for row in rows]
        if any(score is not None for score in scores):
            return float(max(score for score in scores if score is not None))
    return None


def one_line(error: str | None) -> str:
    """Return why a trial failed in one line: the last of a traceback, else the first."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    if not lines:
        return "no reason recorded"
    return lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]


def format_age(age: timedelta) -> str:
    """Return a duration as people say it: "40 s", "12 min", "3 h 05 min", "2 d 4 h"."""
    seconds = max(0, int(age.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def summary(progress: Progress) -> str:
    """Return the counts of a sweep's trials in one line, without what there is none of."""
    counts = progress.counts
    parts = [
        (counts["finished"], "finished"),
        (counts["stopped"], "stopped early"),
        (counts["failed"], "failed"),
        (len(progress.unsearched), "trained but not searched yet"),
        (len(progress.under_way), "under way"),
    ]
    said = ", ".join(f"{number} {what}" for number, what in parts if number)
    return f"trials: {said}" if said else "no trial has left anything yet"


def print_status(console: Console, folder: SweepFolder, progress: Progress, now: datetime) -> None:
    """Print how far a sweep has come.

    Args:
        console: where to.
        folder: the sweep's folder, named in the hints.
        progress: of `read_progress`.
        now: the present, with its time zone; ages are counted up to it.
    """
    console.print(f"{folder.path}: {summary(progress)}")
    if progress.under_way:
        console.print(_under_way_table(progress.under_way, now))
    if progress.unsearched:
        console.print(f"\nnot searched yet: {' '.join(progress.unsearched)}")
        console.print(f"  ser-ray postprocess {folder.path}   searches them")
    if progress.failed:
        console.print("\nfailed:")
        for key, reason in progress.failed:
            console.print(f"  {key}  {reason}")
        first = progress.failed[0][0]
        console.print(f"  ser-ray logs {folder.path} {first}   shows the first one's log")


def _under_way_table(trials: Sequence[UnderWay], now: datetime) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("under way")
    for heading in ("epoch", "best devel CCC", "last sign"):
        table.add_column(heading, justify="right", no_wrap=True)
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
    folder = open_sweep(parser.parse_args(argv).folder)
    print_status(open_console(), folder, read_progress(folder), datetime.now(UTC))
    return 0
