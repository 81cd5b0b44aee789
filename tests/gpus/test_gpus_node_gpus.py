"""Which GPU a trial runs on, with processes in the place of trials."""

import subprocess
import sys

import pytest

from ser_ray.gpus.node_gpus import NodeGpus


def never():
    raise AssertionError("not to be tried")


@pytest.fixture
def gpus(tmp_path):
    return NodeGpus(tmp_path / "gpus", ["0", "GPU-b", "2"])


HOLD = """
import sys
from pathlib import Path
from ser_ray.gpus.node_gpus import NodeGpus
with NodeGpus(Path(sys.argv[1]), ["0", "GPU-b", "2"]).place(sys.argv[2], float(sys.argv[3])) as gpu:
    print(gpu, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """Has a process hold a share of a GPU; returns it and the GPU."""
    begun = []

    def begin(assigned, share):
        command = [sys.executable, "-c", HOLD, str(tmp_path / "gpus"), assigned, str(share)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        return process, process.stdout.readline().strip()

    yield begin
    for process in begun:
        process.communicate(timeout=20)


def chosen(gpus, *arguments):
    with gpus.place(*arguments) as gpu:
        return gpu


def test_a_trial_runs_on_the_gpu_that_ray_assigned(gpus, held):
    assert held("GPU-b", 1.0)[1] == "GPU-b"
    assert chosen(gpus, "0", 0.5) == "0"
    assert chosen(gpus, "GPU-b", 0.5) == "GPU-b"  # Ray knows best what is free


def test_after_a_fault_a_trial_takes_another_gpu_with_a_free_share(gpus, held):
    held("0", 0.25)
    assert chosen(gpus, "GPU-b", 0.5, ["GPU-b"]) == "2"
    process, _ = held("2", 0.75)
    assert chosen(gpus, "GPU-b", 0.5, ["GPU-b"]) == "0"
    assert chosen(gpus, "GPU-b", 1.0, ["GPU-b"]) == "GPU-b"  # no other has room
    process.kill()
    process.wait()
    assert chosen(gpus, "GPU-b", 1.0, ["GPU-b"]) == "2"  # what a killed process held is free


def test_the_second_fault_in_a_row_sets_a_gpu_aside(gpus):
    assert gpus.fault("2", never) is None
    assert gpus.fault("0", never) is None
    gpus.worked("0")
    assert gpus.fault("0", never) is None
    assert gpus.fault("2", lambda: "a convolution is off") == "2 faults in a row; a convolution is off"
    assert gpus.set_aside == {"2"}
    assert gpus.fault("2", never) is None  # of a trial that still ran there
    assert chosen(gpus, "2", 0.5) in ("0", "GPU-b")
    assert chosen(gpus, "2", 0.5, ["0"]) == "GPU-b"


def test_without_a_free_share_a_trial_takes_the_emptiest_gpu_that_is_not_set_aside(gpus, held):
    gpus.fault("2", never)
    gpus.fault("2", lambda: "wrong")
    held("0", 1.0)
    held("GPU-b", 0.75)
    assert chosen(gpus, "2", 0.5, ["GPU-b"]) == "GPU-b"


def test_the_last_gpu_is_set_aside_only_if_it_computes_wrongly(tmp_path):
    only = NodeGpus(tmp_path, ["0"])
    assert [only.fault("0", lambda: None) for _ in range(3)] == [None] * 3
    assert not only.set_aside
    assert only.fault("0", lambda: "ECC") == "4 faults in a row; ECC"
    assert only.set_aside == {"0"}


def test_of_several_a_gpu_is_set_aside_though_it_computes_rightly_by_itself(gpus):
    gpus.fault("0", never)
    assert gpus.fault("0", lambda: None) == "2 faults in a row; it computes correctly when it is tested alone"
