"""Trials that give no sign of life, with a clock that is set by hand."""

import os

import pytest

from ser_ray.sweep.running.attempt import was_hung
from ser_ray.sweep.running.watchdog import Silence


@pytest.fixture
def watched(tmp_path):
    now, killed = [0.0], []
    silence = Silence(100.0, clock=lambda: now[0])
    log = tmp_path / "k.log"
    log.write_text("trial k on cpu: began\n")
    os.utime(log, ns=(1, 1))
    silence.watch("k", log, lambda: killed.append("k"))
    return silence, now, log, killed


def test_a_silent_trial_is_ended_once_and_its_log_says_so(watched):
    silence, now, log, killed = watched
    now[0] = 160.0
    assert silence.look() == []
    now[0] = 160.1
    assert silence.look() == ["k"] == killed
    assert was_hung(log)
    assert silence.look() == []


def test_every_sign_of_life_begins_the_time_anew(watched):
    silence, now, log, _ = watched
    for second in range(150, 1500, 150):
        now[0] = second
        os.utime(log, ns=(second, second))
        assert silence.look() == []
    now[0] += 161
    assert silence.look() == ["k"]


def test_a_trial_that_has_ended_is_not_watched(watched):
    silence, now, _, killed = watched
    silence.forget("k")
    silence.forget("k")
    now[0] = 1e6
    assert silence.look() == killed == []


def test_a_log_that_cannot_be_seen_is_silent(watched, tmp_path):
    silence, now, log, killed = watched
    silence.watch("gone", tmp_path / "nowhere" / "x.log", lambda: killed.append("gone"))
    log.unlink()
    assert silence.look() == []  # it was there, and its going is a change
    now[0] = 161
    assert silence.look() == ["k", "gone"] == killed
