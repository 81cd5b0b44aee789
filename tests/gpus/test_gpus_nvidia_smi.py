"""What nvidia-smi lists, with a stand-in for it."""

import pytest

from ser_ray.gpus.visible import ListedGpu, list_gpus, select_visible

LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa-1)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb-2)
  MIG 3g.20gb     Device  0: (UUID: MIG-b0)
  MIG 1g.5gb      Device  1: (UUID: MIG-b1)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cc-3)
"""
MODES = """GPU-aa-1, Exclusive_Process
GPU-bb-2, Default
GPU-cc-3, Prohibited
"""
ALL = (
    ListedGpu("0", "GPU-aa-1", "Exclusive_Process"),
    ListedGpu("1", "GPU-bb-2", "Default", ("MIG-b0", "MIG-b1")),
    ListedGpu("2", "GPU-cc-3", "Prohibited"),
)


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts a stand-in for nvidia-smi on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(body=None):
        lists = f"if [ $1 = -L ]; then cat <<'E'\n{LISTED}E\nelse cat <<'E'\n{MODES}E\nfi"
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{lists if body is None else body}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return put


def test_gpus_with_their_modes_and_slices(smi):
    smi()
    assert list_gpus() == ALL


@pytest.mark.parametrize("body", ["exit 9", "echo No devices were found", "printf '\\377\\n'"])
def test_where_it_fails_or_finds_none_there_are_none(smi, body):
    smi(body)
    assert list_gpus() == ()


def test_without_the_program_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_gpus() == ()


@pytest.mark.parametrize(
    ("named", "indices"),
    [
        (None, "012"),
        ((), ""),
        (("2", "0"), "02"),
        (("GPU-bb",), "1"),  # CUDA takes a UUID that is cut short
        (("MIG-b1",), "1"),
        (("MIG-x", "7"), ""),
    ],
)
def test_those_that_a_process_sees(named, indices):
    assert "".join(gpu.index for gpu in select_visible(ALL, named)) == indices
