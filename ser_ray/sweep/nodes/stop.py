"""Stop requests, which end a run before its plan is done: at once, or after its trials are saved."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from ser_ray import provenance
from ser_ray.errors import is_unwritable
from ser_ray.process import SCHEDULER, TOGETHER_S, handle_signals

MAKE_ROOM = "results cannot be written: free disk space or get write permission, and run the same command again"
RAY_LOST = "Ray was lost: a process of its cluster was killed (out of memory?), or does not respond"

SAVE_S = 120.0
"""How long trials may take to save, and searches to finish, once the run is to end."""
POLL_S = 0.2


def is_gone(go_file: Path) -> bool:
    """Check whether a file whose removal is a request to end is gone.

    It is opened, which asks the server: network file systems answer a mere stat from their cache for up to a minute.
    """
    try:
        os.close(os.open(go_file, os.O_RDONLY))
    except FileNotFoundError:
        return True
    except OSError:
        return False  # a file system in trouble is no request
    return False


class StopRequest:
    """Request to stop a run, which workers see by the removal of a file.

    A file can be removed even on a full disk, and every node sees its absence.

    Attributes:
        file: created here, removed by the request.
        reason: of the first request, in a few words; None while the run goes on.
        now: whether to stop at once, without waiting for trials or searches.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        self.reason: str | None = None
        self.requested_at = 0.0
        self.now = False

    @property
    def requested(self) -> bool:
        """Whether the run is to stop."""
        return self.reason is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request; 0 while there is none."""
        return time.monotonic() - self.requested_at if self.requested else 0.0

    def request(self, reason: str, *, now: bool = False) -> None:
        """Stop the run once its trials are saved or, with `now`, at once."""
        if self.reason is None:
            self.requested_at, self.reason = time.monotonic(), reason
        if now and not self.now:
            self.requested_at, self.now = time.monotonic(), True
        if not self.close() and not self.now:
            # workers do not see the request, and cannot save where not even this file can be removed
            self.requested_at, self.now = time.monotonic(), True

    def close(self) -> bool:
        """Remove the file, and return whether that was possible."""
        try:
            self.file.unlink(missing_ok=True)
        except OSError as error:
            if not is_unwritable(error):
                raise
            return False
        return True


def hold_signals() -> None:
    """Block a scheduler's signals, in its job, for processes that this thread starts from now on.

    A scheduler sends its signals to all processes of a job at once. Those of the cluster would end before the trials
    are saved; instead, the driver ends them after that.
    """
    if provenance.job_id() is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SCHEDULER)


@contextlib.contextmanager
def on_signals(stop: StopRequest) -> Iterator[None]:
    """Turn the first signal into a stop request, and a later one into a request to stop at once.

    Raises:
        KeyboardInterrupt: in the main thread, on a later signal.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        if not stop.requested:
            stop.request(f"received {signal.Signals(number).name}")
        elif time.monotonic() - stop.requested_at > TOGETHER_S:
            stop.request("", now=True)
            raise KeyboardInterrupt

    with handle_signals(on_signal):
        yield


@contextlib.contextmanager
def announce_stop(stop: StopRequest, log: Callable[[str], None], doing: Callable[[], str]) -> Iterator[None]:
    """Log a stop request as soon as it is made; after SAVE_S seconds turn it into one to stop at once.

    `doing()` describes what is still done before the run ends.
    """
    over, logged, logged_now = threading.Event(), False, False

    def announce() -> None:
        nonlocal logged, logged_now
        if stop.requested and not logged:
            logged, logged_now = True, stop.now
            how = "immediately" if stop.now else f"{doing()}; a second Ctrl-C stops immediately"
            log(f"ending    {stop.reason}: {how}")
        elif stop.now and not logged_now:
            logged_now = True
            log("ending    immediately")

    def watch() -> None:
        while not over.wait(POLL_S):
            if stop.requested and stop.elapsed_s > SAVE_S and not stop.now:
                stop.request("", now=True)
            announce()

    thread = threading.Thread(target=watch, name="announce-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        announce()
