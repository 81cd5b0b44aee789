"""What `ser-ray submit` refuses before anything waits in a queue."""

import os

import pytest
from submit_cases import GUIDED

from ser_ray.process import guarded
from ser_ray.slurm import submit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--time", "4h"], "--time is '4h', but must be minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"),
        (
            ["--time", "4:59"],
            "--time is '4:59', but a job saves its trials minutes before the limit, so it would train nothing",
        ),
        (["--nodes", "0"], "--nodes is '0', but must be a whole number from 1, such as --nodes 4"),
        (["--nodes", "2-4"], "--nodes is '2-4', but must be a whole number"),
        (["--array", "0-7"], "--array is '0-7', but must be a whole number from 1, such as --array 8 for eight jobs"),
        (["--cpus-per-task", "x"], "--cpus-per-task is 'x', but must be a whole number"),
        (["--gpus-per-node", "0"], "--gpus-per-node is '0', but must be a whole number from 1"),
        (["--gpus-per-node", "a100:"], "--gpus-per-node is 'a100:', but must be a whole number from 1"),
        (
            ["--array", "4", "--nodes", "2"],
            "--nodes is 2 and --array is 4, but each job of an array runs its share of the",
        ),
        (["--sbatch", "slow"], "--sbatch is 'slow', but must be an option of sbatch"),
        (["--sbatch=--"], "--sbatch is '--', but must be an option of sbatch"),
        (["--sbatch=--time=5"], "--sbatch is '--time=5', but this command sets that option itself: use --time"),
        (["--sbatch=-t5"], "--sbatch is '-t5', but this command sets that option itself: use --time"),
        (["--sbatch=-G4"], "--sbatch is '-G4', but this command sets that option itself: use --gpus-per-node"),
        (["--sbatch=--mem"], "but this command sets that option itself: use --mem"),
        (
            ["--gpus-per-node", "1", "--set", "resources.gpus=0"],
            "1 GPU requested on each node, but resources.gpus is",
        ),
        (
            ["--gpus-per-node", "1", "--set", "resources.gpus=2"],
            "resources.gpus is 2, but 1 per node are requested: no trial",
        ),
        (["--corpus", "nowhere"], "nowhere"),
        (["--set", "replicates=0"], "replicates"),
        (["--reuse", "results/none"], "results/none"),
        (["--results", "slurm/launch.sh"], "slurm/launch.sh; choose another folder with --results"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_before_anything_waits_in_a_queue(run, sbatch, options, message):
    code, out, err = run("--go", *options)
    assert code == 2
    assert message in err
    assert "sbatch " not in out
    assert sbatch.given() is None


@pytest.mark.parametrize("option", ["--dry-run", "--share=1/8", "--meeting=here"])
def test_what_a_job_gives_the_sweep_itself_or_runs_nothing_is_no_option(run, sbatch, option, capsys):
    with pytest.raises(SystemExit) as exited:
        run("--go", option)
    assert exited.value.code == 2
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err
    assert sbatch.given() is None


def test_a_guided_search_is_no_array(run, project):
    (project / "sweeps" / "small.yaml").write_text(GUIDED)
    code, _, err = run("--array", "2")
    assert code == 2
    assert err.startswith("error: --array is 2, but a guided search proposes its trials in one process")


def test_the_sweep_file_comes_first(project, capsys):
    assert guarded(submit.main, ["--time", "60", "--quick", "sweeps/small.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: FILE.yaml must come before --quick: ser-ray submit FILE.yaml")


@pytest.mark.parametrize("options", [["--tiem", "60"], ["more.yaml"], []])
def test_options_that_nobody_has_are_refused(project, capsys, options):
    file = ["sweeps/small.yaml"] if options else []
    with pytest.raises(SystemExit) as ended:
        submit.main([*file, *options])
    assert ended.value.code == 2
    assert "ser-ray submit: error: " in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["slurm/launch.sh", "ser_ray/__init__.py"])
def test_another_folder_than_the_projects_is_refused(run, project, missing):
    (project / missing).unlink()
    code, _, err = run()
    assert code == 2
    assert err.startswith(
        f"error: {project} is not the project's folder: a job starts where it was submitted and runs "
    )
    assert "change to the project's folder first (" in err


def test_a_job_needs_a_python(run, project, monkeypatch):
    (project / ".venv/bin/python").unlink()
    code, _, err = run()
    assert code == 2
    assert err.startswith(f"error: {project} has no .venv, whose Python a job runs: create it by make env, or set ")
    (project / "slurm/launch.sh").write_text("# SER_RAY_PYTHON=(x)\n[[ -n x ]] || SER_RAY_PYTHON=(y)\n")
    assert run()[0] == 2
    (project / "slurm/site.env").write_text("module load x\nSER_RAY_PYTHON=(apptainer exec x.sif python)\n")
    assert run()[0] == 0
    (project / "slurm/site.env").unlink()
    monkeypatch.setenv("SER_RAY_PYTHON", "/opt/python")
    assert run()[0] == 0


def test_results_that_cannot_be_written_are_refused(run, project, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(project))
    code, _, err = run()
    assert code == 2
    assert f"results cannot be written to results/small: you have no permission to write to {project}" in err


def test_the_help_names_where_the_other_options_are(capsys):
    with pytest.raises(SystemExit):
        submit.main(["--help"])
    out = capsys.readouterr().out
    assert "usage: ser-ray submit FILE.yaml" in out
    assert "ser-ray sweep --help" in " ".join(out.split())
