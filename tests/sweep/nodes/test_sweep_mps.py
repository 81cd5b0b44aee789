"""CUDA MPS, with a stand-in for NVIDIA's control program."""

import os

import pytest

from ser_ray.sweep.nodes.mps import CONTROL, shared_gpus

STAND_IN = """#!/bin/sh
echo "$@ $CUDA_MPS_PIPE_DIRECTORY $(cat)" >> {calls}
echo "$CUDA_VISIBLE_DEVICES" >> {calls}.visible
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
    with shared_gpus(True, said.append, lambda: None):
        pipe = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert os.path.isdir(pipe)
        assert os.stat(os.path.dirname(pipe)).st_mode & 0o777 == 0o700
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert not os.path.exists(pipe)
    assert calls.read_text().split() == ["-d", pipe, pipe, "quit"]
    assert said == ["CUDA MPS is running on this node: trials that share a GPU run in parallel"]


def test_where_it_cannot_be_started_the_reason_is_said_and_trials_take_turns(control):
    control(then="echo 'Cannot find MPS control daemon process'; exit 1")
    said = []
    with shared_gpus(True, said.append):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert said == [
        "resources.mps: CUDA MPS cannot be used (Cannot find MPS control daemon process); "
        "trials that share a GPU run in turns"
    ]


def test_without_the_program_the_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = []
    with shared_gpus(True, said.append):
        pass
    assert f"{CONTROL} is not installed" in said[0]


def test_nothing_is_started_unasked(control):
    calls = control()
    with shared_gpus(False, print):
        pass
    assert not calls.exists()


LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb)
  MIG 1g.5gb      Device  0: (UUID: MIG-b0)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cc)
GPU 3: NVIDIA A100-SXM4-40GB (UUID: GPU-dd)
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts a stand-in for nvidia-smi on the path."""

    def put(listed=LISTED):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'E'\n{listed}E\n")
        program.chmod(0o755)

    put()
    return put


@pytest.mark.parametrize(
    ("named", "told"), [("2,3", "GPU-cc,GPU-dd"), ("GPU-bb,0", "GPU-bb,GPU-aa"), ("MIG-b0", "MIG-b0")]
)
def test_service_and_trials_are_told_uuids_since_it_numbers_anew(control, smi, monkeypatch, tmp_path, named, told):
    control()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with shared_gpus(True, print, lambda: None):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == told
    assert (tmp_path / "calls.visible").read_text().split() == [told, told]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == named


def test_without_uuids_it_is_not_started(control, smi, monkeypatch):
    calls, said = control(), []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,7")
    with shared_gpus(True, said.append, lambda: None):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,7"
    assert not calls.exists()
    assert "the UUIDs of GPUs 0,7 cannot be determined: nvidia-smi lists no GPU 7); trials that share a GPU" in said[0]


def test_where_a_process_cannot_use_it_it_is_ended_and_that_said(control, smi, monkeypatch):
    calls, said = control(), []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with shared_gpus(True, said.append, lambda: "CUDA error: MPS client failed to connect"):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
        assert calls.read_text().rstrip().endswith("quit")
    assert said == [
        "resources.mps: CUDA MPS cannot be used (a test process under it failed: CUDA error: MPS client failed to "
        "connect); trials that share a GPU run in turns"
    ]
    assert calls.read_text().count("quit") == 1


def test_the_client_that_is_tried_needs_a_gpu(control, monkeypatch):
    control()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    said = []
    with shared_gpus(True, said.append):
        pass
    assert "a test process under it failed: " in said[0]
