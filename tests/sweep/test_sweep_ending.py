"""The wish that a run ends: by signals, once and again, and by a file that goes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ser_ray.sweep.ending import Ending, on_signals


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
