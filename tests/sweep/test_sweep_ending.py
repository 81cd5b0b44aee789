"""The wish that a run ends: by signals, once and again, and by a file that goes."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ser_ray.sweep.ending import HELD, Ending, on_signals


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


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"])
def test_one_signal_asks_and_a_later_one_ends_at_once(ending, name, monkeypatch):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with on_signals(ending):
        os.kill(os.getpid(), number)
        assert ending.reason == f"asked to end by {name}"
        os.kill(os.getpid(), number)  # so soon after, it is the same wish
        assert not ending.now
        monkeypatch.setattr("ser_ray.sweep.ending.TOGETHER_S", 0.0)
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
        "import threading; from pathlib import Path; from ser_ray.sweep.ending import Ending, on_signals\n"
        f"ending = Ending(Path({str(tmp_path)!r}) / 'go')\n"
        "def work():\n    with on_signals(ending): print('worked')\n"
        "t = threading.Thread(target=work); t.start(); t.join()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "worked\n"


MASK = "import signal; print(*sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
HOLDS = f"""
import os, signal, subprocess, sys, time
from pathlib import Path
from ser_ray.sweep.ending import Ending, hold_signals, on_signals
before = subprocess.run([sys.executable, "-c", {MASK!r}], capture_output=True, text=True).stdout.split()
hold_signals()
after = subprocess.run([sys.executable, "-c", {MASK!r}], capture_output=True, text=True).stdout.split()
print("held:", *sorted(set(after) - set(before)))
"""
TAKES = """
os.kill(os.getpid(), signal.{name})
ending = Ending(Path(sys.argv[1]))
print("still here")
with on_signals(ending):
    print(ending.reason)
    print("held:", *(set(signal.pthread_sigmask(signal.SIG_BLOCK, [])) & {{signal.{name}}}))
"""


def in_process(code, *arguments, job=None):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    clean |= {} if job is None else {"SLURM_JOB_ID": job}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=clean, check=False, timeout=60
    )
    return done.returncode, done.stdout


def test_in_a_job_processes_do_not_notice_the_schedulers_signals():
    held = sorted((signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP))
    assert in_process(HOLDS, job="4711") == (0, f"held: {' '.join(str(int(one)) for one in held)}\n")


def test_outside_of_a_job_they_notice_every_signal():
    assert in_process(HOLDS) == (0, "held:\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_what_came_while_signals_were_held_is_taken(name, tmp_path):
    code, out = in_process(HOLDS + TAKES.format(name=name), str(tmp_path / "go"), job="4711")
    assert code == 0
    assert out.splitlines()[1:] == ["still here", f"asked to end by {name}", "held:"]
    assert not (tmp_path / "go").exists()


def test_outside_of_a_job_a_signal_before_the_run_ends_the_process(tmp_path):
    code, out = in_process(HOLDS + TAKES.format(name="SIGTERM"), str(tmp_path / "go"))
    assert code == -signal.SIGTERM
    assert "still here" not in out


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"])
def test_handlers_that_a_library_changed_are_put_in_again(ending, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with on_signals(ending) as take:
        signal.signal(number, signal.SIG_IGN)
        os.kill(os.getpid(), number)
        assert not ending.wanted
        take()
        os.kill(os.getpid(), number)
        assert ending.reason == f"asked to end by {name}"
    assert signal.getsignal(number) == before


def test_signals_that_a_library_held_are_taken_again(ending):
    with on_signals(ending) as take:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # no other thread takes it meanwhile
        assert not ending.wanted
        take()
        assert ending.reason == "asked to end by SIGTERM"


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
