"""Times as people say them."""

from datetime import datetime, timedelta


def format_age(age: timedelta) -> str:
    """Return a duration as people say it: "40 s", "12 min", "3 h 05 min", "2 d 4 h"."""
    seconds = max(0, int(age.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def format_moment(moment: datetime, now: datetime) -> str:
    """Return a time as a clock in this time zone says it: "18:40", or "Tue 24 Nov 18:40" on another day than now's."""
    there, here = moment.astimezone(), now.astimezone()
    return f"{there:%H:%M}" if there.date() == here.date() else f"{there:%a} {there.day} {there:%b %H:%M}"
