"""One attempt at a trial in the process that it was given: its log, its signs of life, and what is made of its end."""

import contextlib
import faulthandler
import gc
import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ser_ray import provenance
from ser_ray.corpus.store.files import AlteredError
from ser_ray.errors import InputError
from ser_ray.sweep.running.staging import with_staged_corpus
from ser_ray.sweep.running.verifying import with_verified_corpus
from ser_ray.trial import Trial, write_unfinished
from ser_ray.trial.log import epoch_line, opening, starts
from ser_ray.trial.place import Place, place_of
from ser_ray.unwritable import results_cannot_be_written

if TYPE_CHECKING:
    import torch

    from ser_ray.sweep.spec.config import Backend
    from ser_ray.training.state import EpochReport

LOOK_S = 1.0
"""How often a trial looks whether it is to end, and gives a sign of life."""
HUNG = "Timeout ("
"""What faulthandler writes above the traceback of a process that gave no sign of life."""
OWN_ERRORS = ("TrainingDivergedError", "OutOfMemoryError")
"""Those whose message says everything."""


class DeviceFaultError(RuntimeError):
    """A fault of the GPU that a trial ran on, which is none of the trial's: it is still open, and goes on elsewhere."""


@dataclass(frozen=True)
class Terms:
    """What an attempt keeps to.

    Args:
        go: a file; when it is gone, the trial is saved and ends.
        silence_s: a process that gives no sign of life for so long is taken for hung, and ended.
        save_every_s: how much of a training may be lost.
        backend: what computes the convolutional blocks.
        staging: where the corpus is copied to before it is read, if anywhere.
        verify_corpus: whether the corpus is compared with its hashes first.
    """

    go: Path
    silence_s: float
    save_every_s: float
    backend: "Backend" = "auto"
    staging: str | None = None
    verify_corpus: bool = False


def attempt(
    trial: Trial,
    on_gpu: bool,
    terms: Terms,
    report: Callable[["EpochReport"], None],
    placed: Callable[[Place], None] = lambda place: None,
) -> str | None:
    """Train a trial here, or write the row that says why it failed.

    Args:
        trial: the trial.
        on_gpu: whether it was given a GPU, or a share of one.
        terms: what it keeps to.
        report: told of each epoch.
        placed: told where the trial runs, before it begins.

    Returns:
        None if the trial left what it had to, or was asked to end; else why its results cannot be written, which is no
        fault of the trial's: it is still open.

    Raises:
        DeviceFaultError: if its GPU is at fault, after which this process can use no GPU any more.
        AlteredError: if the corpus is not what its manifest says, which is no fault of the trial's either.
    """
    try:
        with _logged(trial.folder.log(trial.key)) as log, _watched(log, terms.silence_s) as alive:
            _attempt(trial, on_gpu, terms, report, placed, alive)
    except OSError as error:
        if not results_cannot_be_written(error, trial.folder.path):
            raise
        return f"{error.strerror or error} ({trial.folder.path})"
    return None


