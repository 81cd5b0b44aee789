"""Findings on GPUs, given what SLURM gave, what PyTorch sees and what Triton lacks."""

import dataclasses
from pathlib import Path

import pytest

from ser_ray import triton_host
from ser_ray.doctor.gpus import (
    check_compiler,
    check_count,
    check_memory,
    check_modes,
    check_none,
    check_results,
    check_triton_cache,
    findings,
    triton_findings,
)
from ser_ray.gpus.visible import Gpu, ProbeResult

GB = 10**9
GOOD = Gpu("H100", 80 * GB, 79 * GB, None)
BAD = Gpu("H100", 80 * GB, 79 * GB, "a convolution is wrong by 0.2 of its largest value")


def none(probed=None, given=None, *, in_job=False, driver=None, visible=None):
    return check_none(probed or ProbeResult("13.0"), given, in_job=in_job, driver=driver, visible=visible)


def test_no_gpu_is_ok_where_none_was_given():
    assert none().level == none(in_job=True).level == none(given=0, in_job=True).level == "ok"
    assert "a login node needs none" in none().text
    assert none(in_job=True, driver="550.1").text == "the job has none; trials train on the CPU"


def test_a_driver_without_a_gpu_outside_of_a_job_is_a_warning():
    found = none(ProbeResult("13.0", reason="The driver is too old (found 11040). Please update."), driver="550.1")
    assert found.level == "warn"
    assert found.text.startswith(
        "a driver (550.1) is loaded, but PyTorch sees none (The driver is too old (found 11040))"
    )
    assert "trials would train on the CPU" in found.text
    assert "driver 550.1 may be too old for CUDA 13.0" in found.fix


@pytest.mark.parametrize(
    ("probed", "driver", "visible", "fix"),
    [
        (ProbeResult(None), "550.1", None, "is a CPU build"),
        (ProbeResult("13.0"), "550.1", "", "CUDA_VISIBLE_DEVICES is ''"),
        (ProbeResult("13.0"), "550.1", "-1", "CUDA_VISIBLE_DEVICES is '-1'"),
        (ProbeResult("13.0"), "550.1", "NoDevFiles", "hides all"),
        (ProbeResult("13.0"), None, "0,1", "--nv"),
        (ProbeResult("13.0"), "550.1", "0,1", "too old for CUDA 13.0"),
    ],
)
def test_gpus_that_pytorch_does_not_see_are_a_warning_with_the_likely_fix(probed, driver, visible, fix):
    found = none(probed, 2, in_job=True, driver=driver, visible=visible)
    assert found.level == "warn"
    assert "SLURM gave 2, but PyTorch sees none" in found.text
    assert "a sweep stops with an error here, unless resources.gpus is 0" in found.text
    assert fix in found.fix


def test_gpus_that_are_right():
    other = Gpu("A100", 40 * GB, 39 * GB, None)
    found = check_results(ProbeResult("13.0", (GOOD, GOOD, other)), "580.1")
    assert found.level == "ok"
    assert found.text.startswith("2 x H100, 1 x A100, 39 GB of 40 GB free, driver 580.1, CUDA 13.0; ")


def test_a_gpu_that_computes_wrongly_is_named_and_costs_no_other():
    found = check_results(ProbeResult("13.0", (GOOD, BAD, GOOD, GOOD)), "580.1")
    assert found.level == "warn"
    assert found.text == f"1 of 4 do not work and are not used: 1 (H100): {BAD.wrong}"


def test_a_node_whose_gpus_all_compute_wrongly_fails():
    found = check_results(ProbeResult("13.0", (BAD, BAD)), "580.1")
    assert found.level == "FAIL"
    assert found.text == f"2 of 2 do not work: 0 (H100): {BAD.wrong}; 1 (H100): {BAD.wrong}"
    assert "--exclude" in found.fix


def test_a_driver_that_is_too_old_is_named_with_what_is_needed_and_the_command_that_works():
    found = none(ProbeResult("13.0", reason="too old"), driver="550.54.14")
    assert "driver 550.54.14 may be too old for CUDA 13.0, which needs 580 or newer" in found.fix
    assert "(driver 525 or newer): .venv/bin/uv pip install torch==2.9.1 torchaudio==2.9.1" in found.fix
    assert "uv pip" not in none(ProbeResult("12.8", reason="too old"), driver="470.1").fix


