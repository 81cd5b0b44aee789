"""Which GPUs trials may be given, with stand-ins for the probe, the devices and SLURM."""

import json
import os
import shlex
import sys

import pytest

from ser_ray.errors import InputError
from ser_ray.gpus.run_python import PythonOutput
from ser_ray.gpus.usable import UsableGpus, limit_to_job, only_visible, usable_gpus, wrong_with
from ser_ray.gpus.visible import ListedGpu

OLD = "The NVIDIA driver on your system is too old (found version 11040)"


def answer(*wrong, reason=None, cuda="13.0"):
    gpus = [{"name": "H100", "total": 80, "free": 79, "wrong": one} for one in wrong]
    lines = {"torch": "2.11.0", "cuda": cuda}, {"gpus": gpus, "reason": reason}
    return PythonOutput(tuple(map(json.dumps, lines)), None, 1.0)


def usable(environment, seen, *, devices=True):
    return usable_gpus(environment, devices=lambda: devices, probe=lambda _: seen, list_gpus=lambda: ())


def never(*_):
    raise AssertionError("the probe is not needed")


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, False),  # a laptop
        ({"SLURM_GPUS_ON_NODE": "0"}, True),
        ({"CUDA_VISIBLE_DEVICES": ""}, True),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, True),
    ],
)
def test_without_gpus_nothing_is_probed(environment, devices):
    assert usable_gpus(environment, devices=lambda: devices, probe=never) == UsableGpus(())


@pytest.mark.parametrize(
    ("environment", "wrong", "expected"),
    [
        ({}, [None, None], UsableGpus(("0", "1"))),
        ({"CUDA_VISIBLE_DEVICES": "2,5"}, [None, None], UsableGpus(("2", "5"))),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, [None, None], UsableGpus(("GPU-a", "GPU-b"))),
        ({"CUDA_VISIBLE_DEVICES": "2,5"}, [None], UsableGpus(("2",))),  # of which the second is not there
        # a site that does not confine devices: others may be another job's
        ({"SLURM_GPUS_ON_NODE": "2"}, [None] * 4, UsableGpus(("0", "1"), all_visible=False)),
        ({"SLURM_JOB_GPUS": "4,5,6"}, [None] * 2, UsableGpus(("0", "1"))),
        (
            {"CUDA_VISIBLE_DEVICES": "2,5,6"},
            [None, "uncorrectable ECC error", None],
            UsableGpus(("2", "6"), False, ("GPU 5 (H100): uncorrectable ECC error",)),
        ),
        (
            {"SLURM_GPUS_ON_NODE": "2"},
            ["busy or unavailable", None, None],
            UsableGpus(("1", "2"), False, ("GPU 0 (H100): busy or unavailable",)),
        ),
        ({}, ["ECC"], UsableGpus((), False, ("GPU 0 (H100): ECC",))),
    ],
)
def test_those_that_compute_as_many_as_given(environment, wrong, expected):
    assert usable(environment, answer(*wrong)) == expected


@pytest.mark.parametrize(
    "environment", [{"SLURM_GPUS_ON_NODE": "2"}, {"SLURM_JOB_GPUS": "0,1"}, {"CUDA_VISIBLE_DEVICES": "0,1"}]
)
@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (answer(reason=f"{OLD}. Please update."), rf"\({OLD.replace('(', '.').replace(')', '.')}\); "),
        (answer("ECC", "busy or unavailable"), r"\(GPU 0 \(H100\): ECC; GPU 1 \(H100\): busy or unavailable\); "),
        (answer(cuda=None), r"\(this PyTorch was built without CUDA\); "),
        (
            PythonOutput(answer().lines[:1], "no answer within 180 s", 180.0),
            r"that tested them failed: no answer within 180 s",
        ),
    ],
)
def test_a_job_whose_gpus_cannot_be_used_ends_with_why_and_how_to_go_on(environment, seen, said):
    with pytest.raises(InputError, match=rf"this job was given 2 GPUs, but PyTorch can use none .*{said}") as raised:
        usable(environment, seen, devices=False)
    assert "--set resources.gpus=0" in str(raised.value)


def test_outside_of_a_job_training_falls_back_to_the_cpu_and_reports_why():
    found = usable({}, answer(reason=f"{OLD}. Please update."))
    assert found == UsableGpus((), unusable=(f"the GPUs of this machine: {OLD}",))


def test_a_pytorch_that_cannot_be_imported_is_reported():
    with pytest.raises(InputError, match=r"PyTorch cannot be imported \(ended by SIGSEGV\)"):
        usable({}, PythonOutput((), "ended by SIGSEGV", 1.0))


