"""A progress bar for what takes longer than two seconds."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Sequence[Item], what: str, *, after_s: float = 2.0) -> Iterator[Item]:
    """Yield items, with a progress bar on stderr once this has taken a while.

    Args:
        items: what to go through.
        what: said before the bar.
        after_s: seconds until the bar appears; it never does where stderr is no terminal.

    Yields:
        The items.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    begun = time.monotonic()
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
    task = bar.add_task(what, total=len(items))
    try:
        for done, item in enumerate(items):
            if time.monotonic() - begun > after_s:
                bar.start()
                bar.update(task, completed=done)
            yield item
    finally:
        bar.stop()
