"""The heartbeat of a driver, and what another driver makes of it."""

import os
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from ser_ray import provenance
from ser_ray.errors import InputError
from ser_ray.results.drivers import DriverStatus, read_drivers, write_driver
from ser_ray.sweep.nodes import heartbeat as module
from ser_ray.sweep.nodes.heartbeat import Pace, Share, beating, forget_old, read_share, refuse_second_driver


def write(folder, driver):
    """Write a driver's file as it was then, with the time that it names."""
    path = write_driver(folder, driver)
    os.utime(path, (driver.seen_at.timestamp(),) * 2)
    return path


PACE = Pace(planned=10, standing=4, epochs_to_do=60, epochs_done=20, seconds_left=3600.0)


def driver(**changes):
    now = datetime.now(UTC)
    fields = {
        "host": "other-node",
        "pid": 1,
        "job_id": None,
        "started_at": now - timedelta(hours=1),
        "seen_at": now,
        "ended": None,
        "planned": 3,
        "standing": 1,
        "epochs_to_do": 5,
        "epochs_done": 1,
        "ends_at": None,
        "share": "1/1",
        **changes,
    }
    return DriverStatus(**fields)


def test_a_run_tells_how_far_it_is_and_how_it_ended(folder, monkeypatch):
    monkeypatch.setattr("ser_ray.sweep.nodes.heartbeat.BEAT_S", 0.02)
    beats = []
    with beating(folder, lambda: PACE, lambda: "done", lambda: beats.append(1)):
        (shown,) = read_drivers(folder)
        first = shown.seen_at
        assert (shown.host, shown.pid, shown.ended) == (provenance.host_name(), os.getpid(), None)
        assert (shown.planned, shown.standing, shown.epochs_to_do, shown.epochs_done) == (10, 4, 60, 20)
        assert shown.ends_at - shown.seen_at == timedelta(hours=1)
        while len(beats) < 3:
            time.sleep(0.01)
        assert read_drivers(folder)[0].seen_at > first
    (shown,) = read_drivers(folder)
    assert (shown.ended, shown.ends_at) == ("done", None)
    assert not list(folder.tmp.iterdir())


def test_a_run_that_breaks_writes_its_outcome_too(folder):
    with pytest.raises(ZeroDivisionError), beating(folder, lambda: PACE, lambda: "interrupted"):
        raise ZeroDivisionError
    assert read_drivers(folder)[0].ended == "interrupted"


def test_a_disk_that_is_full_does_not_end_the_run(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ser_ray.files.os.fsync", full)
    with beating(folder, lambda: PACE, lambda: "done"):
        pass
    assert read_drivers(folder) == []


def refuse(folder, said=None, **options):
    refuse_second_driver(folder, (said if said is not None else []).append, poll_s=0.01, **options)


def test_a_driver_that_gives_signs_of_life_is_not_joined(folder, monkeypatch):
    write_driver(folder, driver())
    said = []
    monkeypatch.setattr(time, "sleep", lambda _: write_driver(folder, driver()))
    with pytest.raises(
        InputError, match=r"is being run by process 1 on other-node, last seen .* wait until it ends, or stop it"
    ):
        refuse(folder, said)
    assert said == [
        "other_node-1 may still be running this sweep: waiting at most 60 s for a heartbeat; if nothing runs there any "
        f"more, delete {folder.driver('other_node-1')} to skip the wait"
    ]


@pytest.mark.parametrize("ahead", [timedelta(minutes=2), timedelta(hours=5), timedelta(days=400)])
def test_one_whose_clock_was_ahead_is_waited_for_no_longer_than_any_other(folder, monkeypatch, ahead):
    write_driver(folder, driver(seen_at=datetime.now(UTC) + ahead))
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def sleep(seconds):
        clock[0] += seconds
        assert clock[0] < 70, "it waits for ever"

    monkeypatch.setattr(time, "sleep", sleep)
    said = []
    refuse_second_driver(folder, said.append, poll_s=5.0)
    assert 60 <= clock[0] <= 66
    assert said[1:] == ["other_node-1 sent no heartbeat: considered lost"]


@pytest.mark.parametrize("off", [-timedelta(days=400), -timedelta(minutes=2), timedelta(hours=5)])
def test_one_that_lives_is_not_joined_however_wrong_its_clock_is(folder, monkeypatch, off):
    write_driver(folder, driver(seen_at=datetime.now(UTC) + off))
    monkeypatch.setattr(time, "sleep", lambda _: write_driver(folder, driver(seen_at=datetime.now(UTC) + off)))
    with pytest.raises(InputError, match=r"is being run by process 1 on other-node"):
        refuse(folder, [])


def test_one_that_lives_is_not_joined_however_wrong_this_clock_is(folder, monkeypatch):
    write_driver(folder, driver())

    class Behind(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(hours=3)

    monkeypatch.setattr(module, "datetime", Behind)
    monkeypatch.setattr(time, "sleep", lambda _: write_driver(folder, driver()))
    with pytest.raises(InputError, match=r"is being run by process 1 on other-node"):
        refuse(folder, [])


def test_one_that_was_lost_with_its_clock_ahead_is_forgotten_too(folder):
    now = datetime.now(UTC)
    path = write_driver(folder, driver(seen_at=now + timedelta(days=3)))
    os.utime(path, ((now - timedelta(hours=1)).timestamp(),) * 2)
    (shown,) = read_drivers(folder)
    assert (shown.ended, shown.silent(now)) == (None, True)
    forget_old(folder, kept=0)
    assert read_drivers(folder) == []


def test_one_that_falls_silent_is_waited_for(folder, monkeypatch):
    write(folder, driver(seen_at=datetime.now(UTC) - timedelta(seconds=59.7)))
    begin = time.monotonic()
    refuse(folder)
    assert time.monotonic() - begin > 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"ended": "interrupted"},
        {"seen_at": datetime.now(UTC) - timedelta(seconds=70)},
        {"host": provenance.host_name(), "pid": os.getpid()},  # a container gives the same number again
    ],
    ids=["ended", "lost", "this one"],
)
def test_one_that_is_gone_is_not_waited_for(folder, changes):
    write(folder, driver(**changes))
    said = []
    refuse(folder, said)
    assert said == []


