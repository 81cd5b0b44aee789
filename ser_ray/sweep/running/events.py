"""Handle the events of a run's trials: show them, submit searches, spend the budget, feed the queue."""

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from ser_ray.errors import InputError, results_cannot_be_written, system_reason
from ser_ray.results import SweepFolder, compact_tables, read_table, read_trial
from ser_ray.sweep.nodes.stop import MAKE_ROOM, StopRequest
from ser_ray.sweep.planning.plan import Plan
from ser_ray.sweep.running.progress import Progress
from ser_ray.sweep.running.queue import TrialQueue
from ser_ray.sweep.running.watchdog import Watchdog
from ser_ray.sweep.running.worker import DeviceFault
from ser_ray.trial import Trial, write_unfinished
from ser_ray.trial.place import NOWHERE, Place

if TYPE_CHECKING:
    from ser_ray.sweep.running.tensorboard import TensorBoard


class TrialEvents:
    """Handles trials that start, end an epoch, or end.

    `stop` ends the run if a budget is spent or results cannot be written; `submit` is called with the key of a trained
    trial that is to be searched.

    Attributes:
        places: key -> where the trial runs, as reported by its process.
        corpus_altered: how the corpus differs from its manifest, once a trial has found that.
    """

    def __init__(
        self,
        plan: Plan,
        queue: TrialQueue,
        stop: StopRequest,
        progress: Progress,
        submit: Callable[[str], None],
        board: "TensorBoard | None" = None,
    ) -> None:
        self._folder, self._schedule = plan.folder, plan.config.schedule
        self._progress, self._stop, self._queue, self._submit = progress, stop, queue, submit
        self._watchdog = Watchdog(60 * self._schedule.silence_minutes)
        self._too_late: set[str] = set()
        self.places: dict[str, Place] = {}
        self.corpus_altered: str | None = None
        self._gpu_seconds = 0.0 if self._schedule.max_gpu_hours is None else _gpu_seconds_of(plan.folder)
        self._board = board

    def started(self, key: str, kill: Callable[[], None]) -> None:
        """Watch a trial that got its resources; `kill` ends its process."""
        if self._stop.requested:
            self._too_late.add(key)  # it ends as soon as it sees the stop request, with nothing done
        else:
            self._progress.started(key)
        self._watchdog.watch(key, self._folder.log(key), kill)

    def place(self, key: str) -> Place:
        """Return where a trial ran last: as reported to this run, or as an earlier run recorded in its predictions."""
        if key not in self.places:
            with contextlib.suppress(InputError):  # then it is unknown
                return Place.of_row(read_trial(self._folder.part("predictions", key)))
        return self.places.get(key, NOWHERE)

    def epoch(self, key: str, figures: Mapping[str, Any]) -> None:
        """Show the figures of an epoch, and stop the run if its budget is spent."""
        self._progress.epoch(key, figures)
        self._draw(lambda board: board.epoch(key, figures))
        most = self._schedule.max_gpu_hours
        self._gpu_seconds += figures["seconds"] * figures["gpus"]
        if most is not None and self._gpu_seconds >= 3600 * most:
            spent = self._gpu_seconds / 3600
            self._stop.request(
                f"schedule.max_gpu_hours ({most:g}) is reached ({spent:.3g} GPU hours used); raise it to continue"
            )

    def trained(self, key: str) -> None:
        """Submit a trained trial for its search."""
        self._watchdog.forget(key)
        self._progress.trained(key)
        self._submit(key)

    def stopped(self, key: str) -> None:
        """Record a trial that the scheduler ended early, and whose row is written."""
        self._watchdog.forget(key)
        (row,) = read_table(self._folder, "trials", keys=[key]).to_pylist()
        self._queue.ended(key, "stopped", row["ccc_devel_mean"])
        self._progress.stopped(key)
        self._draw(lambda board: board.finished(key, row))

    def failed(self, key: str, reason: str) -> None:
        """Record a trial that failed, and whose row is written."""
        self._watchdog.forget(key)
        self._queue.ended(key, "failed", None)
        self._progress.failed(key, reason)
        self._draw(lambda board: board.ended(key))

    def left(self, key: str) -> None:
        """Record a trial whose process ended although it is still open."""
        self._watchdog.forget(key)
        self._draw(lambda board: board.ended(key))
        if key not in self._too_late:
            self._progress.left(key)

    def faulted(self, key: str, fault: DeviceFault) -> None:
        """Show that a trial met a fault of its GPU; the trial is still open."""
        self._watchdog.forget(key)
        self._progress.log(f"GPU       {key}  hit a fault of GPU {fault.gpu} on {fault.host}: {fault.message}")
        if fault.set_aside is not None:
            self._progress.log(f"GPU       GPU {fault.gpu} on {fault.host} is no longer used: {fault.set_aside}")

    def unwritable(self, key: str, reason: str) -> None:
        """Stop the run, since the results of a trial cannot be written."""
        self._progress.log(f"DISK      {key}  results cannot be written: {reason}")
        self._stop.request(MAKE_ROOM)

    def altered(self, key: str, reason: str) -> None:
        """Stop the run, since a trial found that the corpus does not match its manifest."""
        self._progress.log(f"CORPUS    {key}  {reason}")
        self.corpus_altered = self.corpus_altered or reason
        self._stop.request("the corpus does not match its manifest")

    def searched(self, trial: Trial, error: Exception | None) -> None:
        """Record that a trial's search is done, or the error that ended it."""
        key = trial.key
        if error is None:
            (row,) = read_table(self._folder, "trials", keys=[key]).to_pylist()
            self._queue.ended(key, "finished", row["ccc_devel_mean"])
            self._progress.finished(key, row)
            self._draw(lambda board: board.finished(key, row))
        elif results_cannot_be_written(error, self._folder.path):
            self._not_searched(key, error)
        else:
            reason = f"post-processing search: {type(error).__name__}: {' '.join(str(error).split())}"
            if self._folder.part("trials", key).is_file():  # it was searched again for its chains, which had been lost
                self._progress.log(f"FAILED    {key}  {reason}; its row is unchanged")
                return
            try:
                write_unfinished(trial, "failed", reason, self.place(key))
            except OSError as unwritable:
                self._not_searched(key, unwritable)
            else:
                self.failed(key, reason)

    def _not_searched(self, key: str, error: OSError) -> None:
        self.unwritable(key, f"{system_reason(error)} ({self._folder.path})")
        self._progress.left(key)

    def maintain(self) -> None:
        """End hung processes, and bring the compacted tables up to date."""
        for key in self._watchdog.check():
            self._progress.log(f"HUNG      {key}  reported no progress: its process is killed and restarted")
        with contextlib.suppress(OSError, InputError):  # if they cannot be written, the parts are enough
            compact_tables(self._folder)

    def close(self) -> None:
        """Close TensorBoard's files."""
        self._draw(lambda board: board.close())

    def _draw(self, draw: "Callable[[TensorBoard], None]") -> None:
        """Write to TensorBoard's files, or give them up if that fails: the tables contain the same figures."""
        if self._board is None:
            return
        try:
            draw(self._board)
        except OSError as error:
            self._progress.log(f"DISK      no more TensorBoard files are written: {system_reason(error)}")
            self._board = None


def _gpu_seconds_of(folder: SweepFolder) -> float:
    """Sum the GPU seconds that a sweep's trials have taken so far."""
    epochs = read_table(folder, "epochs", columns=["train_seconds", "evaluate_seconds", "gpus"])
    seconds = pc.add(epochs["train_seconds"], epochs["evaluate_seconds"])
    return float(pc.sum(pc.multiply(seconds, epochs["gpus"])).as_py() or 0.0)
