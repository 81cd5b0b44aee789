"""The worker of a trial, without Ray: its log, its signs of life, its corpus, its memory, and how its errors end it."""

import contextlib
import dataclasses
import faulthandler
import gc
import os
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ser_ray import provenance
from ser_ray.corpus.store.files import AlteredError
from ser_ray.errors import InputError
from ser_ray.sweep.running.local_corpus import local_corpus, verify_corpus
from ser_ray.sweep.running.options import WorkerOptions
from ser_ray.trial import Trial, write_unfinished
from ser_ray.trial.log import epoch_line, opening, starts
from ser_ray.trial.place import Place, place_here
from ser_ray.unwritable import results_cannot_be_written

if TYPE_CHECKING:
    import torch

    from ser_ray.training.state import EpochReport

POLL_S = 1.0
"""How often a trial checks whether it is to stop, and gives a sign of life."""
HUNG = "Timeout ("
"""What faulthandler writes above the traceback of a process that gave no sign of life."""
OWN_ERRORS = ("TrainingDivergedError", "OutOfMemoryError")
"""Those whose message says everything."""


class DeviceFaultError(RuntimeError):
    """A fault of the GPU that a trial ran on, which is none of the trial's: it is still open, and goes on elsewhere."""


class OutOfMemoryError(RuntimeError):
    """A trial that did not fit into its device's memory; the message says what to change."""


def run_trial(
    trial: Trial,
    gpus: float,
    options: WorkerOptions,
    on_epoch: Callable[["EpochReport"], None],
    on_place: Callable[[Place], None] = lambda place: None,
) -> str | None:
    """Train a trial in this process on its share of a GPU, or write the row that says why it failed.

    `on_place` is called with where the trial runs, before it begins.

    Returns:
        None if the trial left what it had to, or was asked to stop; else why its results cannot be written, which is no
        fault of the trial's: it is still open.

    Raises:
        DeviceFaultError: if its GPU is at fault, after which this process can use no GPU any more.
        AlteredError: if the corpus is not what its manifest says, which is no fault of the trial's either.
    """
    try:
        with _output_in(trial.folder.log(trial.key)) as log, _watched(log, options.silence_s) as alive:
            _train_or_fail(trial, gpus, options, on_epoch, on_place, alive)
    except OSError as error:
        if not results_cannot_be_written(error, trial.folder.path):
            raise
        return f"{error.strerror or error} ({trial.folder.path})"
    return None


def _train_or_fail(
    trial: Trial,
    gpus: float,
    options: WorkerOptions,
    on_epoch: Callable[["EpochReport"], None],
    on_place: Callable[[Place], None],
    alive: Callable[[], None],
) -> None:
    import torch

    from ser_ray.training.device_errors import classify_error
    from ser_ray.training.loop import Supervision, TrainingInterruptedError
    from ser_ray.trial import train_trial

    # by what the trial was given, not by what is there: Ray leaves GPUs visible to processes that got none
    device = torch.device("cuda:0" if gpus else "cpu")
    print(opening(trial, f"{device} ({provenance.host_name()}, process {os.getpid()})"), flush=True)
    supervision = Supervision(
        alive=alive, stop=_seldom(lambda: _is_gone(options.go_file)), save_every_s=options.save_every_s
    )
    if _is_gone(options.go_file):
        return
    place = place_here(device, options.cpus, gpus, corpus_verified=None if options.verify_corpus else False)
    on_place(place)

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

    # Whatever a trial raises ends that trial alone, with its reason in its row.
    try:
        corpus = local_corpus(trial.corpus, options.local_copy, check)
        if options.verify_corpus:
            verify_corpus(corpus, check)
        verified = dataclasses.replace(place, corpus_verified=options.verify_corpus)
        _with_memory(trial, device, gpus, train)
    except TrainingInterruptedError as interruption:
        print(f"asked to end: {interruption}", flush=True)
    except AlteredError as error:
        print(f"the corpus is not what it was: {error}", flush=True)
        raise
    except Exception as error:
        if results_cannot_be_written(error, trial.folder.path):
            raise
        traceback.print_exc()
        if device.type == "cuda" and classify_error(error) == "device":
            raise DeviceFaultError(one_line(error)) from error
        write_unfinished(trial, "failed", one_line(error), place)


def _with_memory(trial: Trial, device: "torch.device", gpus: float, train: Callable[[], None]) -> None:
    """Train, and once more where memory was short that others may have given back since."""
    import torch

    from ser_ray.training.device_errors import classify_error

    for again in (True, False):
        try:
            if device.type == "cuda" and gpus < 1:
                # a trial must not take its neighbours' share; this is also where CUDA itself first takes memory
                torch.cuda.set_per_process_memory_fraction(gpus, device)
            return train()
        except Exception as error:
            if classify_error(error) != "memory":
                raise
            failure = _out_of_memory(trial, device, gpus, error)
            if not again:
                raise failure from error
        # here, where the frames that hold the failed step's buffers are gone
        print(f"{failure}; trying once more from the last checkpoint", flush=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return None


def _out_of_memory(trial: Trial, device: "torch.device", gpus: float, error: BaseException) -> OutOfMemoryError:
    """Return the error that says where the memory ended, with which batch, and what to change."""
    model, training = trial.config.model, trial.config.training
    on_gpu = device.type == "cuda"
    name = _gpu_name(device) if on_gpu else "this host's CPU"
    share = f", of which a trial has {gpus:g}" if on_gpu and gpus < 1 else ""
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
    except RuntimeError:  # the memory was too short for CUDA itself, which cannot be asked then
        return "the GPU"


def one_line(error: BaseException) -> str:
    """Return an error as one line: its kind, unless it is one of ours that speaks for itself, and its message."""
    message = " ".join(str(error).split())
    kind = type(error).__name__
    return message if isinstance(error, InputError) or kind in OWN_ERRORS else f"{kind}: {message}"


def was_hung(log: Path) -> bool:
    """Return whether the last process of the trial with this log was ended because it gave no sign of life."""
    return HUNG in (starts(log) or [""])[-1]


def _is_gone(path: Path) -> bool:
    try:
        # opened, since network file systems answer a mere stat from memory for up to a minute
        os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the file system is in trouble, which is no request of the driver's
    return False


def _seldom(condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a condition that is evaluated once in POLL_S, and not any more once it was true."""
    evaluated_at, value = 0.0, False

    def seldom() -> bool:
        nonlocal evaluated_at, value
        if not value and time.monotonic() - evaluated_at >= POLL_S:
            evaluated_at, value = time.monotonic(), condition()
        return value

    return seldom


@contextlib.contextmanager
def _watched(log: TextIO, silence_s: float) -> Iterator[Callable[[], None]]:
    """Yield what gives a sign of life; without one for so long, this process writes where it stands and ends."""

    def watch() -> None:  # by a thread of C, which also ends a process whose Python is stuck in a library
        faulthandler.dump_traceback_later(silence_s, exit=True, file=log)

    given_at = time.monotonic()

    def alive() -> None:
        nonlocal given_at
        if time.monotonic() - given_at >= POLL_S:
            given_at = time.monotonic()
            watch()
            os.utime(log.fileno())  # which the driver sees, for processes that cannot end themselves

    watch()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _output_in(path: Path) -> Iterator[TextIO]:
    """Send what this process prints to a log, and yield it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed below, where a full disk is borne
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield log
    finally:
        with contextlib.suppress(OSError):  # of a full disk, which has been noticed when the line was written
            log.close()
