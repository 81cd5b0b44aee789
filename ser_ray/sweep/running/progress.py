"""Where a running sweep stands, shown as it suits the place: a live view in a terminal, lines in a log.

Every event is one line of the sweep's log (`sweep.log`); where the output is no terminal it is a line there too.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ser_ray.plain_text import escaped
from ser_ray.report.terminal import PlainConsole
from ser_ray.sweep.nodes.heartbeat import Pace
from ser_ray.unwritable import is_unwritable

SHOWN_TRIALS = 12


@dataclass
class Running:
    """A trial under way: its label, how far it is, the seconds of its last epoch, and its best devel CCC so far."""

    label: str
    epochs: int
    epoch: int = 0
    epoch_s: float = 0.0
    best: float | None = None
    searching: bool = False

    @property
    def seconds_left(self) -> float:
        """Its epochs to come at most, as long as its last: it keeps its share of a GPU to its end."""
        return 0.0 if self.searching else self.epoch_s * max(0, self.epochs - self.epoch)


@dataclass
class Tally:
    """Counts of a sweep: what was planned, and what became of it."""

    planned: int
    done: int = 0
    stopped: int = 0
    failed: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    epochs_to_do: int = 0
    epochs_done: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def best(self) -> str | None:
        """The best configuration so far by its mean over seeds, or the best epoch while no trial is done."""
        if self.scores:
            name, seeds = max(self.scores.items(), key=lambda scored: sum(scored[1]) / len(scored[1]))
            return f"{sum(seeds) / len(seeds):.3f} (n {len(seeds)}) {name}"
        begun = [(trial.best, key) for key, trial in self.running.items() if trial.best is not None]
        return "{:.3f} {} (not done)".format(*max(begun)) if begun else None

    @property
    def waiting(self) -> int:
        """Trials that have not started."""
        return self.planned - self.done - self.stopped - self.failed - len(self.running)

    def seconds_left(self) -> float | None:
        """Return an estimate from the epochs done so far, or None before the first.

        Epochs of all trials at once come at a pace, elapsed / epochs done, at which those that are left would end if
        all devices stayed busy. In the end they do not: no run ends before the trial that has the most to do, which on
        a share of a GPU goes on at the pace of that share.
        """
        if not self.epochs_done:
            return None
        elapsed = time.monotonic() - self.began
        together = elapsed / self.epochs_done * max(0, self.epochs_to_do - self.epochs_done)
        return max(together, *(trial.seconds_left for trial in list(self.running.values())), 0.0)


class _Console(PlainConsole):
    """A console whose reader may leave: a sweep goes on without it, and its log has everything."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Progress:
    """Tells what happens in a sweep.

    Args:
        labels: key -> what distinguishes the trial in this sweep, of all trials planned.
        epochs: key -> epochs the trial has at most, of the trials to be trained now.
        done: trials whose result stood before.
        log: path of the sweep's log, appended to.
        out: where the user looks.
        to_propose: trials that are planned and not known yet.
        on_unwritable: told once why the log cannot be written any more; the user is told everything still.
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
        self._tally = Tally(planned=len(labels) + to_propose, done=done, epochs_to_do=sum(epochs.values()))
        self._on_unwritable, self._log_fails = on_unwritable, False
        self._lock = threading.RLock()
        self._console = _Console(file=out, emoji=False)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = open(log, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self._live = (
            Live(get_renderable=self._view, console=self._console, refresh_per_second=2, transient=True)
            if self._console.is_interactive
            else None
        )

    def __enter__(self) -> "Progress":
        """Start the live view where there is a terminal."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the live view and close the log."""
        if self._live:
            self._live.stop()
        self._write_log(self._log.close)  # which writes what could not be written before

    def say(self, text: str, *, shown: bool = True) -> None:
        """Tell one line, in the log and, if it is shown, to the user."""
        with self._lock:
            now = datetime.now().astimezone()
            line = f"{now:%H:%M:%S}  {escaped(text)}"
            if not self._log_fails:
                self._write_log(lambda: print(f"{now:%Y-%m-%d %H:%M:%S%z}  {escaped(text)}", file=self._log))
            if shown:
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _write_log(self, write: Callable[[], None]) -> None:
        """Have the log written or closed; what it cannot take any more goes to the user alone."""
        try:
            write()
        except OSError as error:
            if not is_unwritable(error):
                raise
            if self._log_fails:
                return
            self._log_fails = True
            reason = error.strerror or str(error)
            self.say(f"DISK      the sweep's log cannot be written: {reason} ({self._log.name})")
            self._on_unwritable(reason)

    def pace(self) -> Pace:
        """Return how far the sweep is."""
        tally = self._tally
        return Pace(
            planned=tally.planned,
            standing=tally.done + tally.stopped + tally.failed,
            epochs_to_do=max(0, tally.epochs_to_do - tally.epochs_done),
            epochs_done=tally.epochs_done,
            seconds_left=tally.seconds_left(),
        )

    def proposed(self, key: str, label: str, epochs: int) -> None:
        """Tell that a trial is known now that was to be proposed."""
        with self._lock:
            self._labels[key], self._epochs[key] = label, epochs
            self._tally.epochs_to_do += epochs
            self.say(f"proposed  {key}  {label}")

    def started(self, key: str) -> None:
        """Tell that a trial got its resources."""
        with self._lock:
            # one that runs already lost its process, and goes on from its checkpoint
            self._tally.running.setdefault(key, self._running(key))
            self.say(f"start     {key}  {self._labels[key]}")

    def epoch(self, key: str, figures: Mapping[str, Any]) -> None:
        """Tell the figures of an epoch; in a terminal the live view shows them, and the log alone has the line."""
        with self._lock:
            running = self._tally.running.get(key)
            if running is None:
                return
            if running.epoch:
                self._tally.epochs_done += max(0, figures["epoch"] - running.epoch)
            else:
                self._tally.epochs_to_do -= figures["epoch"] - 1  # those before were trained in an earlier run
                self._tally.epochs_done += 1
            running.epoch, running.epoch_s = figures["epoch"], figures["seconds"]
            score = figures["ccc_devel_mean"]
            running.best = score if running.best is None else max(running.best, score)
            parts = ", ".join(
                f"{target} {figures[f'ccc_devel_{target}']:.3f}"
                for target in ("arousal", "valence")
                if f"ccc_devel_{target}" in figures
            )
            self.say(
                f"epoch     {key}  {running.epoch}/{running.epochs}  loss {figures['train_loss']:.3f}  "
                f"devel CCC {score:.3f} ({parts})  {figures['seconds']:.0f} s",
                shown=self._live is None,
            )

    def trained(self, key: str) -> None:
        """Tell that a trial is trained and waits for its search."""
        with self._lock:
            running = self._tally.running.setdefault(key, self._running(key))
            self._spare_epochs(running)  # patience may have ended it before its last
            running.searching = True

    def finished(self, key: str, row: Mapping[str, Any]) -> None:
        """Tell that a trial's row is written."""
        with self._lock:
            self._tally.running.pop(key, None)
            self._tally.done += 1
            if row.get("ccc_devel_mean") is not None:
                # a label ends with the seed: what stands before it names the configuration
                configuration = self._labels[key].rpartition(", seed ")[0] or self._labels[key]
                self._tally.scores.setdefault(configuration, []).append(row["ccc_devel_mean"])
            self.say(f"done      {key}  {_scores(row)}  {self._counts()}")

    def stopped(self, key: str) -> None:
        """Tell that the scheduler ended a trial early."""
        with self._lock:
            self._spare_epochs(self._tally.running.pop(key, None))
            self._tally.stopped += 1
            self.say(f"stopped   {key}  early, by the schedule  {self._counts()}")

    def left(self, key: str) -> None:
        """Tell that a trial ended before its end, and is still open."""
        with self._lock:
            running = self._tally.running.pop(key, None)
            epoch = "" if running is None or not running.epoch else f" after epoch {running.epoch}"
            self.say(f"left      {key}  saved{epoch}; it goes on when the sweep is run again")

    def failed(self, key: str, reason: str) -> None:
        """Tell that a trial failed, and why."""
        with self._lock:
            self._spare_epochs(self._tally.running.pop(key, None))
            self._tally.failed += 1
            self.say(f"FAILED    {key}  {reason}  {self._counts()}")

    def _running(self, key: str) -> Running:
        return Running(self._labels[key], self._epochs.get(key, 0))

    def _spare_epochs(self, running: Running | None) -> None:
        """Take the epochs that a trial will not train any more from those to do; a searched one's are taken already."""
        if running is not None and not running.searching:
            self._tally.epochs_to_do -= max(0, running.epochs - running.epoch)

    def _counts(self) -> str:
        tally = self._tally
        ended, left = tally.done + tally.stopped + tally.failed, tally.seconds_left()
        return f"[{ended}/{tally.planned}{f', {_duration(left)} left' if left else ''}]"

    def _until(self, left: float | None) -> str:
        if not left:
            return ""
        end = datetime.now() + timedelta(seconds=left)
        return f"  {_duration(left)} left, until {end:{'%H:%M' if left < 86400 else '%a %d %b %H:%M'}}"

    def _view(self) -> Group:
        # Called under rich's lock, which `say` takes while it holds ours: taking ours here could wait for ever. A view
        # that is half an event behind does no harm.
        tally = self._tally
        left = tally.seconds_left()
        head = Text.assemble(
            (f"{len(tally.running)} running", "bold"),
            f"  {tally.waiting} waiting  {tally.done} done",
            f"  {tally.stopped} stopped" if tally.stopped else "",
            (f"  {tally.failed} failed", "red") if tally.failed else "",
            self._until(left),
        )
        best = [Text(f"best devel CCC so far {tally.best}", overflow="ellipsis", no_wrap=True)] if tally.best else []
        return Group(head, *best, self._running_table(list(tally.running.items())))

    def _running_table(self, running: Sequence[tuple[str, Running]]) -> Table:
        table = Table.grid(padding=(0, 2))
        for key, trial in running[:SHOWN_TRIALS]:
            bar = ProgressBar(total=max(1, trial.epochs), completed=trial.epoch, width=20)
            state = "searching" if trial.searching else f"epoch {trial.epoch}/{trial.epochs}"
            table.add_row(key, bar, state, "" if trial.best is None else f"best {trial.best:.3f}", Text(trial.label))
        if len(running) > SHOWN_TRIALS:
            table.add_row(f"and {len(running) - SHOWN_TRIALS} more")
        return table


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