def _attempt(
    trial: Trial,
    on_gpu: bool,
    terms: Terms,
    report: Callable[["EpochReport"], None],
    placed: Callable[[Place], None],
    alive: Callable[[], None],
) -> None:
    import torch

    from ser_ray.training.device_errors import verdict
    from ser_ray.training.supervision import Supervision, TrainingInterruptedError
    from ser_ray.trial import train_trial

    # by what the trial was given, not by what is there: Ray leaves GPUs visible to processes that got none
    device = torch.device("cuda:0" if on_gpu else "cpu")
    print(opening(trial, f"{device} ({provenance.host_name()}, process {os.getpid()})"), flush=True)
    supervision = Supervision(alive=alive, stop=_seldom(lambda: _is_gone(terms.go)), save_every_s=terms.save_every_s)
    if _is_gone(terms.go):
        return
    place = place_of(trial, device)
    placed(place)

    def look() -> None:
        supervision.alive()
        if supervision.stop():
            raise TrainingInterruptedError("before its first step, while its corpus was being copied or verified")

    def told(epoch: "EpochReport") -> None:
        print(epoch_line(epoch, trial.config.training.epochs), flush=True)
        report(epoch)

    # Whatever a trial raises ends that trial alone, with its reason in its row.
    try:
        near = with_verified_corpus(with_staged_corpus(trial, terms.staging, look), terms.verify_corpus, look)
        _with_memory(
            trial,
            device,
            lambda: train_trial(near, device, told, backend=terms.backend, supervision=supervision),
        )
    except TrainingInterruptedError as interruption:
        print(f"asked to end: {interruption}", flush=True)
    except AlteredError as error:
        print(f"the corpus is not what it was: {error}", flush=True)
        raise
    except Exception as error:
        if results_cannot_be_written(error, trial.folder.path):
            raise
        traceback.print_exc()
        if device.type == "cuda" and verdict(error) == "device":
            raise DeviceFaultError(one_line(error)) from error
        write_unfinished(trial, "failed", one_line(error), place)


def _with_memory(trial: Trial, device: "torch.device", train: Callable[[], None]) -> None:
    """Train, and once more where memory was short that others may have given back since."""
    import torch

    from ser_ray.training.device_errors import verdict
    from ser_ray.trial.memory import out_of_memory

    for again in (True, False):
        try:
            if device.type == "cuda" and trial.gpus < 1:
                # a trial must not take its neighbours' share; this is also where CUDA itself first takes memory
                torch.cuda.set_per_process_memory_fraction(trial.gpus, device)
            return train()
        except Exception as error:
            if verdict(error) != "memory":
                raise
            failure = out_of_memory(trial, device, error)
            if not again:
                raise failure from error
        # here, where the frames that hold the failed step's buffers are gone
        print(f"{failure}; trying once more from the last checkpoint", flush=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return None


def one_line(error: BaseException) -> str:
    """Return an error as one line: its kind, unless it is one of ours that speaks for itself, and its message.

    Args:
        error: any exception.
    """
    message = " ".join(str(error).split())
    kind = type(error).__name__
    return message if isinstance(error, InputError) or kind in OWN_ERRORS else f"{kind}: {message}"


def was_hung(log: Path) -> bool:
    """Return whether the last process of a trial was ended because it gave no sign of life.

    Args:
        log: the trial's.
    """
    return HUNG in (starts(log) or [""])[-1]


def _is_gone(path: Path) -> bool:
    try:
        # opened, since network file systems answer a mere stat from memory for up to a minute
        os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the file system is in trouble, which is no wish of the driver's
    return False


def _seldom(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return a question that is asked once in LOOK_S, and not any more once its answer was yes."""
    asked_at, answer = 0.0, False

    def seldom() -> bool:
        nonlocal asked_at, answer
        if not answer and time.monotonic() - asked_at >= LOOK_S:
            asked_at, answer = time.monotonic(), ask()
        return answer

    return seldom


@contextlib.contextmanager
def _watched(log: TextIO, silence_s: float) -> Iterator[Callable[[], None]]:
    """Yield what gives a sign of life; without one for so long, this process writes where it stands and ends.

    The watch is a thread of C: it also ends a process whose Python is stuck in a library.
    """

    def watch() -> None:
        faulthandler.dump_traceback_later(silence_s, exit=True, file=log)

    given_at = time.monotonic()

    def alive() -> None:
        nonlocal given_at
        if time.monotonic() - given_at >= LOOK_S:
            given_at = time.monotonic()
            watch()
            os.utime(log.fileno())  # which the driver sees, for processes that cannot end themselves

    watch()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[TextIO]:
    """Send what the trial prints to its own log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed below, where a full disk is borne
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield log
    finally:
        with contextlib.suppress(OSError):  # of a full disk, which has been noticed when the line was written
            log.close()
