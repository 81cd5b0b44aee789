"""The line that `ser-ray submit` prints, and what becomes of it when sbatch is given it."""

import argparse
import dataclasses
import subprocess
import time

import pytest
from submit_cases import line_of

from ser_ray.errors import InputError
from ser_ray.slurm.request import Request, add_options, read_request
from ser_ray.slurm.sbatch import submit_job

OPTIONS = {  # field of Request -> what the user gives, and what sbatch is given
    "time": ("--time=1:00:00", "--time=1:00:00"),
    "nodes": ("--nodes=2", "--nodes=2"),
    "gpus_per_node": ("--gpus-per-node=a100:4", "--gpus-per-node=a100:4"),
    "cpus_per_task": ("--cpus-per-task=8", "--cpus-per-task=8"),
    "mem": ("--mem=8G", "--mem=8G"),
    "partition": ("--partition=gpu,long", "--partition=gpu,long"),
    "account": ("--account=we", "--account=we"),
    "jobs": ("--array=4", "--array=0-3"),
    "more": ("--sbatch=--constraint=a100", "--constraint=a100"),
}


@pytest.mark.parametrize("field", dataclasses.fields(Request), ids=lambda field: field.name)
def test_every_field_of_a_request_reaches_sbatch_and_is_given_only_once(field):
    given, option = OPTIONS[field.name]
    parser = argparse.ArgumentParser()
    add_options(parser)
    request = read_request(parser.parse_args([given]))
    assert getattr(request, field.name) != field.default
    assert request.options == [option]
    if field.name != "more":
        with pytest.raises(InputError, match="but this command sets that option itself: use --"):
            read_request(parser.parse_args([f"--sbatch={option}"]))


def test_the_line_has_the_options_as_they_were_given(run, project, tiny_corpus):
    (project / "a b").mkdir()
    (project / "sweeps" / "small.yaml").rename(project / "a b" / "x #1.yaml")
    out = run(
        *(
            "--mem",
            "8G",
            "--set",
            "trial.training.epochs=2",
            "--partition",
            "gpu,long",
            "--account",
            "we",
            "--tensorboard",
        ),
        *(
            "--sbatch=--constraint=a100|h100",
            "--sbatch=--mail-type=END",
            "--results",
            "my results",
            "--time",
            "1:00:00",
        ),
        file="a b/x #1.yaml",
    )[1]
    assert line_of(out) == [
        *("sbatch", "--time=1:00:00", "--cpus-per-task=6", "--mem=8G", "--partition=gpu,long", "--account=we"),
        *("--constraint=a100|h100", "--mail-type=END", "slurm/launch.sh", "a b/x #1.yaml"),
        *("--corpus", str(tiny_corpus.path), "--set", "trial.training.epochs=2", "--tensorboard"),
        *("--results", "my results"),
    ]
    assert "'a b/x #1.yaml'" in out


def test_with_go_exactly_the_line_is_submitted_and_the_output_names_how_to_watch(run, sbatch):
    code, out, err = run("--results", "my results", "--go", "--sbatch=--constraint=a100")
    assert (code, err) == (0, "")
    assert sbatch.given() == line_of(out)[1:]
    assert out.endswith(
        "\n\nSubmitted batch job 4711\nto watch it:\n  squeue -j 4711\n  ser-ray status 'my results/small'\n"
        "  tail -f ser_ray-4711.log\n"
    )


def test_the_line_can_be_pasted_into_a_shell(run, sbatch):
    out = run("--results", "it's #1 $HOME `ls`", "--sbatch=--comment=a b")[1]
    (line,) = [line for line in out.splitlines() if line.startswith("sbatch ")]
    subprocess.run(["bash", "-c", line], check=True, capture_output=True)
    assert sbatch.given() == line_of(out)[1:]
    assert sbatch.given()[-1] == "it's #1 $HOME `ls`"
    assert "--comment=a b" in sbatch.given()


@pytest.mark.parametrize(
    ("options", "last"),
    [
        (["--array", "2"], "  tail ser_ray-*.log      (one for each job)"),
        (["--array", "1"], "  tail -f ser_ray-4711.log"),
        (["--sbatch=--exclusive"], "  tail -f ser_ray-4711.log"),
        (["--sbatch=--job-name=x"], "  ser-ray status results/small"),
        (["--sbatch=-ox.log"], "  ser-ray status results/small"),
    ],
    ids=str,
)
def test_the_log_is_named_as_it_will_be(run, options, last):
    assert run("--go", *options)[1].splitlines()[-1] == last


def test_an_answer_without_a_number_is_shown_as_it_is(run, sbatch):
    sbatch("echo 'Job 17 would start at noon' >&2")
    out = run("--go")[1]
    assert out.endswith("\nJob 17 would start at noon\nto watch it:\n  squeue --me\n  ser-ray status results/small\n")
    sbatch("echo 'site: hello'; echo 'Submitted batch job 12 on cluster x'")
    assert "  squeue -j 12\n" in run("--go")[1]


def test_a_refusal_of_sbatch_is_printed_with_its_output(run, sbatch):
    sbatch("echo 'sbatch: error: invalid partition specified: none' >&2; exit 1")
    code, out, err = run("--go", "--partition", "none")
    assert code == 2
    assert line_of(out)
    assert err == ("error: sbatch refused the job (exit code 1):\nsbatch: error: invalid partition specified: none\n")
    sbatch("echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation'; exit 1")
    assert run("--go")[2].endswith(
        "timed out on send/recv operation\nThe job may have been submitted: look (squeue --me) before submitting it "
        "again\n"
    )
    sbatch("exit 3")
    assert run("--go")[2] == "error: sbatch refused the job (exit code 3):\nwithout a message\n"


def test_without_sbatch_the_line_is_there_to_be_taken_elsewhere(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = run("--go")
    assert code == 2
    assert line_of(out)
    assert (
        err
        == "error: sbatch is not installed here: run this command, or the line above, on a login node of the cluster\n"
    )


def test_an_sbatch_that_is_broken_is_named(run, tmp_path):
    (tmp_path / "bin" / "sbatch").write_text("#!/no/such/shell\n")
    assert run("--go")[2] == f"error: {tmp_path}/bin/sbatch cannot be run: No such file or directory\n"


def test_an_sbatch_that_hangs_is_left_with_all_that_it_started(sbatch, tmp_path):
    sbatch(f"sleep 300 & echo $! > {tmp_path}/child; wait")
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"^sbatch did not answer within 1 s: is the controller down \(scontrol ping\)"
    ):
        submit_job(["sbatch", "x"], timeout_s=1)
    assert time.monotonic() - began < 60, "it does not wait for what holds the pipe"
    child = (tmp_path / "child").read_text().strip()
    deadline = time.monotonic() + 20
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
