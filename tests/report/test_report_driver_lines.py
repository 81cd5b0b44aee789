import time
from datetime import UTC, datetime, timedelta

import pytest

from ser_ray.report.status import driver_lines
from ser_ray.report.terminal import format_moment
from ser_ray.results import DriverStatus

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BEGAN = NOW - timedelta(hours=1)


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch):

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def driver(**changes):
    told = {"host": "node1", "pid": 7, "job_id": None, "started_at": BEGAN, "seen_at": NOW, "ended": None}
    told |= {"planned": 1200, "standing": 5, "epochs_to_do": 30_000, "epochs_done": 1, "ends_at": None, "share": "1/1"}
    return DriverStatus(**(told | changes))


def lines(*drivers):
    return driver_lines(drivers, NOW)


def test_without_a_driver_there_are_no_lines():
    assert lines() == []


def test_one_that_runs():
    assert lines(driver(seen_at=NOW - timedelta(seconds=3), ends_at=NOW + timedelta(minutes=130))) == [
        "running: node1, pid 7, since 11:00; last sign 3 s ago",
        "  5 of 1,200 planned trials done, 1,195 left (30,000 epochs to train); ends about 14:10 (in 2 h 10 min)",
    ]


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"ends_at": None}, "no estimate of the end yet"),
        ({"ends_at": NOW - timedelta(seconds=1)}, "ends about now"),
        ({"ends_at": NOW + timedelta(hours=30)}, "ends about Mon 2 Mar 18:00 (in 1 d 6 h)"),
    ],
)
def test_its_end(changes, end):
    assert lines(driver(**changes))[1].endswith(f"; {end}")


def test_job_and_share_are_named_where_there_are_any():
    (said, _) = lines(driver(job_id="88_3", share="2/4"))
    assert said.startswith("running: node1, pid 7, job 88_3, share 2/4 of the plan, since 11:00;")


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (None, "lost: {}; no sign of it for 12 min: it ended unexpectedly; run the sweep again to continue"),
        ("interrupted", "interrupted 12 min ago: {}; run the sweep again to continue"),
        ("failed", "ended with failures 12 min ago: {}"),
        ("done", "done 12 min ago: {}"),
    ],
)
def test_one_that_is_gone(ended, said):
    gone = driver(seen_at=NOW - timedelta(minutes=12), ended=ended, standing=1200, epochs_to_do=0)
    assert lines(gone) == [
        said.format("node1, pid 7, since 11:00"),
        "  1,200 of 1,200 planned trials done, 0 left",
    ]


def test_those_that_run_come_first_and_one_that_was_replaced_is_left_out():
    lost = driver(pid=1, seen_at=BEGAN)
    again = driver(pid=2, started_at=BEGAN + timedelta(minutes=5))
    assert [line.split(",")[1] for line in lines(lost, again)[::2]] == [" pid 2"]
    other = driver(pid=3, started_at=BEGAN - timedelta(minutes=1), share="2/2")
    lost_share = driver(pid=1, seen_at=BEGAN, share="1/2")
    assert [line.split(",")[1] for line in lines(other, lost_share)[::2]] == [" pid 3", " pid 1"]
    assert [line.split(",")[1] for line in lines(lost_share, again)[::2]] == [" pid 2"]


def test_all_that_run_have_lines():
    first, second = driver(pid=1), driver(pid=2, started_at=BEGAN + timedelta(minutes=5))
    assert len(lines(first, second)) == 4


def test_a_moment_is_in_the_local_time_zone(monkeypatch):

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert format_moment(NOW, NOW) == "21:00"
    assert format_moment(NOW + timedelta(hours=4), NOW) == "Mon 2 Mar 01:00"