@pytest.mark.parametrize("before", [None, "0,1,2"])
def test_what_is_not_usable_is_hidden_from_processes_meanwhile(monkeypatch, before):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    with only_visible(UsableGpus(("0", "2"), all_visible=False)):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,2"
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before
    with only_visible(UsableGpus(("0", "1"))):
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (answer(None), None),
        (answer("ECC"), "ECC"),
        (answer(reason=f"{OLD}. Please update."), OLD),
        (answer(), "PyTorch does not see it"),
        (PythonOutput((), "ended by SIGBUS", 1.0), "PyTorch does not see it"),
    ],
)
def test_one_gpu_is_tried_by_itself(monkeypatch, tmp_path, seen, wrong):
    """A program in the place of Python says what it was told to, of that GPU alone."""
    said = "".join(f"echo {shlex.quote(line)}\n" for line in seen.lines)
    end = "kill -BUS $$" if seen.error else "exit 0"
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\n[ "$CUDA_VISIBLE_DEVICES" = GPU-b ] || exit 1\n{said}{end}\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert wrong_with("GPU-b") == wrong


A100 = ListedGpu("0", "GPU-aa", "Default", ("MIG-a0", "MIG-a1", "MIG-a2"))
WHOLE = ListedGpu("1", "GPU-bb", "Default")


class Slices:
    """Stands for processes of CUDA: each sees the first slice that it is told of, or else whole GPUs."""

    def __init__(self, *broken):
        self.broken, self.asked = broken, []

    def __call__(self, visible):
        self.asked.append(visible)
        return answer("ECC" if visible in self.broken else None)


@pytest.mark.parametrize(
    ("environment", "ids"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0"}, A100.slices),  # the parent, by number and by UUID
        ({"CUDA_VISIBLE_DEVICES": "GPU-aa"}, A100.slices),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "1"}, A100.slices),
        ({"CUDA_VISIBLE_DEVICES": "1,0", "SLURM_GPUS_ON_NODE": "2"}, ("1", *A100.slices)),
        ({"CUDA_VISIBLE_DEVICES": "MIG-a2,MIG-a0", "SLURM_GPUS_ON_NODE": "2"}, ("MIG-a2", "MIG-a0")),
        ({"SLURM_GPUS_ON_NODE": "1"}, A100.slices),  # devices are not confined: the second is another job's
        ({}, (*A100.slices, "GPU-bb")),
    ],
)
def test_slices_are_counted_and_named_by_uuid_also_where_their_gpu_is_given_as_a_whole(environment, ids):
    cuda = Slices()
    found = usable_gpus(environment, devices=lambda: True, probe=cuda, list_gpus=lambda: (A100, WHOLE))
    assert found == UsableGpus(tuple(ids), all_visible=False)
    assert cuda.asked[0] is None
    assert sorted(cuda.asked[1:]) == sorted(ids), "each is tried by a process of its own"


def test_a_slice_that_does_not_work_costs_no_other():
    found = usable_gpus(
        {"CUDA_VISIBLE_DEVICES": "0"}, devices=lambda: True, probe=Slices("MIG-a1"), list_gpus=lambda: (A100,)
    )
    assert found == UsableGpus(("MIG-a0", "MIG-a2"), False, ("GPU MIG-a1 (H100): ECC",))


def test_a_single_slice_is_probed_as_it_is():
    cuda = Slices()
    found = usable_gpus({"CUDA_VISIBLE_DEVICES": "MIG-a1"}, devices=lambda: True, probe=cuda, list_gpus=lambda: (A100,))
    assert found == UsableGpus(("MIG-a1",))
    assert cuda.asked == [None]


def test_a_prohibited_gpu_is_not_used_and_named_so():
    first = ListedGpu("0", "GPU-aa", "Prohibited")
    found = usable_gpus(
        {}, devices=lambda: True, probe=lambda _: answer("busy", None), list_gpus=lambda: (first, WHOLE)
    )
    assert found.ids == ("1",)
    assert found.unusable == ("GPU 0 (H100): its compute mode is prohibited: no process may compute on it",)
    with pytest.raises(InputError, match=r"PyTorch can use none .*its compute mode is prohibited"):
        usable_gpus(
            {"SLURM_GPUS_ON_NODE": "1"},
            devices=lambda: True,
            probe=lambda _: answer(reason=""),
            list_gpus=lambda: (first,),
        )


def test_a_count_of_slurms_cuts_no_slices():
    assert limit_to_job(["0", "1", "2"], 2) == ("0", "1")
    assert limit_to_job(["0", "1"], None) == ("0", "1")
    assert limit_to_job(["MIG-a0", "MIG-a1", "MIG-a2"], 1) == ("MIG-a0", "MIG-a1", "MIG-a2")
