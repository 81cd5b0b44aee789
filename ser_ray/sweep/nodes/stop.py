"""Whether a run is to end before its plan, why, and how: saved, or at once."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from ser_ray import provenance
from ser_ray.signals import SCHEDULER, TOGETHER_S, handle_signals
from ser_ray.unwritable import is_unwritable

MAKE_ROOM = "results cannot be written: make room or get leave to write, and run the same command again"
RAY_LOST = "Ray was lost: a process of its cluster was killed (out of memory?), or does not answer any more"


SAVE_S = 120.0
"""How long trials may take to save what they have, and searches to be done, when the run is to end."""
LOOK_S = 0.2


class Ending:
    """The wish that a run ends before its plan is done.

    Trials see it by a file that is gone: it can be removed on a disk that is full, and seen from every node.

    Args:
        go: the file; it is made here.
    """

    def __init__(self, go: Path) -> None:
        self.go = go
        go.parent.mkdir(parents=True, exist_ok=True)
        go.touch()
        self.reason: str | None = None
        self.asked_at = 0.0
        self.now = False

    @property
    def wanted(self) -> bool:
        """True once the run is to end."""
        return self.reason is not None

    @property
    def since(self) -> float:
        """Seconds since the run is to end."""
        return time.monotonic() - self.asked_at if self.wanted else 0.0

    def ask(self, reason: str, *, now: bool = False) -> None:
        """Have the run end: trials save what they have.

        Args:
            reason: why, in a few words; the first one counts.
            now: do not wait for anything.
        """
        if self.reason is None:
            self.asked_at, self.reason = time.monotonic(), reason
        if now and not self.now:
            self.asked_at, self.now = time.monotonic(), True
        if not self._remove() and not self.now:
            # trials do not see the wish, and could not save where even this cannot be written
            self.asked_at, self.now = time.monotonic(), True

    def close(self) -> None:
        """Remove the file, where it can be; the run is over."""
        self._remove()

    def _remove(self) -> bool:
        """Remove the file; return whether it is gone."""
        try:
            self.go.unlink(missing_ok=True)
        except OSError as error:
            if not is_unwritable(error):
                raise
            return False
        return True


def hold_signals() -> None:
    """In a scheduler's job, have processes that this thread starts from now on not notice the signals that end a run.

    A scheduler sends its signals to all processes of a job at once. Those of the cluster would end before the trials
    have saved; it is the driver that ends them, when that is done.
    """
    if provenance.job_id() is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SCHEDULER)


@contextlib.contextmanager
def on_signals(ending: Ending) -> Iterator[None]:
    """Take the first signal for the wish to end, and a later one for the wish to end at once.

    Args:
        ending: told of it.

    Raises:
        KeyboardInterrupt: in the main thread, on a later signal.
    """

    def taken(number: int, frame: FrameType | None) -> None:
        if not ending.wanted:
            ending.ask(f"asked to end by {signal.Signals(number).name}")
        elif time.monotonic() - ending.asked_at > TOGETHER_S:
            ending.ask("", now=True)
            raise KeyboardInterrupt

    with handle_signals(taken):
        yield


@contextlib.contextmanager
def told(ending: Ending, say: Callable[[str], None], doing: Callable[[], str]) -> Iterator[None]:
    """Say, whatever the run does meanwhile, that it is to end; have it end at once when it has had its time.

    Args:
        ending: the wish.
        say: takes a line.
        doing: tells what is still done before the run ends.
    """
    over, said = threading.Event(), [False, False]

    def tell() -> None:
        if ending.wanted and not said[0]:
            said[0] = True
            said[1] = ending.now
            how = "at once" if ending.now else f"{doing()}; once more (Ctrl-C) ends at once"
            say(f"ending    {ending.reason}: {how}")
        elif ending.now and not said[1]:
            said[1] = True
            say("ending    at once")

    def watch() -> None:
        while not over.wait(LOOK_S):
            if ending.wanted and ending.since > SAVE_S and not ending.now:
                ending.ask("", now=True)
            tell()

    thread = threading.Thread(target=watch, name="ending", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tell()
