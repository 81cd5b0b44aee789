"""Progress of a sweep, read from its files alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ser_ray.results import STATUSES, TARGETS, DriverStatus, SweepFolder, read_drivers, read_table


@dataclass(frozen=True)
class UnderWay:
    """A trial that has begun and has neither predictions nor a row of `trials`.

    Args:
        key: of the trial.
        epoch: the last epoch that ended; None before the first.
        best_devel: the highest devel CCC so far, mean of the targets.
        last_sign: end of that epoch or time of the last write to its log, whichever is later.
    """

    key: str
    epoch: int | None
    best_devel: float | None
    last_sign: datetime | None


@dataclass(frozen=True)
class SweepProgress:
    """The trials of a sweep by their progress.

    Args:
        counts: number of trials of each status.
        failed: key and reason, in one line, of each failed trial.
        unsearched: keys of trials that are trained and wait for their post-processing search.
        under_way: trials that are training. If no driver has a status file, also those that were training when the
            sweep was interrupted.
        interrupted: trials that were training under a driver that is gone.
        drivers: the present and past processes that run the sweep, the earliest first.
        left_out: number of trials of earlier plans, which are not in the other fields.
    """

    counts: Mapping[str, int]
    failed: tuple[tuple[str, str], ...]
    unsearched: tuple[str, ...]
    under_way: tuple[UnderWay, ...]
    interrupted: tuple[UnderWay, ...] = ()
    drivers: tuple[DriverStatus, ...] = ()
    left_out: int = 0

    @property
    def empty(self) -> bool:
        """Whether no trial has begun."""
        return not (any(self.counts.values()) or self.unsearched or self.under_way or self.interrupted)


def read_progress(
    folder: SweepFolder, now: datetime | None = None, planned: Collection[str] | None = None
) -> SweepProgress:
    """Read the progress of all trials of a sweep, or of the planned ones; the sweep may be running.

    Raises:
        InputError: if a part, or the status file of a driver, cannot be read.
    """
    # A trial's earliest files are listed first: one that advances meanwhile is counted once, and none is missed.
    begun = folder.logged() | folder.keys("epochs")
    trained = folder.keys("predictions")
    left_out: set[str] = set()
    if planned is not None:
        left_out = (begun | trained | folder.keys("trials")).difference(planned)
        begun, trained = begun - left_out, trained - left_out
    trials = read_table(folder, "trials", keys=planned, columns=["key", "status", "error"]).to_pylist()
    rows = {row["key"] for row in trials}
    counts = {status: sum(row["status"] == status for row in trials) for status in STATUSES}
    failed = tuple((r["key"], failure_line(r["error"])) for r in trials if r["status"] == "failed")
    begun_only = _under_way(folder, begun - trained - rows)
    drivers = tuple(read_drivers(folder))
    gone = {trial.key for trial in begun_only if _is_interrupted(trial, drivers, now or datetime.now(UTC))}
    return SweepProgress(
        counts,
        failed,
        tuple(sorted(trained - rows)),
        under_way=tuple(trial for trial in begun_only if trial.key not in gone),
        interrupted=tuple(trial for trial in begun_only if trial.key in gone),
        drivers=drivers,
        left_out=len(left_out),
    )


def _is_interrupted(trial: UnderWay, drivers: Sequence[DriverStatus], now: datetime) -> bool:
    """Check that no running driver trains it: none of its files was written since the first of them began."""
    if not drivers:
        return False
    began = [driver.started_at for driver in drivers if driver.alive(now)]
    return not began or (trial.last_sign is not None and trial.last_sign < min(began))


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
    log = folder.log(key)
    signs = [datetime.fromtimestamp(log.stat().st_mtime, UTC)] if log.exists() else []
    if not rows:
        return UnderWay(key, None, None, max(signs, default=None))
    last = max(rows, key=lambda row: row["epoch"])
    if last["ended_at"] is not None:
        signs.append(last["ended_at"].replace(tzinfo=UTC))  # UTC, stored without a time zone
    return UnderWay(key, last["epoch"], _best_devel(rows), max(signs, default=None))


def _best_devel(rows: list[dict[str, Any]]) -> float | None:
    for target in ("mean", *TARGETS):
        scores = [row[f"ccc_devel_{target}"] for row in rows]
        if any(score is not None for score in scores):
            return float(max(score for score in scores if score is not None))
    return None


def failure_line(error: str | None) -> str:
    """Shorten an error to one line: the last of a traceback, else the first."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    if not lines:
        return "no reason recorded"
    return lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]


def counts_line(progress: SweepProgress) -> str:
    """Format the counts of a sweep's trials in one line, without zeros."""
    counts = progress.counts
    parts = [
        (counts["finished"], "finished"),
        (counts["stopped"], "stopped early"),
        (counts["failed"], "failed"),
        (len(progress.unsearched), "trained but not searched yet"),
        (len(progress.under_way), "under way"),
        (len(progress.interrupted), "interrupted"),
    ]
    counted = ", ".join(f"{number} {what}" for number, what in parts if number)
    return f"trials: {counted}" if counted else "no trials yet"


def left_out_line(progress: SweepProgress) -> str:
    """Format the number of trials of earlier plans that are not shown, as a sentence; "" if there are none."""
    number = progress.left_out
    if not number:
        return ""
    what = "1 trial of an earlier plan is" if number == 1 else f"{number:,} trials of earlier plans are"
    return f"{what} not shown: --all includes {'it' if number == 1 else 'them'}"
