"""Durations and times of day as texts."""

from datetime import datetime, timedelta


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
