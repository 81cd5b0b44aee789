"""A progress bar for what takes longer than two seconds."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

Item = TypeVar("Item")


class Bar:
    """A bar on stderr that tells how far something is, how fast, and how long it still takes.

    A context manager. The bar appears once it has taken a while, and never where stderr is no terminal
    that can draw one.

    Args:
        what: said before the bar.
        items: how many there are.
        amount: what they add up to, in a unit of their own; None where each is 1.
        rate: makes of an amount per second the text that is shown.
        after_s: seconds until the bar appears.
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
        # rich alone would draw into a file where FORCE_COLOR is set, and blank lines on terminals that cannot draw
        seen = sys.stderr.isatty() and console.is_interactive
        self._bar = Progress(*columns, console=console, disable=not seen, transient=True)
        self._task = self._bar.add_task(what, total=items if amount is None else amount, items="", rate="")
        self._items, self._rate, self._after_s = items, rate, after_s
        self._done, self._amount = 0, 0.0
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        """Begin to count."""
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def skip(self, items: int, amount: float | None = None) -> None:
        """Count what was done before: it is no part of the rate."""
        self._done += items
        self._bar.advance(self._task, items if amount is None else amount)

    def advance(self, amount: float = 1.0) -> None:
        """Count an item of some amount."""
        self._done, self._amount = self._done + 1, self._amount + amount
        self._bar.advance(self._task, amount)
        taken_s = time.monotonic() - self._begun
        if taken_s > self._after_s:
            self._bar.update(
                self._task, items=f"{self._done:,}/{self._items:,}", rate=self._rate(self._amount / taken_s)
            )
            self._bar.start()


def track(items: Sequence[Item], what: str, *, after_s: float = 2.0) -> Iterator[Item]:
    """Yield items, with a progress bar on stderr once this has taken a while.

    Args:
        items: what to go through.
        what: said before the bar.
        after_s: seconds until the bar appears; it never does where stderr is no terminal.

    Yields:
        The items.
    """
    with Bar(what, len(items), after_s=after_s) as bar:
        for item in items:
            yield item
            bar.advance()
