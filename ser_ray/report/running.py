"""What the processes that run a sweep say of themselves, in words."""

from collections.abc import Sequence
from datetime import datetime

from ser_ray.report.times import format_age, format_moment
from ser_ray.results import DriverStatus

_GO_ON = "run the sweep again to go on"


def driver_lines(drivers: Sequence[DriverStatus], now: datetime) -> list[str]:
    """Return what runs and when it ends, or how it ended.

    Args:
        drivers: of one sweep; those that a later one has taken the place of are not spoken of.
        now: the present, with its time zone.

    Returns:
        Lines: those that run first; none if there is no driver.
    """
    spoken_of = [driver for driver in drivers if driver.alive(now) or not _is_superseded(driver, drivers)]
    ordered = sorted(spoken_of, key=lambda driver: (not driver.alive(now), driver.started_at, driver.name))
    return [line for driver in ordered for line in _lines(driver, now)]


def _is_superseded(driver: DriverStatus, drivers: Sequence[DriverStatus]) -> bool:
    later = (other for other in drivers if other.started_at > driver.started_at)
    return any(other.share in ("1/1", driver.share) for other in later)


def _lines(driver: DriverStatus, now: datetime) -> list[str]:
    if driver.alive(now):
        return [f"running: {_who(driver, now)}; last sign {format_age(now - driver.seen_at)} ago", _ahead(driver, now)]
    silence = format_age(now - driver.seen_at)
    if driver.ended is None:
        said = f"lost: {_who(driver, now)}; no sign of it for {silence}: it ended without a word; {_GO_ON}"
    elif driver.ended == "interrupted":
        said = f"interrupted {silence} ago: {_who(driver, now)}; {_GO_ON}"
    elif driver.ended == "failed":
        said = f"ended with failures {silence} ago: {_who(driver, now)}"
    else:
        said = f"done {silence} ago: {_who(driver, now)}"
    return [said, f"  {_standing(driver)}"]


def _who(driver: DriverStatus, now: datetime) -> str:
    job = [] if driver.job_id is None else [f"job {driver.job_id}"]
    share = [] if driver.share == "1/1" else [f"share {driver.share} of the plan"]
    since = f"since {format_moment(driver.started_at, now)}"
    return ", ".join([driver.host, f"pid {driver.pid}", *job, *share, since])


def _standing(driver: DriverStatus) -> str:
    epochs = f" ({driver.epochs_to_do:,} epochs to train)" if driver.left and driver.epochs_to_do else ""
    return f"{driver.standing:,} of {driver.planned:,} planned trials done, {driver.left:,} left{epochs}"


def _ahead(driver: DriverStatus, now: datetime) -> str:
    if driver.ends_at is None:
        end = "when it ends cannot be said yet"
    elif driver.ends_at <= now:
        end = "ends about now"
    else:
        end = f"ends about {format_moment(driver.ends_at, now)} (in {format_age(driver.ends_at - now)})"
    return f"  {_standing(driver)}; {end}"
