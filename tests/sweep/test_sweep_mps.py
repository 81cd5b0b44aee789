"""CUDA MPS, with a stand-in for NVIDIA's control program."""

import os

import pytest

from ser_ray.sweep.mps import CONTROL, shared_gpus

STAND_IN = """#!/bin/sh
echo "$@ $CUDA_MPS_PIPE_DIRECTORY $(cat)" >> {calls}
{then}
"""


@pytest.fixture
def control(tmp_path, monkeypatch):
    """Puts a stand-in for the control program on the path, which notes its calls."""
    calls = tmp_path / "calls"

    def put(then="exit 0"):
        program = tmp_path / CONTROL
        program.write_text(STAND_IN.format(calls=calls, then=then))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return calls

    return put


def test_the_service_runs_as_long_as_the_sweep_with_folders_of_its_own(control, monkeypatch):
    calls, said = control(then="sleep 20 & exit 0"), []
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    with shared_gpus(True, said.append):
        pipe = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert os.path.isdir(pipe)
        assert os.stat(os.path.dirname(pipe)).st_mode & 0o777 == 0o700
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert not os.path.exists(pipe)
    assert calls.read_text().split() == ["-d", pipe, pipe, "quit"]
    assert said == ["CUDA MPS is running on this node: trials share its GPUs side by side"]


def test_where_it_cannot_be_started_the_reason_is_said_and_trials_take_turns(control):
    control(then="echo 'Cannot find MPS control daemon process'; exit 1")
    said = []
    with shared_gpus(True, said.append):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert said == [
        "resources.mps: CUDA MPS cannot be started (Cannot find MPS control daemon process); "
        "trials that share a GPU take turns"
    ]


def test_without_the_program_the_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = []
    with shared_gpus(True, said.append):
        pass
    assert f"there is no {CONTROL}" in said[0]


def test_nothing_is_started_unasked(control):
    calls = control()
    with shared_gpus(False, print):
        pass
    assert not calls.exists()
