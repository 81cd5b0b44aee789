"""Threads that use Ray, and whether any still does."""

import threading
import time
from collections.abc import Callable


class RayThread(threading.Thread):
    """A thread that uses Ray: while one runs, Ray is not left, since it would go on in what Ray has freed.

    Ask `running` and `wait` whether it runs: Python 3.11 and 3.12 take a thread for ended, by `is_alive` and `join`,
    once the exception of a signal has interrupted its `join`.
    """

    def __init__(self, call: Callable[[], object], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self._ended = threading.Event()
        self._raised: BaseException | None = None

    def run(self) -> None:
        """Call it, and keep what it raises."""
        try:
            self._call()
        except BaseException as raised:
            self._raised = raised
        finally:
            self._ended.set()

    @property
    def running(self) -> bool:
        """Whether the call goes on."""
        return not self._ended.is_set()

    @property
    def failed(self) -> bool:
        """Whether the call has raised."""
        return self._raised is not None

    def wait(self, timeout_s: float) -> bool:
        """Wait so long at most, and return whether the call is over."""
        return self._ended.wait(timeout_s)

    def raise_if_failed(self) -> None:
        """Raise what the call raised."""
        if self._raised is not None:
            raise self._raised


def ray_is_used(within_s: float) -> bool:
    """Return whether a thread still uses Ray after all of them were waited for so long."""
    deadline = time.monotonic() + within_s
    threads = [thread for thread in threading.enumerate() if isinstance(thread, RayThread)]
    return not all(thread.wait(max(0.0, deadline - time.monotonic())) for thread in threads)
