"""Map a function over items in several processes, in order and with a bounded number of waiting results."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from ser_ray.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Results that may wait in memory, per process."""


def in_order(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yield the function's result for each item, in the order of the items.

    With several jobs the function runs in other processes, so it must be a module-level function or a partial of one.
    Items are consumed only as fast as results are.

    Raises:
        InputError: if a process was killed.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    # spawned: the resampling libraries have threads, which a forked process would lack
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_follow, initargs=(os.getpid(),))
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise InputError(
            f"one of {jobs} processes was killed (out of memory?): try again with a smaller --jobs"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _follow(parent: int) -> None:
    """Ignore SIGINT, which the parent process handles, and exit when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
