"""Requests that a run stops: by signals, once and again, and by a file that goes."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ser_ray.process import TOGETHER_S
from ser_ray.sweep.nodes.stop import SAVE_S, StopRequest, announce_stop, is_gone, on_signals


@pytest.fixture
def stop(tmp_path):
    return StopRequest(tmp_path / "tmp" / "go")


def test_a_run_goes_on_until_it_is_asked_to_end(stop):
    assert stop.file.exists()
    assert (stop.requested, stop.now, stop.elapsed_s) == (False, False, 0.0)
    stop.request("the first reason")
    stop.request("another")
    assert (stop.requested, stop.now, stop.reason) == (True, False, "the first reason")
    assert not stop.file.exists()
    stop.request("", now=True)
    assert (stop.now, stop.reason) == (True, "the first reason")


def test_closing_twice_is_no_mistake(stop):
    stop.close()
    stop.close()
    assert not stop.file.exists()
    assert not stop.requested


@pytest.fixture(autouse=True)
def nothing_ignored():
    """Whoever runs the tests may have them ignore signals, as a shell does behind an ampersand."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGHUP), before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"])
def test_one_signal_asks_and_a_later_one_ends_at_once(stop, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with on_signals(stop):
        os.kill(os.getpid(), number)
        assert stop.reason == f"received {name}"
        os.kill(os.getpid(), number)  # so soon after, it is the same request
        assert not stop.now
        stop.requested_at -= TOGETHER_S  # as if it had been a while ago
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert stop.now
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_so(stop):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_signals(stop):
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_leaves_signals_alone(tmp_path):
    code = (
        "import threading; from pathlib import Path; from ser_ray.sweep.nodes.stop import StopRequest, on_signals\n"
        f"stop = StopRequest(Path({str(tmp_path)!r}) / 'go')\n"
        "def work():\n    with on_signals(stop): print('worked')\n"
        "t = threading.Thread(target=work); t.start(); t.join()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "worked\n"


MASK = "import signal; print(*sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
HOLDS = f"""
import signal, subprocess, sys
from ser_ray.sweep.nodes.stop import hold_signals
before = subprocess.run([sys.executable, "-c", {MASK!r}], capture_output=True, text=True).stdout.split()
hold_signals()
after = subprocess.run([sys.executable, "-c", {MASK!r}], capture_output=True, text=True).stdout.split()
print("held:", *sorted(set(after) - set(before)))
"""


def in_process(code, job=None):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    clean |= {} if job is None else {"SLURM_JOB_ID": job}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean, check=False, timeout=60
    )
    return done.returncode, done.stdout


def wait_for(lines, count):
    deadline = time.monotonic() + 20
    while len(lines) < count:
        assert time.monotonic() < deadline, lines
        time.sleep(0.005)


def test_a_request_is_announced_while_the_run_does_whatever_it_does(stop):
    lines = []
    doing = ["no trial has begun"]
    with announce_stop(stop, lines.append, lambda: doing[0]):
        doing[0] = "trials save"
        stop.request("received SIGTERM")
        wait_for(lines, 1)
        stop.request("", now=True)
        wait_for(lines, 2)
    assert lines == [
        "ending    received SIGTERM: trials save; a second Ctrl-C stops immediately",
        "ending    immediately",
    ]


def test_a_request_to_stop_at_once_is_announced_once(stop):
    lines = []
    with announce_stop(stop, lines.append, lambda: ""):
        stop.request("Ray was lost", now=True)
        wait_for(lines, 1)
    assert lines == ["ending    Ray was lost: immediately"]


def test_a_request_is_announced_though_the_run_is_over_already(stop):
    lines = []
    with announce_stop(stop, lines.append, lambda: "it saves"):
        stop.request("received SIGHUP")
    assert lines == ["ending    received SIGHUP: it saves; a second Ctrl-C stops immediately"]


def test_without_a_request_nothing_is_announced(stop):
    lines = []
    with announce_stop(stop, lines.append, lambda: ""):
        pass
    assert lines == []


def test_what_is_not_done_in_time_ends_at_once(stop):
    lines = []
    with announce_stop(stop, lines.append, lambda: "it saves"):
        stop.request("received SIGTERM")
        wait_for(lines, 1)
        assert not stop.now
        stop.requested_at -= SAVE_S  # as if it had been so long ago
        wait_for(lines, 2)
    assert stop.now
    assert lines[1] == "ending    immediately"


def test_in_a_job_processes_do_not_notice_the_schedulers_signals():
    held = sorted((signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP))
    assert in_process(HOLDS, job="4711") == (0, f"held: {' '.join(str(int(one)) for one in held)}\n")


def test_outside_of_a_job_they_notice_every_signal():
    assert in_process(HOLDS) == (0, "held:\n")


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EPERM", "EACCES", "ESTALE", "EIO"])
def test_a_stop_file_that_cannot_be_removed_ends_the_run_at_once(stop, name, monkeypatch):
    def unlink(path, missing_ok=False):
        raise OSError(getattr(errno, name), name, str(path))

    monkeypatch.setattr("pathlib.Path.unlink", unlink)
    stop.request("no disk")
    assert (stop.requested, stop.now, stop.reason) == (True, True, "no disk")
    stop.close()


def test_another_error_of_a_stop_file_is_raised(tmp_path):
    (tmp_path / "folder").mkdir()
    stop = StopRequest(tmp_path / "folder" / "go")
    shutil.rmtree(tmp_path / "folder")
    (tmp_path / "folder").touch()  # in whose place no file can be
    with pytest.raises(NotADirectoryError):
        stop.request("why not")


def test_a_file_system_in_trouble_is_no_wish_to_end(tmp_path, monkeypatch):
    def stale(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    assert is_gone(tmp_path / "gone")
    monkeypatch.setattr(os, "open", stale)
    assert not is_gone(tmp_path / "gone")
