"""A sweep from its plan to its results: what stands is kept, what is missing is trained and searched."""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_ray.errors import InputError
from ser_ray.results import SweepFolder, read_table, write_whole
from ser_ray.sweep.config import SweepConfig
from ser_ray.sweep.progress import Progress
from ser_ray.sweep.standing import Standing, adopt_checkpoints, forget_failed, read_standing
from ser_ray.trial import Trial, write_unfinished

if TYPE_CHECKING:
    from ser_ray.sweep.cluster import Cluster

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 75
STALE_S = 3 * 24 * 3600
"""Files under way that have not been touched for so long belong to no run."""


@dataclass(frozen=True)
class SweepRun:
    """A sweep that is to be run.

    Args:
        config: the sweep.
        resolved: its file as run, resolved.
        folder: where its results go.
        trials: the plan's trials.
        labels: key -> what distinguishes the trial in this sweep.
    """

    config: SweepConfig
    resolved: str
    folder: SweepFolder
    trials: Sequence[Trial]
    labels: Mapping[str, str]

    def run(self, *, retry_failed: bool = False) -> int:
        """Train and search what is missing, and return the sweep's exit code.

        Args:
            retry_failed: run trials again that failed before.

        Returns:
            0 if every planned trial is finished or was stopped by the schedule, 1 if some failed, 75 if the run was
            interrupted before the end.

        Raises:
            InputError: if the results cannot be written.
        """
        self._prepare()
        standing = read_standing(self.folder, self.trials)
        if retry_failed and standing.failed:
            forget_failed(self.folder, standing.failed)
            standing = read_standing(self.folder, self.trials)
        done = len(standing.finished) + len(standing.stopped) + len(standing.failed)
        if done:
            print(f"{done} of {len(self.trials)} trials stand already in {self.folder.path}")
        if standing.to_train or standing.to_search:
            with contextlib.suppress(KeyboardInterrupt):
                self._work(standing)
        self._tidy()
        return self._exit_code()

    def _prepare(self) -> None:
        try:
            # a write that is synced and renamed shows at once whether results can be kept here
            write_whole(self.folder, self.folder.sweep_file, lambda path: path.write_text(self.resolved))
        except OSError as error:
            raise InputError(
                f"results cannot be written to {self.folder.path}: {error.strerror or error}; "
                "choose another folder with --results DIR"
            ) from error

    def _work(self, standing: Standing) -> None:
        from ser_ray.sweep.cluster import cluster
        from ser_ray.sweep.search_pool import SearchPool
        from ser_ray.sweep.tune import Events, train_trials

        by_key = {trial.key: trial for trial in self.trials}
        epochs = {trial.key: trial.config.training.epochs for trial in standing.to_train}
        done = len(self.trials) - len(standing.to_train) - len(standing.to_search)
        log = self.folder.path / "sweep.log"
        # Ray and its children write to the standard streams by themselves; the view keeps the stream as it is now.
        with ThreadPoolExecutor(1) as beside, Progress(self.labels, epochs, done, log, sys.stdout) as progress:
            for key, donor in adopt_checkpoints(self.folder, standing.to_train).items():
                progress.say(f"longer    {key}  goes on from {donor}, which has fewer epochs")
            progress.say("starting Ray")
            compiled = beside.submit(_compile_kernels, bool(epochs) and self.config.resources.backend != "reference")
            with cluster(os.environ.get("RAY_ADDRESS") or None) as machines, _sigterm_as_sigint():
                share = self._share(machines)
                progress.say(
                    f"Ray has {machines.cpus:g} CPUs, {machines.gpus:g} GPUs, {len(machines.nodes)} nodes; a trial has "
                    + " and ".join(f"{amount:g} {kind.upper()}" for kind, amount in share.items() if amount)
                )
                if not compiled.done():
                    progress.say("compiling the kernels of training, once for this kind of CPU")
                compiled.result()
                pool = SearchPool(
                    self.folder, self._actors(machines.cpus, len(epochs)), self._on_searched(progress, by_key)
                )
                try:
                    for trial in standing.to_search:
                        progress.trained(trial.key)
                        pool.submit(trial.key)

                    def trained(key: str) -> None:
                        progress.trained(key)
                        pool.submit(key)

                    if standing.to_train:
                        events = Events(
                            started=progress.started,
                            epoch=progress.epoch,
                            trained=trained,
                            stopped=progress.stopped,
                            failed=progress.failed,
                        )
                        backend = self.config.resources.backend
                        train_trials(standing.to_train, self.config.schedule, share, events, self._scratch, backend)
                finally:
                    pool.close()

    @property
    def _scratch(self) -> Path:
        """Tune's own files of this run; another run of the same sweep has another place for its."""
        return self.folder.tmp / f"tune-{os.getpid()}"

    def _tidy(self) -> None:
        """Remove what this run left under way, and what killed runs left there days ago."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        long_ago = time.time() - STALE_S
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.tmp.iterdir():
                if path.stat().st_mtime < long_ago:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):
            self.folder.tmp.rmdir()  # stays while another run has files in it

    def _share(self, machines: "Cluster") -> dict[str, float]:
        """Return what a trial takes; without a GPU one core, since it trains in one thread.

        Raises:
            InputError: if no node has as much, so that trials would wait for ever.
        """
        resources = self.config.resources
        if not (machines.gpus and resources.gpus):
            return {"cpu": 1.0, "gpu": 0.0}
        if not any(cpus >= resources.cpus and gpus >= resources.gpus for cpus, gpus in machines.nodes):
            nodes = ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in sorted(set(machines.nodes)))
            raise InputError(
                f"resources: a trial asks for cpus {resources.cpus} and gpus {resources.gpus:g}, but no node has "
                f"as much (nodes have {nodes}); ask for less, with --set resources.cpus=N or resources.gpus=N"
            )
        return {"cpu": float(resources.cpus), "gpu": float(resources.gpus)}

    def _actors(self, cpus: float, trials: int) -> int:
        # a search takes about a second: one process keeps up with several trials, and memory is not free
        wanted = self.config.resources.search_actors or max(1, int(cpus) // 8)
        return min(wanted, max(1, trials))

    def _on_searched(self, progress: Progress, trials: Mapping[str, Trial]) -> Callable[[str, Exception | None], None]:
        def on_searched(key: str, error: Exception | None) -> None:
            if error is not None:
                reason = f"post-processing search: {type(error).__name__}: {' '.join(str(error).split())}"
                write_unfinished(trials[key], "failed", reason)
                progress.failed(key, reason)
                return
            (row,) = read_table(self.folder, "trials", keys=[key]).to_pylist()
            progress.finished(key, row)

        return on_searched

    def _exit_code(self) -> int:
        standing = read_standing(self.folder, self.trials)
        left = len(standing.to_train) + len(standing.to_search)
        if left:
            print(f"{left} of {len(self.trials)} trials are open: run the same command again to go on with them")
            return EXIT_INTERRUPTED
        if standing.failed:
            print(f"{len(standing.failed)} of {len(self.trials)} trials failed (--retry-failed runs them again):")
            for key, reason in sorted(standing.failed.items()):
                print(f"  {key}  {reason}  (log: {self.folder.log(key)})")
            return EXIT_FAILED
        return EXIT_DONE


def _compile_kernels(needed: bool) -> None:
    """Leave the kernels of training compiled on disk, lest each worker compiles them for itself."""
    if needed:
        from ser_ray.models.kernels import warm

        warm()


@contextlib.contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """Treat the signal that schedulers send like the one from a keyboard: Tune ends its trials on it.

    Inside the cluster's context, since Ray puts in a handler of its own when it starts.
    """

    def forward(number: int, frame: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