@pytest.mark.parametrize(
    ("visible", "given", "in_job", "said"),
    [
        (2, 2, True, None),
        (2, None, False, None),
        (2, None, True, "SLURM gave this job none"),
        (4, 2, True, "SLURM gave this job 2"),
        (1, 2, True, "SLURM gave 2, but PyTorch sees 1"),
    ],
)
def test_as_many_as_given(visible, given, in_job, said):
    found = list(check_count(visible, given, in_job=in_job))
    assert [finding.level for finding in found] == ([] if said is None else ["warn"])
    assert said is None or said in found[0].text


def test_memory_that_something_else_uses():
    assert not list(check_memory([GOOD, Gpu("H100", 80 * GB, 71.5 * GB, None), Gpu("T4", 4 * GB, 3.4 * GB, None)]))
    (found,) = check_memory([GOOD, Gpu("H100", 80 * GB, 60 * GB, None), BAD])
    assert found.level == "warn"
    assert found.text == "other processes use 20 GB of GPU 1"


def test_all_findings_of_a_node():
    job = {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "2"}
    assert [f.level for f in findings(ProbeResult("13.0", (GOOD, GOOD)), job)] == ["ok"]
    assert [f.level for f in findings(ProbeResult("13.0", (GOOD, BAD)), job)] == ["warn"]
    assert [f.level for f in findings(ProbeResult("13.0", (BAD, BAD)), job)] == ["FAIL"]
    assert [f.level for f in findings(ProbeResult("13.0", (GOOD,)), job)] == ["ok", "warn"]
    assert [f.level for f in findings(ProbeResult("13.0", (), "why"), job)] == ["warn"]
    (crash,) = findings(ProbeResult("13.0", crash="ended by SIGBUS"), job)
    assert (crash.level, crash.text) == ("FAIL", "PyTorch ended while it tested the GPUs (ended by SIGBUS)")


def test_gpus_that_let_in_one_process_at_a_time_are_a_warning():
    alone = dataclasses.replace(GOOD, mode="Exclusive_Process")
    assert list(check_modes([GOOD, dataclasses.replace(GOOD, mode="Default")])) == []
    (found,) = check_modes([GOOD, alone])
    assert found.level == "warn"
    assert found.text.startswith("GPU 1 of 2 in exclusive process mode (one process at a time): each trial gets ")
    assert "resources.mps" in found.fix
    assert [f.level for f in findings(ProbeResult("13.0", (alone,)), {})] == ["ok", "warn"]


def test_slices_of_a_gpu_that_slurm_gave_as_a_whole_count_once():
    job = {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "1"}
    slices = ProbeResult("13.0", (GOOD, GOOD, GOOD))
    assert [f.level for f in findings(slices, job)] == ["ok", "warn"]
    assert [f.level for f in findings(slices, job, whole=1)] == ["ok"]


def test_where_no_gpu_is_used_triton_is_not_checked(monkeypatch):
    monkeypatch.setattr(triton_host, "missing_for_launchers", lambda: pytest.fail("not needed"))
    assert list(triton_findings(0)) == []


def test_a_node_with_gpus_is_checked_for_both(monkeypatch, tmp_path):
    monkeypatch.setattr(triton_host, "missing_for_launchers", lambda: None)
    launchers, cache = triton_findings(2, {"TRITON_CACHE_DIR": str(tmp_path / "none")})
    assert (launchers.level, launchers.name) == ("ok", "triton")
    assert f"compiled kernels are cached in {tmp_path}/none" in cache.text
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_what_triton_lacks_is_a_warning_with_the_fix():
    found = check_compiler("there is no C compiler")
    assert found.level == "warn"
    assert found.text == ("there is no C compiler: resources.backend: fused is refused here; auto uses plain PyTorch")
    assert "module load gcc" in found.fix


@pytest.mark.parametrize(("kind", "level"), [("ext4", "ok"), ("tmpfs", "ok"), ("nfs4", "warn"), ("lustre", "warn")])
def test_a_triton_cache_on_a_shared_file_system_is_a_warning(kind, level):
    found = check_triton_cache(Path("/home/me/.triton"), kind)
    assert found.level == level
    assert f"/home/me/.triton, {kind}" in found.text


def test_a_triton_cache_on_an_unknown_file_system_is_no_trouble():
    assert check_triton_cache(Path("/x"), None).level == "ok"
