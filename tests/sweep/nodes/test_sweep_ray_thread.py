"""Threads that use Ray: whether they run is known whatever interrupts the wait, and Ray is not taken away from them."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ser_ray.sweep.nodes.ray_folder import RayThread, ray_is_used


@pytest.fixture
def thread():
    """Returns a thread that runs until its test is over, and what ends it."""
    over = threading.Event()
    thread = RayThread(over.wait, "x")
    thread.start()
    yield thread, over
    over.set()
    thread.wait(20)


def test_it_runs_until_its_call_is_over(thread):
    thread, over = thread
    assert thread.running
    assert not thread.wait(0.01)
    over.set()
    assert thread.wait(20)
    assert not thread.running
    thread.raise_if_failed()


def test_what_a_signal_interrupts_is_the_wait_alone(thread):
    thread, _ = thread
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    with pytest.raises(KeyboardInterrupt):
        thread.wait(20)
    signal.signal(signal.SIGUSR1, before)
    assert thread.running
    assert ray_is_used(0.0)


def test_what_it_raises_is_kept_for_who_waits():
    def fail():
        raise SystemExit("Ray is gone")

    thread = RayThread(fail, "x")
    thread.start()
    assert thread.wait(20)
    with pytest.raises(SystemExit, match="Ray is gone"):
        thread.raise_if_failed()


def test_all_of_them_are_waited_for(thread):
    thread, over = thread
    began = time.monotonic()
    assert ray_is_used(0.1)
    assert time.monotonic() - began >= 0.1
    threading.Timer(0.1, over.set).start()
    assert not ray_is_used(20)


LEFT = """
import sys, time
from ser_ray.process import run

def command(argv):
    from ser_ray.sweep.nodes.ray_folder import prepare_environment
    prepare_environment()
    import ray
    from ser_ray.sweep.nodes import cluster
    from ser_ray.sweep.nodes.ray_folder import RayThread

    cluster.IN_RAY_S = 0.2
    with cluster.cluster():
        @ray.remote(num_cpus=0)
        class Deaf:
            def wait(self):
                time.sleep(600)

        def use():
            while True:
                found = [Deaf.remote().wait.remote() for _ in range(2)]
                ray.wait(found, timeout=0.01)

        started = cluster.servers()
        RayThread(use, "user").start()
        time.sleep(2)
    print(*(server.poll() is not None for server in started), "left", flush=True)
    return 75

run(command)
"""


@pytest.mark.slow
def test_a_cluster_that_a_thread_still_uses_is_ended_and_the_process_with_its_own_code():
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (75, "True True left\n"), done.stderr
