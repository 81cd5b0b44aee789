"""Trials that give no sign of life, with a clock that is set by hand."""

import os

import pytest

from ser_ray.sweep.running.watchdog import Watchdog
from ser_ray.sweep.running.worker import was_hung


@pytest.fixture
def watched(tmp_path):
    now, killed = [0.0], []
    watchdog = Watchdog(100.0, clock=lambda: now[0])
    log = tmp_path / "k.log"
    log.write_text("trial k on cpu: began\n")
    os.utime(log, ns=(1, 1))
    watchdog.watch("k", log, lambda: killed.append("k"))
    return watchdog, now, log, killed


def test_a_silent_trial_is_ended_once_and_its_log_says_so(watched):
    watchdog, now, log, killed = watched
    now[0] = 160.0
    assert watchdog.check() == []
    now[0] = 160.1
    assert watchdog.check() == ["k"] == killed
    assert was_hung(log)
    assert watchdog.check() == []


def test_every_sign_of_life_begins_the_time_anew(watched):
    watchdog, now, log, _ = watched
    for second in range(150, 1500, 150):
        now[0] = second
        os.utime(log, ns=(second, second))
        assert watchdog.check() == []
    now[0] += 161
    assert watchdog.check() == ["k"]


def test_a_trial_that_has_ended_is_not_watched(watched):
    watchdog, now, _, killed = watched
    watchdog.forget("k")
    watchdog.forget("k")
    now[0] = 1e6
    assert watchdog.check() == killed == []


def test_a_log_that_cannot_be_seen_is_silent(watched, tmp_path):
    watchdog, now, log, killed = watched
    watchdog.watch("gone", tmp_path / "nowhere" / "x.log", lambda: killed.append("gone"))
    log.unlink()
    assert watchdog.check() == []  # it was there, and its going is a change
    now[0] = 161
    assert watchdog.check() == ["k", "gone"] == killed
