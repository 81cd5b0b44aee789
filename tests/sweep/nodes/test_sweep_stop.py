"""The wish that a run ends: by signals, once and again, and by a file that goes."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from ser_ray.sweep.nodes import stop as module
from ser_ray.sweep.nodes.stop import Ending, on_signals, told


@pytest.fixture
def ending(tmp_path):
    return Ending(tmp_path / "tmp" / "go")


def test_a_run_goes_on_until_it_is_asked_to_end(ending):
    assert ending.go.exists()
    assert (ending.wanted, ending.now, ending.since) == (False, False, 0.0)
    ending.ask("the first reason")
    ending.ask("another")
    assert (ending.wanted, ending.now, ending.reason) == (True, False, "the first reason")
    assert not ending.go.exists()
    ending.ask("", now=True)
    assert (ending.now, ending.reason) == (True, "the first reason")


def test_closing_twice_is_no_mistake(ending):
    ending.close()
    ending.close()
    assert not ending.go.exists()
    assert not ending.wanted


@pytest.fixture(autouse=True)
def nothing_ignored():
    """Whoever runs the tests may have them ignore signals, as a shell does behind an ampersand."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGHUP), before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"])
def test_one_signal_asks_and_a_later_one_ends_at_once(ending, name, monkeypatch):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with on_signals(ending):
        os.kill(os.getpid(), number)
        assert ending.reason == f"asked to end by {name}"
        os.kill(os.getpid(), number)  # so soon after, it is the same wish
        assert not ending.now
        monkeypatch.setattr("ser_ray.sweep.nodes.stop.TOGETHER_S", 0.0)
        time.sleep(0.01)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert ending.now
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_so(ending):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_signals(ending):
            os.kill(os.getpid(), signal.SIGHUP)
        assert not ending.wanted
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_leaves_signals_alone(tmp_path):
    code = (
        "import threading; from pathlib import Path; from ser_ray.sweep.nodes.stop import Ending, on_signals\n"
        f"ending = Ending(Path({str(tmp_path)!r}) / 'go')\n"
        "def work():\n    with on_signals(ending): print('worked')\n"
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


@pytest.fixture
def said(ending, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    return []


def wait_for(lines, count):
    deadline = time.monotonic() + 20
    while len(lines) < count:
        assert time.monotonic() < deadline, lines
        time.sleep(0.005)


def test_a_wish_is_said_while_it_is_done_whatever_that_is(ending, said):
    doing = ["no trial has begun"]
    with told(ending, said.append, lambda: doing[0]):
        doing[0] = "trials save"
        ending.ask("asked to end by SIGTERM")
        wait_for(said, 1)
        ending.ask("", now=True)
        wait_for(said, 2)
    assert said == [
        "ending    asked to end by SIGTERM: trials save; once more (Ctrl-C) ends at once",
        "ending    at once",
    ]


def test_a_wish_to_end_at_once_is_said_once(ending, said):
    with told(ending, said.append, lambda: ""):
        ending.ask("Ray was lost", now=True)
        wait_for(said, 1)
    assert said == ["ending    Ray was lost: at once"]


def test_a_wish_is_said_though_the_run_is_over_already(ending, said, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 60.0)
    with told(ending, said.append, lambda: "it saves"):
        ending.ask("asked to end by SIGHUP")
    assert said == ["ending    asked to end by SIGHUP: it saves; once more (Ctrl-C) ends at once"]


def test_who_asks_for_nothing_is_told_nothing(ending, said):
    with told(ending, said.append, lambda: ""):
        pass
    assert said == []


def test_what_is_not_done_in_time_ends_at_once(ending, said, monkeypatch):
    monkeypatch.setattr(module, "SAVE_S", 0.1)
    with told(ending, said.append, lambda: "it saves"):
        ending.ask("asked to end by SIGTERM")
        wait_for(said, 2)
    assert ending.now
    assert said[1] == "ending    at once"


def test_in_a_job_processes_do_not_notice_the_schedulers_signals():
    held = sorted((signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP))
    assert in_process(HOLDS, job="4711") == (0, f"held: {' '.join(str(int(one)) for one in held)}\n")


def test_outside_of_a_job_they_notice_every_signal():
    assert in_process(HOLDS) == (0, "held:\n")


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EPERM", "EACCES", "ESTALE", "EIO"])
def test_a_stop_file_that_cannot_be_removed_ends_the_run_at_once(ending, name, monkeypatch):
    def unlink(path, missing_ok=False):
        raise OSError(getattr(errno, name), name, str(path))

    monkeypatch.setattr("pathlib.Path.unlink", unlink)
    ending.ask("no disk")
    assert (ending.wanted, ending.now, ending.reason) == (True, True, "no disk")
    ending.close()


def test_another_error_of_a_stop_file_is_raised(ending, monkeypatch):
    def unlink(path, missing_ok=False):
        raise OSError(errno.EMFILE, "too many", str(path))

    monkeypatch.setattr("pathlib.Path.unlink", unlink)
    with pytest.raises(OSError, match="too many"):
        ending.ask("why not")
