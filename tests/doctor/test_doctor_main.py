"""The command: its lines, its exit codes, its record."""

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ser_ray import allocation, process
from ser_ray.doctor import __main__ as doctor
from ser_ray.doctor.finding import fail, ok, warn

IMPORTED = '{"torch": "2.11.0", "torchaudio": "2.11.0", "cuda": null, "seconds": 1.0}'
NO_GPU = '{"gpus": [], "reason": null}'
T4 = {"name": "T4", "total": 9, "free": 9}
ONE_BAD = json.dumps({"gpus": [{**T4, "wrong": "why"}, {**T4, "wrong": None}], "reason": None})
PYTHON = sys.executable


@pytest.fixture(autouse=True)
def outside_of_a_job(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "RAY_", "SER_RAY_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def python(tmp_path_factory, monkeypatch):
    """A program in the place of Python, which would import PyTorch and Ray: a test may say what comes of PyTorch."""
    path = tmp_path_factory.mktemp("bin") / "python"

    def becomes(pytorch):
        path.write_text(f'#!/bin/sh\ncase "$*" in\n*ray.__version__*) echo 2.60.0 ;;\n*) {pytorch} ;;\nesac\n')
        path.chmod(0o755)

    becomes(prints(IMPORTED, NO_GPU))
    monkeypatch.setattr(sys, "executable", str(path))
    return becomes


def prints(*lines):
    return f"printf '%s\\n' {shlex.join(lines)}"


def test_a_machine_that_is_fit(tmp_path, capsys):
    assert doctor.main(["--results", str(tmp_path / "r"), "--record", str(tmp_path / "record.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line[:6] for line in lines[:-1]} <= {"ok    ", "warn  "}
    assert lines[-1].startswith(f"{socket.gethostname()} is fit to run sweeps")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert json.loads((tmp_path / "record.json").read_text()) == {
        "host": socket.gethostname(),
        "fit": True,
        "cpus": allocation.cpus(),
        "gpus": 0,
        "gpu_ids": [],
        "problems": [],
    }


def test_a_machine_that_is_not(tmp_path, capsys):
    (tmp_path / "r").write_text("")
    record = tmp_path / "record.json"
    record.write_text("of before")
    command = ["--results", str(tmp_path / "r" / "x"), "--corpus", str(tmp_path / "none"), "--record", str(record)]
    assert doctor.main(command) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.startswith("FAIL")]
    assert [line.split()[1] for line in failed] == ["results", "corpus"]
    assert lines[-1].startswith(f"{socket.gethostname()} is not fit to run sweeps; failed checks: results, corpus")
    found = json.loads(record.read_text())
    assert not found["fit"]
    assert [problem.split(":")[0] for problem in found["problems"]] == ["results", "corpus"]
    assert "\n" not in "".join(found["problems"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "record.json"]


def test_gpus_that_work_are_counted(tmp_path, python, capsys):
    python(prints(IMPORTED, ONE_BAD))
    assert doctor.main(["--results", str(tmp_path), "--record", str(tmp_path / "record.json")]) == 0
    found = json.loads((tmp_path / "record.json").read_text())
    assert (found["gpus"], found["gpu_ids"], found["problems"]) == (1, ["1"], [])
    out = capsys.readouterr().out
    assert "1 of 2 do not work and are not used: 0 (T4): why" in out
    assert "  triton      " in out, "what the fused operation needs on them"


def test_gpus_that_work_have_the_names_of_the_job(tmp_path, python, monkeypatch):
    python(prints(IMPORTED, ONE_BAD))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5a")
    doctor.main(["--results", str(tmp_path), "--record", str(tmp_path / "record.json")])
    assert json.loads((tmp_path / "record.json").read_text())["gpu_ids"] == ["GPU-5a"]


def test_slices_of_a_gpu_are_recorded_one_by_one(tmp_path, python, monkeypatch, capsys):
    python(prints(IMPORTED, json.dumps({"gpus": [{**T4, "wrong": None}], "reason": None})))
    listing = "GPU 0: A100 (UUID: GPU-a)\n  MIG 3g (UUID: MIG-0)\n  MIG 3g (UUID: MIG-1)"
    smi = Path(sys.executable).with_name("nvidia-smi")
    smi.write_text(f"#!/bin/sh\n[ $1 = -L ] && echo '{listing}'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{smi.parent}:{os.environ['PATH']}")
    for name, value in {"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    doctor.main(["--results", str(tmp_path), "--record", str(tmp_path / "record.json")])
    found = json.loads((tmp_path / "record.json").read_text())
    assert (found["gpus"], found["gpu_ids"]) == (2, ["MIG-0", "MIG-1"])
    assert "SLURM gave" not in capsys.readouterr().out.replace("(SLURM gave", "")


def test_without_pytorch_there_is_no_finding_on_gpus(tmp_path, python, capsys):
    python("kill -ILL $$")
    assert doctor.main(["--results", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[1] for line in lines]
    assert "ended by SIGILL" in lines[names.index("pytorch")]
    assert "gpu" not in names


def test_lines_of_several_nodes_begin_with_the_host(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    doctor.main(["--results", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 10
    assert all(line.split()[0] == socket.gethostname() for line in lines)


def test_summaries():
    fit, trouble, unfit = ok("a", ""), warn("b", "", "x"), fail("c", "", "x")
    assert doctor.summary("n1", [fit]) == "n1 is fit to run sweeps"
    assert doctor.summary("n1", [fit, trouble]) == "n1 is fit to run sweeps (1 warning)"
    assert doctor.summary("n1", [trouble, trouble]) == "n1 is fit to run sweeps (2 warnings)"
    assert doctor.summary("n1", [unfit, unfit, trouble]) == "n1 is not fit to run sweeps; failed checks: c (1 warning)"


def test_a_record_that_cannot_be_written_is_the_users_mistake(tmp_path, capsys):
    command = ["--results", str(tmp_path), "--record", str(tmp_path / "none" / "x")]
    assert process.guarded(doctor.main, command) == 2
    assert f"--record {tmp_path}/none/x cannot be written" in capsys.readouterr().err
    (tmp_path / "folder").mkdir()
    assert process.guarded(doctor.main, ["--results", str(tmp_path), "--record", str(tmp_path / "folder")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_command_as_it_is_run(tmp_path):
    command = [PYTHON, "-m", "ser_ray.doctor", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert "Ray 2.60." in lines["ray"]
    assert "PyTorch 2.11." in lines["pytorch"]
    assert list(tmp_path.iterdir()) == []
