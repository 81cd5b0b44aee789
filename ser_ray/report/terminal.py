"""The console on which tables are printed."""

import sys
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text

from ser_ray.plain_text import escaped

MISSING = "-"
"""Printed for a figure that does not exist, such as a test CCC without gold."""
PLAIN_WIDTH = 160
"""Columns of a line in a file or pipe."""


class PlainConsole(Console):
    """A console that escapes control characters, so that no text of a file moves the cursor or changes colours."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a text with its control characters escaped."""
        return super().render_str(escaped(text), **options)


def open_console() -> Console:
    """Open a console on standard output without markup, as wide as the terminal if there is one."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return PlainConsole(file=sys.stdout, width=width, markup=False, highlight=False, soft_wrap=False)


def natural_width(console: Console, content: RenderableType) -> int:
    """Measure the columns that a table takes when nothing in it is wrapped."""
    unbounded = console.options.update(width=10_000)
    return Measurement.get(console, unbounded, content).maximum


def format_age(age: timedelta) -> str:
    """Format a duration, such as "40 s", "12 min", "3 h 05 min" or "2 d 4 h"."""
    seconds = max(0, int(age.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def format_moment(moment: datetime, now: datetime) -> str:
    """Format a time in the local time zone: "18:40", or "Tue 24 Nov 18:40" if it is not on the day of `now`."""
    local = moment.astimezone()
    is_today = local.date() == now.astimezone().date()
    return f"{local:%H:%M}" if is_today else f"{local:%a} {local.day} {local:%b %H:%M}"
