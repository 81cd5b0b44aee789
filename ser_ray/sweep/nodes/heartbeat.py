"""A driver's word that it is there: one file, renewed every few seconds, that `status` and other drivers read."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ser_ray import provenance
from ser_ray.errors import InputError
from ser_ray.results import SweepFolder
from ser_ray.results.drivers import LOST_AFTER, DriverStatus, read_drivers, write_driver
from ser_ray.sweep.nodes.share import WHOLE, Share, read_share
from ser_ray.unwritable import is_unwritable

BEAT_S = 5.0


@dataclass(frozen=True)
class Pace:
    """How far a run is.

    Args:
        planned: trials planned.
        standing: those of them that are finished, stopped or failed.
        epochs_to_do: epochs still to be trained.
        epochs_done: epochs trained by this run.
        seconds_left: an estimate; None where there is none.
    """

    planned: int
    standing: int
    epochs_to_do: int
    epochs_done: int
    seconds_left: float | None


def refuse_others(
    folder: SweepFolder, say: Callable[[str], None], share: Share = WHOLE, *, poll_s: float = BEAT_S
) -> None:
    """Return when no other driver runs this sweep, or trials of this share of it.

    One that was lost a moment ago looks alive until it has been silent for a minute: this waits for that. Its own clock
    may be ahead of this host's by hours, so the wait is bounded by this host's alone: a file that has not changed for
    `LOST_AFTER` while it was looked at is of a driver that was lost.

    Args:
        folder: the sweep's folder.
        say: told that it waits.
        share: what of the plan is to be run here.
        poll_s: seconds between two looks.

    Raises:
        InputError: if another driver gives a sign of life, naming it.
    """
    first = {driver.name: driver.seen_at for driver in _others(folder, share)}
    if first:
        files = ", ".join(str(folder.driver(name)) for name in sorted(first))
        say(
            f"{', '.join(sorted(first))} may still be running this sweep: waiting for a sign of life, at most "
            f"{LOST_AFTER.total_seconds():.0f} s; to skip this once nothing runs there, delete {files}"
        )
    began = time.monotonic()
    while others := _others(folder, share):
        for driver in others:
            if driver.seen_at != first.get(driver.name):
                part = "" if driver.share == str(WHOLE) else f" (share {driver.share} of its plan)"
                end = f"scancel {driver.job_id}" if driver.job_id else f"kill {driver.pid} there"
                raise InputError(
                    f"{folder.path} is being run by process {driver.pid} on {driver.host}{part}, last seen "
                    f"{driver.seen_at:%H:%M:%S} UTC; wait for it, or end it ({end}) and run again"
                )
        if time.monotonic() - began > LOST_AFTER.total_seconds():
            say(f"{', '.join(sorted(driver.name for driver in others))} gave no sign of life: taken for lost")
            return
        time.sleep(poll_s)


def _others(folder: SweepFolder, share: Share) -> list[DriverStatus]:
    """Return the drivers that may be running beside this process what it is to run."""
    drivers = read_drivers(folder)
    if not drivers:
        return []
    here, job = provenance.host_name(), provenance.job_id()
    present = (datetime.now(UTC), _file_system_time(folder))  # this host's clock may be the one that is wrong

    def may_run(driver: DriverStatus) -> bool:
        if not any(driver.alive(now) for now in present) or share.beside(read_share(driver.share)):
            return False
        if driver.host == here:
            return driver.pid != os.getpid() and _exists(driver.pid)
        return job is None or driver.job_id != job  # a job that was started again is not beside itself

    return [driver for driver in drivers if may_run(driver)]


def _file_system_time(folder: SweepFolder) -> datetime:
    """Return the present by the clock that the files in a folder get their times from."""
    try:
        with tempfile.TemporaryFile(dir=folder.drivers) as file:
            file.write(b"now")
            file.flush()
            return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    except OSError:  # said where results are written
        return datetime.now(UTC)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Presence:
    """Tells of this driver while it runs.

    Args:
        folder: the sweep's folder.
        pace: gives how far the run is.
        beside: called now and then, between two signs of life.
        share: what of the plan it runs.
    """

    def __init__(
        self, folder: SweepFolder, pace: Callable[[], Pace], beside: Callable[[], object], share: Share = WHOLE
    ) -> None:
        self._folder, self._pace, self._beside, self._share = folder, pace, beside, share
        self._started_at = datetime.now(UTC)
        self._over = threading.Event()

    @contextlib.contextmanager
    def shown(self, outcome: Callable[[], str]) -> Iterator[None]:
        """Be there as long as the context lasts, and leave word of how it ended.

        Args:
            outcome: asked at the end: "done", "failed" or "interrupted".
        """
        forget_old(self._folder)
        self._beat()
        thread = threading.Thread(target=self._beats, name="presence", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._beat(outcome)

    def _beats(self) -> None:
        while not self._over.wait(BEAT_S):
            self._beat()
            self._beside()

    def _beat(self, outcome: Callable[[], str] | None = None) -> None:
        pace, now = self._pace(), datetime.now(UTC)
        left = pace.seconds_left
        driver = DriverStatus(
            host=provenance.host_name(),
            pid=os.getpid(),
            job_id=provenance.job_id(),
            started_at=self._started_at,
            seen_at=now,
            ended=None,
            planned=pace.planned,
            standing=pace.standing,
            epochs_to_do=pace.epochs_to_do,
            epochs_done=pace.epochs_done,
            ends_at=None if left is None else now + timedelta(seconds=left),
            share=str(self._share),
        )
        if outcome is not None:
            driver = replace(driver, ended=outcome(), ends_at=None)
        with contextlib.suppress(OSError):  # on a disk that is full it is not seen; the run says so by itself
            write_driver(self._folder, driver)


def forget_old(folder: SweepFolder, *, kept: int = 10) -> None:
    """Remove what drivers said that ended or were lost, but for the latest.

    Args:
        folder: the sweep's folder.
        kept: how many of them stay.
    """
    now = datetime.now(UTC)
    over = [driver for driver in read_drivers(folder) if driver.silent(now)]
    for driver in over[: max(0, len(over) - kept)]:
        try:
            folder.driver(driver.name).unlink(missing_ok=True)
        except OSError as error:
            if not is_unwritable(error):
                raise
            return  # they stay, and harm nothing
