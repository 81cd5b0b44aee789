"""The worker of a trial, without Ray: its log, signs of life, corpus and memory, and the handling of its errors."""

import contextlib
import dataclasses
import faulthandler
import gc
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ser_ray import provenance
from ser_ray.corpus.store.local_copy import local_corpus
from ser_ray.corpus.store.manifest import AlteredError
from ser_ray.corpus.store.verifying import verify_corpus
from ser_ray.errors import InputError, results_cannot_be_written, system_reason
from ser_ray.models.config import Backend
from ser_ray.sweep.nodes.stop import is_gone
from ser_ray.trial import Trial, write_unfinished
from ser_ray.trial.log import epoch_line, opening, starts
from ser_ray.trial.place import Place, place_here

if TYPE_CHECKING:
    import torch

    from ser_ray.training.state import EpochReport
    from ser_ray.training.supervision import Supervision

POLL_S = 1.0
"""Interval at which a trial checks for a stop request and gives a sign of life."""
HUNG = "Timeout ("
"""Text that faulthandler writes above the traceback of a process that gave no sign of life."""
OWN_ERRORS = ("TrainingDivergedError", "OutOfMemoryError")
"""Errors whose message is enough without their class."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Options of a worker that trains a trial."""

    go_file: Path  # when it is removed, the trial is saved and ends
    silence_s: float  # a process without a sign of life for this long counts as hung and is ended
    save_every_s: float
    cpus: float = 1.0  # cores of a trial
    backend: Backend = "auto"
    local_copy: str | None = None  # folder for a local copy of the corpus; None reads it in place
    verify_corpus: bool = False


@dataclass(frozen=True)
class DeviceFault:
    """A GPU fault that a trial met."""

    message: str  # CUDA's, in one line
    host: str
    gpu: str  # as CUDA_VISIBLE_DEVICES names it there
    set_aside: str | None = None  # reason why the GPU is no longer used; None if it still is

    @property
    def place(self) -> str:
        """The GPU's name among those of all nodes: host/GPU."""
        return f"{self.host}/{self.gpu}"


class DeviceFaultError(RuntimeError):
    """Fault of a trial's GPU, not of the trial, which is still open and goes on elsewhere."""


class OutOfMemoryError(RuntimeError):
    """Error of a trial that did not fit into its device's memory; the message says what to change."""


def run_trial(
    trial: Trial,
    gpus: float,
    options: WorkerOptions,
    on_epoch: Callable[["EpochReport"], None],
    on_place: Callable[[Place], None] = lambda place: None,
) -> str | None:
    """Train a trial in this process on its share of a GPU; if it fails, write its row with the reason.

    `on_place` is called with the trial's place before training begins.

    Returns:
        None if the trial wrote its results or was requested to stop; else the reason why results cannot be written.
        That is no fault of the trial, which is still open.

    Raises:
        DeviceFaultError: if its GPU is at fault; this process can use no GPU after that.
        AlteredError: if the corpus does not match its manifest, which is no fault of the trial either.
    """
    try:
        with _output_in(trial.folder.log(trial.key)) as log, _watched(log, options.silence_s) as alive:
            import torch

            from ser_ray.training.supervision import Supervision

            # by the trial's share, not by the GPUs that are visible: Ray leaves them visible to processes that got none
            device = torch.device("cuda:0" if gpus else "cpu")
            print(opening(trial, f"{device} ({provenance.host_name()}, process {os.getpid()})"), flush=True)
            stop = _stop_check(options.go_file)
            if stop():
                return None
            place = place_here(device, options.cpus, gpus, corpus_verified=None if options.verify_corpus else False)
            on_place(place)
            supervision = Supervision(alive=alive, stop=stop, save_every_s=options.save_every_s)
            _train_or_fail(trial, device, place, options, supervision, on_epoch)
    except OSError as error:
        if not results_cannot_be_written(error, trial.folder.path):
            raise
        return f"{system_reason(error)} ({trial.folder.path})"
    return None


