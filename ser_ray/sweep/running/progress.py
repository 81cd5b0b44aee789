"""Progress of a running sweep as the user sees it: a live view in a terminal, lines in a log.

Every event is one line of the sweep's log (`sweep.log`); if the output is no terminal, it is a line there, too.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ser_ray.errors import is_unwritable, system_reason
from ser_ray.plain_text import escaped
from ser_ray.report.terminal import PlainConsole
from ser_ray.sweep.nodes.heartbeat import Pace

SHOWN_TRIALS = 12


class _Console(PlainConsole):
    """A console whose reader may go away: the sweep goes on without it, and its log has everything."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


@dataclass
class _Running:
    """A trial under way."""

    label: str
    epochs: int  # at most
    epoch: int = 0
    epoch_s: float = 0.0  # of its last epoch
    best: float | None = None  # devel CCC so far
    searching: bool = False


class Progress:
    """Log and live view of a sweep, by counts of its trials and of the epochs that this run trains.

    Args:
        labels: key -> what distinguishes the trial in this sweep, for all planned trials.
        epochs: key -> the trial's maximum number of epochs, for the trials to be trained now.
        done: number of trials that had ended before.
        log: path of the sweep's log, appended to.
        out: stream that the user reads.
        to_propose: number of planned trials that are not known yet.
        on_unwritable: called once with the reason if the log cannot be written; the user still sees everything.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        epochs: Mapping[str, int],
        done: int,
        log: Path,
        out: TextIO,
        to_propose: int = 0,
        on_unwritable: Callable[[str], None] = lambda reason: None,
    ):
        self._labels, self._epochs = dict(labels), dict(epochs)
        self._planned, self._done, self._stopped, self._failed = len(labels) + to_propose, done, 0, 0
        self._running: dict[str, _Running] = {}
        self._scores: dict[str, list[float]] = {}  # of each configuration's finished trials
        self._epochs_to_do, self._epochs_done = sum(epochs.values()), 0
        self._began = time.monotonic()
        self._on_unwritable, self._log_fails = on_unwritable, False
        self._lock = threading.RLock()
        self._console = _Console(file=out, emoji=False)
        self._path = log
        self._log: TextIO
        self._live = (
            Live(get_renderable=self._view, console=self._console, refresh_per_second=2, transient=True)
            if self._console.is_interactive
            else None
        )

    def __enter__(self) -> "Progress":
        """Open the log, and start the live view where there is a terminal."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._log = open(self._path, "a", buffering=1, encoding="utf-8")
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the live view and close the log."""
        if self._live:
            self._live.stop()
        self._write_log(self._log.close)  # closing also writes what is still buffered

    def log(self, text: str, *, shown: bool = True) -> None:
        """Write a line to the log, and show it to the user."""
        with self._lock:
            now = datetime.now().astimezone()
            line = f"{now:%H:%M:%S}  {escaped(text)}"
            if not self._log_fails:
                self._write_log(lambda: print(f"{now:%Y-%m-%d %H:%M:%S%z}  {escaped(text)}", file=self._log))
            if shown:
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _write_log(self, write: Callable[[], None]) -> None:
        """Write or close the log; lines that it cannot take any more go to the user alone."""
        try:
            write()
        except OSError as error:
            if not is_unwritable(error):
                raise
            if self._log_fails:
                return
            self._log_fails = True
            reason = system_reason(error)
            self.log(f"DISK      the sweep's log cannot be written: {reason} ({self._path})")
            self._on_unwritable(reason)

    def pace(self) -> Pace:
        """Return the sweep's progress, and estimate the seconds left from the epochs done so far.

        Epochs of all trials together are done at a pace of elapsed / epochs done. The remaining ones would end at that
        pace if all devices stayed busy. In the end they do not: no run ends before the trial with the most to do, which
        on a share of a GPU keeps the pace of that share, that of its last epoch.
        """
        to_do, left = max(0, self._epochs_to_do - self._epochs_done), None
        if self._epochs_done:
            together = (time.monotonic() - self._began) / self._epochs_done * to_do
            training = [trial for trial in list(self._running.values()) if not trial.searching]
            left = max(together, *(trial.epoch_s * (trial.epochs - trial.epoch) for trial in training), 0.0)
        return Pace(self._planned, self._done + self._stopped + self._failed, to_do, self._epochs_done, left)

    def proposed(self, key: str, label: str, epochs: int) -> None:
        """Add a trial that a guided search has proposed."""
        with self._lock:
            self._labels[key], self._epochs[key] = label, epochs
            self._epochs_to_do += epochs
            self.log(f"proposed  {key}  {label}")

    def started(self, key: str) -> None:
        """Show that a trial got its resources."""
        with self._lock:
            self._count_running(key)
            self.log(f"start     {key}  {self._labels[key]}")

    def epoch(self, key: str, figures: Mapping[str, Any]) -> None:
        """Show the figures of an epoch; in a terminal the live view shows them, and only the log gets the line."""
        with self._lock:
            running = self._running.get(key)
            if running is None:
                return
            epoch, score = figures["epoch"], figures["ccc_devel_mean"]
            if running.epoch:
                self._epochs_done += max(0, epoch - running.epoch)
            else:
                self._epochs_to_do -= epoch - 1  # those before were trained in an earlier run
                self._epochs_done += 1
            running.epoch, running.epoch_s = epoch, figures["seconds"]
            running.best = score if running.best is None else max(running.best, score)
            parts = ", ".join(
                f"{target} {figures[f'ccc_devel_{target}']:.3f}"
                for target in ("arousal", "valence")
                if f"ccc_devel_{target}" in figures
            )
            self.log(
                f"epoch     {key}  {epoch}/{running.epochs}  loss {figures['train_loss']:.3f}  "
                f"devel CCC {score:.3f} ({parts})  {figures['seconds']:.0f} s",
                shown=self._live is None,
            )

    def trained(self, key: str) -> None:
        """Show that a trial is trained and waits for its search."""
        with self._lock:
            running = self._count_running(key)
            self._drop_epochs(running)
            running.searching = True

    def finished(self, key: str, row: Mapping[str, Any]) -> None:
        """Show that a trial's row is written."""
        with self._lock:
            self._running.pop(key, None)
            self._done += 1
            if row.get("ccc_devel_mean") is not None:
                # a label ends with the seed; the text before it names the configuration
                configuration = self._labels[key].rpartition(", seed ")[0] or self._labels[key]
                self._scores.setdefault(configuration, []).append(row["ccc_devel_mean"])
            self.log(f"done      {key}  {_scores(row)}  {self._counts()}")

    def stopped(self, key: str) -> None:
        """Show that the scheduler ended a trial early."""
        with self._lock:
            self._drop_epochs(self._running.pop(key, None))
            self._stopped += 1
            self.log(f"stopped   {key}  early, by the schedule  {self._counts()}")

    def left(self, key: str) -> None:
        """Show that a trial's process ended although the trial is still open."""
        with self._lock:
            running = self._running.pop(key, None)
            epoch = "" if running is None or not running.epoch else f" after epoch {running.epoch}"
            self.log(f"left      {key}  saved{epoch}; continues when the sweep is run again")

    def failed(self, key: str, reason: str) -> None:
        """Show that a trial failed, and why."""
        with self._lock:
            self._drop_epochs(self._running.pop(key, None))
            self._failed += 1
            self.log(f"FAILED    {key}  {reason}  {self._counts()}")

    def _count_running(self, key: str) -> _Running:
        """Count a trial as running; one that was running already lost its process, and goes on from its checkpoint."""
        return self._running.setdefault(key, _Running(self._labels[key], self._epochs.get(key, 0)))

    def _drop_epochs(self, running: _Running | None) -> None:
        """Subtract the epochs that a trial will not train from those to do; a searched one's are subtracted already."""
        if running is not None and not running.searching:
            self._epochs_to_do -= max(0, running.epochs - running.epoch)

    def _counts(self) -> str:
        pace = self.pace()
        left = f", {_duration(pace.seconds_left)} left" if pace.seconds_left else ""
        return f"[{pace.standing}/{pace.planned}{left}]"

    def _view(self) -> Group:
        # Called under rich's lock, which `log` acquires while it has ours: acquiring ours here could deadlock. A view
        # that is half an event behind does no harm.
        pace, running, until = self.pace(), list(self._running.items()), ""
        if pace.seconds_left:
            end = datetime.now() + timedelta(seconds=pace.seconds_left)
            form = "%H:%M" if pace.seconds_left < 86400 else "%a %d %b %H:%M"
            until = f"  {_duration(pace.seconds_left)} left, until {end:{form}}"
        head = Text.assemble(
            (f"{len(running)} running", "bold"),
            f"  {pace.planned - pace.standing - len(running)} waiting  {self._done} done",
            f"  {self._stopped} stopped" if self._stopped else "",
            (f"  {self._failed} failed", "red") if self._failed else "",
            until,
        )
        best = self._best()
        table = Table.grid(padding=(0, 2))
        for key, trial in running[:SHOWN_TRIALS]:
            bar = ProgressBar(total=max(1, trial.epochs), completed=trial.epoch, width=20)
            state = "searching" if trial.searching else f"epoch {trial.epoch}/{trial.epochs}"
            table.add_row(key, bar, state, "" if trial.best is None else f"best {trial.best:.3f}", Text(trial.label))
        if len(running) > SHOWN_TRIALS:
            table.add_row(f"and {len(running) - SHOWN_TRIALS} more")
        lines = [Text(f"best devel CCC so far {best}", overflow="ellipsis", no_wrap=True)] if best else []
        return Group(head, *lines, table)

    def _best(self) -> str | None:
        """Name the best configuration so far by its mean over seeds, or the best epoch while no trial is done."""
        if self._scores:
            name, seeds = max(self._scores.items(), key=lambda scored: sum(scored[1]) / len(scored[1]))
            return f"{sum(seeds) / len(seeds):.3f} (n {len(seeds)}) {name}"
        begun = [(trial.best, key) for key, trial in list(self._running.items()) if trial.best is not None]
        return "{:.3f} {} (not done)".format(*max(begun)) if begun else None


def _scores(row: Mapping[str, Any]) -> str:
    def figure(column: str) -> str:
        return "-" if row.get(column) is None else f"{row[column]:.3f}"

    text = f"devel CCC {figure('ccc_devel_mean')}, searched {figure('ccc_devel_exhaustive_mean')}"
    if row.get("ccc_devel_exhaustive_crossfit_mean") is not None:
        text += f" (unseen {figure('ccc_devel_exhaustive_crossfit_mean')})"
    if row.get("ccc_test_mean") is not None:
        text += f"; test {figure('ccc_test_mean')}, searched {figure('ccc_test_exhaustive_mean')}"
    return text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
