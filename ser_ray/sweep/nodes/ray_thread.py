"""Threads that use Ray, and a check whether any still does."""

import threading
import time
from collections.abc import Callable


class RayThread(threading.Thread):
    """A thread that uses Ray; Ray is not shut down while one runs, since it would use what Ray has freed.

    Use `running` and `wait`, not `is_alive` and `join`: in Python 3.11 and 3.12 these take a thread for ended once an
    exception from a signal handler has interrupted a `join`.
    """

    def __init__(self, call: Callable[[], object], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self._ended = threading.Event()
        self._raised: BaseException | None = None

    def run(self) -> None:
        """Make the call, and keep the exception that it raises."""
        try:
            self._call()
        except BaseException as raised:
            self._raised = raised
        finally:
            self._ended.set()

    @property
    def running(self) -> bool:
        """Whether the call is still running."""
        return not self._ended.is_set()

    @property
    def failed(self) -> bool:
        """Whether the call has raised."""
        return self._raised is not None

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds; return whether the call is over."""
        return self._ended.wait(timeout_s)

    def raise_if_failed(self) -> None:
        """Raise the call's exception, if it raised one."""
        if self._raised is not None:
            raise self._raised


def ray_is_used(within_s: float) -> bool:
    """Wait at most `within_s` seconds for all threads that use Ray; return whether one still does."""
    deadline = time.monotonic() + within_s
    threads = [thread for thread in threading.enumerate() if isinstance(thread, RayThread)]
    return not all(thread.wait(max(0.0, deadline - time.monotonic())) for thread in threads)
