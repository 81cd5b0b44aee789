"""Results come in order and no faster than they are taken; a process that ends is told of, and none is left behind."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from ser_ray.corpus.workers import AHEAD, in_order
from ser_ray.errors import InputError


def slow_at_first(number):
    time.sleep(0.2 if number == 0 else 0.0)
    return number, os.getpid()


def noted(folder, number):
    (folder / str(number)).touch()
    return number


def killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


def mistaken(number):
    if number == 1:
        raise InputError("x.wav is wrong")
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(jobs):
    results = list(in_order(slow_at_first, range(7), jobs))
    assert [number for number, _ in results] == list(range(7))
    assert {pid == os.getpid() for _, pid in results} == {jobs == 1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_it_does_not_run_ahead(tmp_path, jobs):
    """Of endless items so many are begun as may wait, and no more."""
    results = in_order(partial(noted, tmp_path), count(), jobs)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    ahead = 0 if jobs == 1 else AHEAD * jobs - 1
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 3 + ahead and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == 3 + ahead
    results.close()
    assert len(list(tmp_path.iterdir())) == 3 + ahead


def test_nothing_to_do():
    assert list(in_order(mistaken, [], 2)) == []


def test_a_process_that_was_killed_is_told():
    with pytest.raises(
        InputError, match=r"one of 2 processes was killed \(out of memory\?\): try again with a smaller --jobs"
    ):
        list(in_order(killed, range(3), 2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_mistakes_come_through(jobs):
    results = in_order(mistaken, range(5), jobs)
    assert next(results) == 0
    with pytest.raises(InputError, match=r"^x.wav is wrong$"):
        next(results)


PARENT = """
import os, sys
sys.path.insert(0, {folder!r})
from ser_ray.corpus.workers import in_order
from test_corpus_workers import wait
if __name__ == "__main__":
    list(in_order(wait, range(2), 2))
"""


def wait(number):
    os.write(1, f"{os.getpid()}\n".encode())  # whole, though two print at once
    time.sleep(600)


def test_processes_end_with_their_parent():
    """Whatever ends it: SIGKILL leaves it no time to tell them. A signal of the terminal is the parent's alone."""
    code = PARENT.format(folder=str(Path(__file__).parent))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    for pid in workers:
        os.kill(pid, signal.SIGINT)
    time.sleep(0.2)
    assert all(map(runs, workers))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, workers))
    parent.stdout.close()


def runs(pid):
    """Whether a process is there, and not only waiting for somebody to ask how it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
