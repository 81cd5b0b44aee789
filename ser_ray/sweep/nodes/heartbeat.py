"""Heartbeat of a driver: a file, renewed every few seconds, that `status` and other drivers read; shares of a plan.

Several jobs may run one sweep side by side, each its own share of the plan.
"""

import contextlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ser_ray import provenance
from ser_ray.errors import InputError, is_unwritable
from ser_ray.results import SweepFolder
from ser_ray.results.drivers import LOST_AFTER, DriverStatus, read_drivers, write_driver

BEAT_S = 5.0


@dataclass(frozen=True)
class Share:
    """Part of a plan that a driver runs: the `number`-th (from 1) of `of` shares."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        """Refuse a number that is not from 1 to `of`."""
        if not 1 <= self.number <= self.of:
            raise ValueError(f"share {self.number} of {self.of} does not exist")

    def __str__(self) -> str:
        """Format the share as on the command line, such as 3/8."""
        return f"{self.number}/{self.of}"

    @property
    def whole(self) -> bool:
        """Whether the share is the entire plan."""
        return self.of == 1

    def keys(self, planned: Iterable[str]) -> frozenset[str]:
        """Select the keys of a plan's trials that are in this share.

        The sorted keys are dealt out in turn, so that shares differ by one trial at most. Since keys are hashes, no
        share gets all slow trials, such as those of one sequence length.
        """
        return frozenset(sorted(set(planned))[self.number - 1 :: self.of])

    def beside(self, other: "Share") -> bool:
        """Check that no trial of the plan is in both shares, so that their drivers can run side by side."""
        return self.of == other.of and self.number != other.number


WHOLE = Share()


def read_share(text: str) -> Share:
    """Parse a share such as "3/8".

    Raises:
        InputError: if the text is no share.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    try:
        if found is None:
            raise ValueError
        return Share(int(found[1]), int(found[2]))
    except ValueError:
        raise InputError(
            f"--share is {text!r}, but must be NUMBER/COUNT with a number from 1 to the count, such as 3/8"
        ) from None


@dataclass(frozen=True)
class Pace:
    """Progress of a run, and an estimate of its remaining time."""

    planned: int  # trials
    standing: int  # trials that are finished, stopped or failed
    epochs_to_do: int
    epochs_done: int  # by this run
    seconds_left: float | None


def refuse_second_driver(
    folder: SweepFolder, log: Callable[[str], None], share: Share = WHOLE, *, poll_s: float = BEAT_S
) -> None:
    """Refuse to run beside another driver of this sweep, or of trials of this share of it.

    A driver that was lost a moment ago looks alive until it has been silent for a minute, so this function waits that
    long. Only this host's clock bounds the wait, since the other's may be ahead by hours: a heartbeat file that does
    not change for `LOST_AFTER` while it is watched belongs to a lost driver.

    Raises:
        InputError: if another driver is alive, naming it.
    """
    first = {driver.name: driver.seen_at for driver in _others(folder, share)}
    if first:
        files = ", ".join(str(folder.driver(name)) for name in sorted(first))
        log(
            f"{', '.join(sorted(first))} may still be running this sweep: waiting at most "
            f"{LOST_AFTER.total_seconds():.0f} s for a heartbeat; if nothing runs there any more, delete {files} to "
            "skip the wait"
        )
    began = time.monotonic()
    while others := _others(folder, share):
        for driver in others:
            if driver.seen_at != first.get(driver.name):
                part = "" if driver.share == str(WHOLE) else f" (share {driver.share} of its plan)"
                end = f"scancel {driver.job_id}" if driver.job_id else f"kill {driver.pid} there"
                raise InputError(
                    f"{folder.path} is being run by process {driver.pid} on {driver.host}{part}, last seen "
                    f"{driver.seen_at:%H:%M:%S} UTC; wait until it ends, or stop it ({end}) and run again"
                )
        if time.monotonic() - began > LOST_AFTER.total_seconds():
            log(f"{', '.join(sorted(driver.name for driver in others))} sent no heartbeat: considered lost")
            return
        time.sleep(poll_s)


def _others(folder: SweepFolder, share: Share) -> list[DriverStatus]:
    """List the other drivers that may be running trials of this share."""
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
        return job is None or driver.job_id != job  # a job that was started again is no rival of itself

    return [driver for driver in drivers if may_run(driver)]


def _file_system_time(folder: SweepFolder) -> datetime:
    """Return the present time by the clock that sets the times of files in a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder.drivers) as file:
            file.write(b"now")
            file.flush()
            return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    except OSError:  # reported where results are written
        return datetime.now(UTC)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def beating(
    folder: SweepFolder,
    pace: Callable[[], Pace],
    outcome: Callable[[], str],
    beside: Callable[[], object] = lambda: None,
    share: Share = WHOLE,
) -> Iterator[None]:
    """Write this driver's heartbeat with `pace()` every few seconds, for as long as the context lasts.

    `beside()` is called between two beats; the last beat records `outcome()`: "done", "failed" or "interrupted".
    """
    started_at, over = datetime.now(UTC), threading.Event()

    def beat(ended: str | None = None) -> None:
        present, now = pace(), datetime.now(UTC)
        left = None if ended else present.seconds_left
        driver = DriverStatus(
            host=provenance.host_name(),
            pid=os.getpid(),
            job_id=provenance.job_id(),
            started_at=started_at,
            seen_at=now,
            ended=ended,
            planned=present.planned,
            standing=present.standing,
            epochs_to_do=present.epochs_to_do,
            epochs_done=present.epochs_done,
            ends_at=None if left is None else now + timedelta(seconds=left),
            share=str(share),
        )
        with contextlib.suppress(OSError):  # on a full disk there is no heartbeat; the run reports that itself
            write_driver(folder, driver)

    def beats() -> None:
        while not over.wait(BEAT_S):
            beat()
            beside()

    forget_old(folder)
    beat()
    thread = threading.Thread(target=beats, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        beat(outcome())


def forget_old(folder: SweepFolder, *, kept: int = 10) -> None:
    """Remove the files of drivers that ended or were lost, except the latest `kept`."""
    now = datetime.now(UTC)
    over = [driver for driver in read_drivers(folder) if driver.silent(now)]
    for driver in over[: max(0, len(over) - kept)]:
        try:
            folder.driver(driver.name).unlink(missing_ok=True)
        except OSError as error:
            if not is_unwritable(error):
                raise
            return  # they stay, and harm nothing
