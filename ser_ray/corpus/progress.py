"""Progress of long operations: a bar on a terminal, lines in a log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

Item = TypeVar("Item")

LOG_EVERY_S = 30.0


class Bar:
    """Progress bar on stderr: items done, their rate, and the time left; a context manager.

    It appears after `after_s` seconds, and never where stderr is not a terminal that can draw it. Items count 1 each,
    unless `amount` gives the total of their amounts; `rate` formats an amount per second.
    """

    def __init__(
        self,
        what: str,
        items: int,
        *,
        amount: float | None = None,
        rate: Callable[[float], str] = "{:.1f}/s".format,
        after_s: float = 2.0,
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn(what),
            BarColumn(),
            TextColumn("{task.fields[items]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        # rich by itself would draw into a file where FORCE_COLOR is set, and print blank lines on dumb terminals
        seen = sys.stderr.isatty() and console.is_interactive
        self._bar = Progress(*columns, console=console, disable=not seen, transient=True)
        self._task = self._bar.add_task(what, total=items if amount is None else amount, items="", rate="")
        self._items, self._rate, self._after_s = items, rate, after_s
        self._done, self._amount = 0, 0.0
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        """Return this bar."""
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bar."""
        self._bar.stop()

    def skip(self, items: int, amount: float | None = None) -> None:
        """Count items done before this run, which are not part of the rate."""
        self._done += items
        self._bar.advance(self._task, items if amount is None else amount)

    def advance(self, amount: float = 1.0) -> None:
        """Count one more item."""
        self._done, self._amount = self._done + 1, self._amount + amount
        self._bar.advance(self._task, amount)
        taken_s = time.monotonic() - self._begun
        if taken_s > self._after_s:
            self._bar.update(
                self._task, items=f"{self._done:,}/{self._items:,}", rate=self._rate(self._amount / taken_s)
            )
            self._bar.start()


def track(items: Sequence[Item], what: str, *, after_s: float = 2.0) -> Iterator[Item]:
    """Yield the items; show a progress bar on stderr after `after_s` seconds."""
    with Bar(what, len(items), after_s=after_s) as bar:
        for item in items:
            yield item
            bar.advance()


class ByteLog:
    """Log the bytes done out of a total, at most one line every LOG_EVERY_S seconds."""

    def __init__(self, done: str, total: int, log: Callable[[str], Any]) -> None:
        self._word, self._total, self._log = done, total, log
        self._lock, self._done = threading.Lock(), 0
        self._began = self._logged = time.monotonic()

    def add(self, count: int) -> None:
        """Count bytes; thread-safe. A negative count subtracts."""
        with self._lock:
            self._done += count

    def update(self) -> None:
        """Log a line if one is due."""
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY_S:
            self._logged, rate = now, self._done / max(1e-9, now - self._began)
            self._log(
                f"{self._word} {self._done / 1e9:.3g} of {self._total / 1e9:.3g} GB, {rate / 1e6:.0f} MB/s, "
                f"{max(0, self._total - self._done) / max(1.0, rate):.0f} s left"
            )

    def summary(self) -> str:
        """Return the time taken and the mean rate."""
        seconds = max(1e-9, time.monotonic() - self._began)
        return f"{seconds:.0f} s ({self._done / 1e6 / seconds:.0f} MB/s)"