def _train_or_fail(
    trial: Trial,
    device: "torch.device",
    place: Place,
    options: WorkerOptions,
    supervision: "Supervision",
    on_epoch: Callable[["EpochReport"], None],
) -> None:
    """Train a trial; any exception of it ends that trial alone, with the reason in its row."""
    from ser_ray.training.device_errors import classify_error
    from ser_ray.training.supervision import TrainingInterruptedError
    from ser_ray.trial import train_trial

    def check() -> None:
        supervision.alive()
        if supervision.stop():
            raise TrainingInterruptedError("before its first step, while its corpus was being copied or verified")

    def log_epoch(epoch: "EpochReport") -> None:
        print(epoch_line(epoch, trial.config.training.epochs), flush=True)
        on_epoch(epoch)

    def train() -> None:
        train_trial(
            trial, device, log_epoch, place=verified, corpus=corpus, backend=options.backend, supervision=supervision
        )

    try:
        corpus = local_corpus(trial.corpus, options.local_copy, print, check)
        if options.verify_corpus:
            verify_corpus(corpus, print, check)
        verified = dataclasses.replace(place, corpus_verified=options.verify_corpus)
        _with_memory(trial, device, place.gpus or 0.0, train)
    except TrainingInterruptedError as interruption:
        print(f"stop requested: {interruption}", flush=True)
    except AlteredError as error:
        print(f"the corpus has changed: {error}", flush=True)
        raise
    except Exception as error:
        if results_cannot_be_written(error, trial.folder.path):
            raise
        traceback.print_exc()
        if device.type == "cuda" and classify_error(error) == "device":
            raise DeviceFaultError(one_line(error)) from error
        write_unfinished(trial, "failed", one_line(error), place)


def _with_memory(trial: Trial, device: "torch.device", gpus: float, train: Callable[[], None]) -> None:
    """Train, and once more if memory was short, since others may have freed some."""
    import torch

    from ser_ray.training.device_errors import classify_error

    for again in (True, False):
        try:
            if device.type == "cuda" and gpus < 1:
                # a trial must not take its neighbours' share; this is also where CUDA itself first allocates memory
                torch.cuda.set_per_process_memory_fraction(gpus, device)
            return train()
        except Exception as error:
            if classify_error(error) != "memory":
                raise
            failure = _out_of_memory(trial, device, gpus, error)
            if not again:
                raise failure from error
        # here, where the frames that reference the failed step's buffers are gone
        print(f"{failure}; retrying once from the last checkpoint", flush=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return None


def _out_of_memory(trial: Trial, device: "torch.device", gpus: float, error: BaseException) -> OutOfMemoryError:
    """Create the error that names the device out of memory, the batch, and what to change."""
    model, training = trial.config.model, trial.config.training
    on_gpu = device.type == "cuda"
    name = _gpu_name(device) if on_gpu else "this host's CPU"
    share = f", of which this trial may use {gpus:g}" if on_gpu and gpus < 1 else ""
    others = "a larger resources.gpus, so that fewer trials share a GPU" if on_gpu else "fewer trials at once"
    asked = " ".join(str(error).split())[:200]
    return OutOfMemoryError(
        f"out of memory on {name}{share}, with batches of {training.batch_size} x {training.sequence_s:g} s and "
        f"{model.parameters:,} parameters; try a smaller training.batch_size or training.sequence_s, or {others} "
        f"({asked})"
    )


def _gpu_name(device: "torch.device") -> str:
    import torch

    try:
        return torch.cuda.get_device_name(device)
    except RuntimeError:  # memory was too short for CUDA itself, which then cannot be queried
        return "the GPU"


def one_line(error: BaseException) -> str:
    """Format an error as one line: its class, unless the message of our own errors is enough, and its message."""
    message = " ".join(str(error).split())
    kind = type(error).__name__
    return message if isinstance(error, InputError) or kind in OWN_ERRORS else f"{kind}: {message}"


def was_hung(log: Path) -> bool:
    """Check whether the last process of the trial with this log was ended because it gave no sign of life."""
    return HUNG in (starts(log) or [""])[-1]


def _stop_check(go_file: Path) -> Callable[[], bool]:
    """Create a check for a stop request that looks at the file at most once in POLL_S, and no more once it is gone."""
    looked_at, gone = -math.inf, False

    def requested() -> bool:
        nonlocal looked_at, gone
        if not gone and time.monotonic() - looked_at >= POLL_S:
            looked_at, gone = time.monotonic(), is_gone(go_file)
        return gone

    return requested


@contextlib.contextmanager
def _watched(log: TextIO, silence_s: float) -> Iterator[Callable[[], None]]:
    """Yield a function that gives a sign of life; after `silence_s` without one, log a traceback and exit."""

    def watch() -> None:  # by a C thread, which also ends a process whose Python is stuck in a library
        faulthandler.dump_traceback_later(silence_s, exit=True, file=log)

    given_at = time.monotonic()

    def alive() -> None:
        nonlocal given_at
        if time.monotonic() - given_at >= POLL_S:
            given_at = time.monotonic()
            watch()
            os.utime(log.fileno())  # for the driver's watchdog, which ends processes that cannot end themselves

    watch()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _output_in(path: Path) -> Iterator[TextIO]:
    """Redirect this process's output to a log, and yield the log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed below, where a full disk is tolerated
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield log
    finally:
        with contextlib.suppress(OSError):  # of a full disk, which was noticed when the line was written
            log.close()