def test_on_the_same_host_the_process_itself_tells(folder):
    sleeper = subprocess.Popen(["sleep", "60"])
    write_driver(folder, driver(host=provenance.host_name(), pid=sleeper.pid))
    said = []
    sleeper.kill()
    sleeper.wait()
    refuse(folder, said)
    assert said == []


def test_a_job_that_was_started_again_is_not_beside_itself(folder, monkeypatch):
    write_driver(folder, driver(job_id="4711"))
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    said = []
    refuse(folder, said)
    assert said == []


def test_old_files_are_forgotten_but_for_the_latest(folder):
    long_ago = datetime.now(UTC) - timedelta(days=1)
    for pid in range(1, 16):
        write(folder, driver(pid=pid, ended="done", seen_at=long_ago, started_at=long_ago + timedelta(hours=pid)))
    write_driver(folder, driver(pid=99))
    forget_old(folder, kept=3)
    assert [one.pid for one in read_drivers(folder)] == [13, 14, 15, 99]


@pytest.mark.parametrize("mine", [Share(1, 3), Share(3, 3)])
def test_drivers_of_other_shares_are_not_waited_for(folder, mine):
    write_driver(folder, driver(share="2/3"))
    said = []
    refuse(folder, said, share=mine)
    assert said == []


@pytest.mark.parametrize(("theirs", "mine"), [("2/3", "2/3"), ("2/3", "1/2"), ("1/1", "2/3"), ("2/3", "1/1")])
def test_who_may_run_the_same_trials_is_waited_for(folder, monkeypatch, theirs, mine):
    write_driver(folder, driver(share=theirs))
    monkeypatch.setattr(time, "sleep", lambda _: write_driver(folder, driver(share=theirs)))
    part = "" if theirs == "1/1" else rf" \(share {theirs} of its plan\)"
    with pytest.raises(InputError, match=rf"by process 1 on other-node{part}, last seen .* stop it \(kill 1 there\)"):
        refuse(folder, share=read_share(mine))


def test_a_driver_that_is_a_job_is_ended_by_the_scheduler(folder, monkeypatch):
    write_driver(folder, driver(job_id="900_6", share="2/3"))
    monkeypatch.setattr(time, "sleep", lambda _: write_driver(folder, driver(job_id="900_6", share="2/3")))
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with pytest.raises(InputError, match=r"\(share 2/3 of its plan\), .* stop it \(scancel 900_6\) and run again"):
        refuse(folder, share=Share(2, 3))


def test_a_run_tells_which_share_it_runs(folder):
    with beating(folder, lambda: PACE, lambda: "done", share=Share(2, 3)):
        assert read_drivers(folder)[0].share == "2/3"
    assert read_drivers(folder)[0].share == "2/3"
