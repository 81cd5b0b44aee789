"""The signals that ask for the end, in real processes: from the first moment on, twice, ignored, and at the exit."""

import os
import signal
import subprocess
import sys

import pytest

from ser_ray.process import SCHEDULER, handle_signals

NAMES = ["SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"]
DOOR = """
import atexit, os, signal, sys, time
from ser_ray import process
number = signal.{name}
def command(argv):
    {body}
process.run(command)
"""


def take_all():
    """Whoever runs the tests may have them ignore signals, as a shell does behind an ampersand."""
    for number in (signal.SIGINT, *SCHEDULER):
        signal.signal(number, signal.SIG_DFL)


def run(body, name="SIGTERM", **options):
    """Return the exit code and what was printed, on both streams, by a command of the door."""
    code = DOOR.format(name=name, body=body)
    given = {"preexec_fn": take_all, **options}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **given
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_command_that_a_signal_interrupts_prints_a_line(name):
    code, out, err = run("os.kill(os.getpid(), number); time.sleep(30)", name)
    assert (code, out) == (75, "")
    assert err == f"ended before it was done, as {name} asked for; run the same command again\n"


def test_signals_close_to_each_other_are_one():
    body = "\n    ".join(
        (
            "try: os.kill(os.getpid(), number); time.sleep(30)",
            "except KeyboardInterrupt: os.kill(os.getpid(), signal.SIGUSR1); print('cleared up')",
            "return 7",
        )
    )
    assert run(body) == (7, "cleared up\n", "")


def test_a_later_signal_ends_what_is_cleared_up():
    body = "\n    ".join(
        (
            "from ser_ray import process; process.TOGETHER_S = 0.0",
            "try: os.kill(os.getpid(), number); time.sleep(30)",
            "except KeyboardInterrupt: time.sleep(0.01); os.kill(os.getpid(), signal.SIGUSR1); print('cleared up')",
        )
    )
    code, out, err = run(body)
    assert (code, out) == (75, "")
    assert "SIGUSR1 asked for" in err


@pytest.mark.parametrize("name", [name for name in NAMES if name != "SIGINT"])
def test_once_its_code_is_known_a_scheduler_does_not_change_how_a_command_ends(name):
    assert run("atexit.register(os.kill, os.getpid(), number); return 3", name) == (3, "", "")


def test_a_thread_that_was_left_behind_does_not_hold_up_the_exit():
    body = "\n    ".join(
        (
            "import threading; stuck = threading.Thread(target=time.sleep, args=(600,)); stuck.left_behind = True",
            "stuck.start(); print('done'); return 75",
        )
    )
    assert run(body) == (75, "done\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_that_whoever_starts_the_command_ignores_stays_ignored(name):
    def ignore():
        signal.signal(getattr(signal, name), signal.SIG_IGN)

    assert run("os.kill(os.getpid(), number); print('went on'); return 0", name, preexec_fn=ignore) == (
        0,
        "went on\n",
        "",
    )


@pytest.mark.parametrize("argv", [("-m", "ser_ray.sweep"), ("-m", "ser_ray", "sweep")])
def test_the_sweep_takes_signals_before_it_loads_anything(argv, tmp_path):
    """A module that is loaded first by the sweep's own room sends the signal."""
    (tmp_path / "numpy.py").write_text("import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)")
    done = subprocess.run(
        [sys.executable, *argv, "x.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "ended before it was done, as SIGTERM asked for; run the same command again\n"


BELOW = """
import ctypes, os, signal, time

from ser_ray.process import restore_handlers, handle_signals
seen = []
with handle_signals(lambda number, frame: seen.append(number)):
    ctypes.CDLL(None).signal(signal.SIGTERM, 1)  # SIG_IGN, as C code would put it in
    os.kill(os.getpid(), signal.SIGTERM)
    assert not seen
    signal.alarm(1)  # as what a library does with a signal that came meanwhile
    restore_handlers()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1.5)
assert seen == [signal.SIGTERM]
"""


def test_handlers_of_a_library_below_pythons_give_way():
    done = subprocess.run([sys.executable, "-c", BELOW], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_handler_takes_them_all_and_the_earlier_ones_come_back():
    numbers = {number for number in (signal.SIGINT, *SCHEDULER) if signal.getsignal(number) is not signal.SIG_IGN}
    before = {number: signal.getsignal(number) for number in numbers}
    seen = []
    with handle_signals(lambda number, frame: seen.append(number)):
        for number in sorted(numbers):
            os.kill(os.getpid(), number)
    assert seen == sorted(numbers)
    assert {number: signal.getsignal(number) for number in numbers} == before
