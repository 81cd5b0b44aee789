"""`ser-ray submit` with a stand-in for sbatch: what it prints, what it hands in, and what it refuses."""

import json
import os
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from ser_ray.cli import guarded
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.results.drivers import Driver, write_driver
from ser_ray.slurm import submit
from ser_ray.slurm.sbatch import hand_in
from ser_ray.sweep import estimate
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import TrialConfig, keyed_config, trial_key

SWEEP = """
name: small
trial:
  model: {channels: [3, 4], kernels: [4, 6], pools: [8, 8], hidden: 5}
  training: {epochs: 3, batch_size: 3}
explore:
  - training.sequence_s: [0.04, 0.08]
replicates: 3
resources: {cpus: 2, gpus: 0.25}
"""
GUIDED = SWEEP.replace(
    "  - training.sequence_s: [0.04, 0.08]", "  - guided: {count: 4, training.learning_rate: [0.1, 0.01, 1e-3, 1e-4]}"
)
FRAMES = 3 * (142 + 83 / 3) + (83 + 68) / 3
"""Of the tiny corpus in a trial: three epochs over train and devel, then devel and test; evaluation counts a third."""
CPU, GPU = "cpu: A", "gpu A"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder as the working folder, whose name needs quotes."""
    folder = tmp_path / "my project #1"
    for file in ("slurm/launch.sh", "ser_ray/__init__.py", ".venv/bin/python", "sweeps/small.yaml"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    (folder / "sweeps" / "small.yaml").write_text(SWEEP)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SER_RAY_PYTHON", raising=False)
    monkeypatch.setattr(estimate, "_measure", lambda *_: pytest.fail("a step was measured on the login node"))
    return folder


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """Puts a stand-in first on PATH; returns what sets what it does, and what it was given."""
    folder, record = tmp_path / "bin", tmp_path / "sbatch.json"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def does(shell="echo Submitted batch job 4711"):
        note = f"import json, sys; json.dump(sys.argv[1:], open({str(record)!r}, 'w'))"
        script = f'#!/bin/bash\n{sys.executable} -c {shlex.quote(note)} "$@"\n{shell}\n'
        (folder / "sbatch").write_text(script)
        (folder / "sbatch").chmod(0o755)

    does()
    does.given = lambda: json.loads(record.read_text()) if record.exists() else None
    return does


@pytest.fixture
def run(project, sbatch, tiny_corpus, capsys):
    """Runs the command on the tiny corpus; returns its exit code and what it printed."""

    def call(*arguments, file="sweeps/small.yaml"):
        code = guarded(submit.main, [file, "--corpus", str(tiny_corpus.path), *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def planned(tiny_corpus):
    """Keys and configurations of the sweep, in the order of its plan."""
    model = ModelConfig(channels=(3, 4), kernels=(4, 6), pools=(8, 8), hidden=5)
    configs = [
        TrialConfig(model=model, training=TrainingConfig(epochs=3, batch_size=3, sequence_s=length, seed=seed))
        for seed in range(3)
        for length in (0.04, 0.08)
    ]
    return {trial_key(config, tiny_corpus.fingerprint): config for config in configs}


@pytest.fixture
def put(project, tiny_corpus):
    """Writes rows of trials into results/SWEEP."""

    def write(sweep, key, config, **columns):
        folder = SweepFolder(project / "results" / sweep)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.sweep_file.touch()
        row = {
            "key": key,
            "status": "finished",
            "precision": "float32",
            "batch_size": config.training.batch_size,
            "sequence_s": config.training.sequence_s,
            "config": json.dumps(keyed_config(config, tiny_corpus.fingerprint)),
            **columns,
        }
        write_part(folder, "trials", key, make_table("trials", [row]))

    return write


@pytest.fixture
def measured(put, planned):
    """Says in another sweep how many hours each trial of this one takes on a device."""

    def tell(hours, device=CPU, backend="fused", **columns):
        for number, config in enumerate(list(planned.values())[:2]):
            speed = FRAMES * 64 / (3600 * hours)
            row = {"device": device, "backend": backend, "samples_per_second": speed, **columns}
            put("other", f"{device[-1]}{backend}{columns.get('precision', '')}{number}", config, **row)

    return tell


def line_of(out):
    (line,) = [line for line in out.splitlines() if line.startswith("sbatch ")]
    return shlex.split(line)


def options_of(out):
    line = line_of(out)
    return line[1 : line.index("slurm/launch.sh")]


def test_where_nothing_was_measured_it_says_so_and_how_to_get_a_figure(run, sbatch, project, tiny_corpus):
    code, out, err = run()
    assert (code, err) == (0, "")
    passed = f"sweeps/small.yaml --corpus {tiny_corpus.path}"
    assert out.splitlines() == [
        "sweep small: 6 trials (2 configurations x 3 seeds) -> results/small",
        "corpus tiny: 3 train, 2 devel, 2 test recordings, arousal, valence at 250 Hz",
        "to do: 6 of 6 trials",
        "job: 1 node with 6 CPUs: 6 trials at once; no GPUs are asked for (--gpus-per-node N)",
        "wall time: not known, since no trial like these was measured on a CPU, here or in the sweeps beside it",
        "  for a figure submit the same with --quick first, whose trials are measured; or have a step measured:",
        f"  srun python -m ser_ray.sweep {passed} --dry-run",
        "limit: none in the line, so that the partition's own holds; --time T sets one",
        "",
        f"sbatch --cpus-per-task=6 slurm/launch.sh {passed}",
        "",
        "not submitted: the same command with --go submits it",
    ]
    assert sbatch.given() is None
    assert not (project / "results").exists(), "nothing is written"


@pytest.mark.parametrize(
    ("options", "wall", "limit", "cpus"),
    [
        # six trials of an hour, three minutes to start, half as much again in quarters of an hour
        ([], "1 h 03 min", "01:45:00", 6),
        (["--cpus-per-task", "4"], "2 h 03 min", "03:15:00", 4),
        (["--cpus-per-task", "1"], "6 h 03 min", "09:15:00", 1),
        (["--nodes", "2"], "1 h 03 min", "01:45:00", 3),
        (["--nodes", "4"], "1 h 03 min", "01:45:00", 2),
        (["--nodes", "2", "--cpus-per-task", "2"], "2 h 03 min", "03:15:00", 2),
        (["--array", "3"], "1 h 03 min", "01:45:00", 2),
        (["--array", "2", "--cpus-per-task", "2"], "2 h 03 min", "03:15:00", 2),
        (["--set", "replicates=40"], "5 h 03 min", "07:45:00", 16),  # 80 trials, 16 at once
        (["--set", "replicates=600"], "3 d 3 h", "1-00:00:00", 16),
    ],
    ids=str,
)
def test_the_wall_time_is_that_of_trials_side_by_side(run, measured, options, wall, limit, cpus):
    measured(1.0)
    code, out, _ = run(*options)
    assert code == 0
    assert f"\n  {wall}  on cpu: A, float32, fused (2 trials measured; " in out
    assert f"limit: {limit}, half as much again in whole quarters of an hour, a day at most\n" in out
    assert options_of(out)[0] == f"--time={limit}"
    assert f"--cpus-per-task={cpus}" in options_of(out)


def test_what_stands_is_neither_estimated_nor_given_cores(run, measured, put, planned):
    measured(1.0)
    for key in list(planned)[:4]:
        put("small", key, planned[key])
    out = run("--cpus-per-task", "1")[1]
    assert "to do: 2 of 6 trials\n" in out
    assert "  2 h 03 min  on cpu: A, float32, fused (2 trials measured; 2 h 00 min of one trial after the other)" in out
    assert "--cpus-per-task=2" in options_of(run()[1])


@pytest.mark.parametrize(
    ("options", "slots", "wall", "asked"),
    [
        # four trials share a GPU, each with two cores
        (["--gpus-per-node", "1"], 4, "2 h 03 min", ["--gpus-per-node=1", "--cpus-per-task=8"]),
        (["--gpus-per-node", "2"], 6, "1 h 03 min", ["--gpus-per-node=2", "--cpus-per-task=12"]),
        (["--gpus-per-node", "a100:1"], 4, "2 h 03 min", ["--gpus-per-node=a100:1", "--cpus-per-task=8"]),
        (["--sbatch=--gres=gpu:1"], 4, "2 h 03 min", ["--cpus-per-task=8", "--gres=gpu:1"]),
        (["--gpus-per-node", "1", "--nodes", "2"], 6, "1 h 03 min",
         ["--nodes=2", "--gpus-per-node=1", "--cpus-per-task=6"]),
        (["--gpus-per-node", "2", "--cpus-per-task", "4"], 2, "3 h 03 min", ["--gpus-per-node=2", "--cpus-per-task=4"]),
        (["--gpus-per-node", "2", "--cpus-per-task", "1"], 1, "6 h 03 min", ["--gpus-per-node=2", "--cpus-per-task=1"]),
        (["--gpus-per-node", "2", "--set", "resources.gpus=2"], 1, "6 h 03 min",
         ["--gpus-per-node=2", "--cpus-per-task=2"]),
    ],
    ids=str,
)  # fmt: skip
def test_gpus_are_asked_for_with_cores_for_the_trials_that_share_them(run, measured, options, slots, wall, asked):
    measured(7.0)
    measured(1.0, GPU, "reference")
    out = run(*options)[1]
    assert f": {slots} trials at once\n" in out
    assert f"\n  {wall}  on gpu A, float32, reference" in out
    assert "cpu: A" not in out
    assert options_of(out)[1:] == asked


def test_each_class_of_devices_has_its_time_and_the_slowest_sets_the_limit(run, measured):
    for hours, device in ((1.0, GPU), (3.0, "gpu B"), (2.0, "gpu C")):
        measured(hours, device, "reference")
    out = run("--gpus-per-node", "1")[1]
    told = [line.split(",")[0] for line in out.splitlines() if line.startswith("  ")]
    assert told == ["  2 h 03 min  on gpu A", "  6 h 03 min  on gpu B", "  4 h 03 min  on gpu C"]
    assert "--time=09:15:00" in options_of(out)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], ["float32, fused"]),
        (["--set", "resources.backend=reference"], ["float32, reference"]),
        (["--set", "trial.training.precision=bf16"], ["bf16, reference"]),
        (["--set", "trial.training.precision=tf32"], ["float32, fused"]),
        (["--set", "trial.model.pooling=average"], ["float32, fused", "float32, reference"]),
    ],
    ids=str,
)
def test_only_trials_of_this_precision_and_back_end_count(run, measured, options, told):
    measured(1.0)
    measured(1.0, backend="reference")
    measured(1.0, backend="reference", precision="bf16")
    out = run(*options)[1]
    times = [line.split(" (")[0] for line in out.splitlines() if line.startswith("  ")]
    assert times == [f"  1 h 03 min  on cpu: A, {one}" for one in told]


@pytest.mark.parametrize(("backend", "told"), [("auto", 2), ("fused", 1), ("reference", 1)])
def test_on_a_gpu_either_back_end_may_be_what_auto_takes(run, measured, backend, told):
    measured(1.0, GPU)
    measured(1.0, GPU, "reference")
    out = run("--gpus-per-node", "1", "--set", f"resources.backend={backend}")[1]
    assert out.count(" on gpu A, float32, ") == told
    assert told == 2 or f" on gpu A, float32, {backend} " in out


def test_a_figure_of_other_networks_is_called_rough(run, measured):
    measured(1.0)
    assert "rough" not in run("--set", "trial.model.hidden=5")[1]
    out = run("--set", "trial.model.hidden=6")[1]
    assert " of one trial after the other; rough, since their networks are others: --quick measures these)\n" in out


def test_a_limit_that_is_given_stands_as_it_is_and_a_short_one_is_no_loss(run, measured):
    measured(1.0)
    out = run("--time", "90")[1]
    assert "--time=90" in options_of(out)
    assert "limit:" not in out
    out = run("--time", "0-1")[1]
    assert "--time=0-1" in options_of(out)
    assert (
        "limit: 0-1 is less than the work may take; no loss: at the limit every trial saves, and the job goes back "
        "into the queue to go on from there\n"
    ) in out


def test_a_run_that_the_schedule_ends_needs_no_more_time(run, measured):
    measured(8.0)
    out = run("--set", "schedule.max_hours=4")[1]
    assert "schedule.max_hours is 4: the run ends before all is done; submit it again then\n" in out
    assert "--time=06:15:00" in options_of(out)


def test_an_array_shares_the_sweep(run, measured):
    measured(1.0)
    out = run("--array", "8")[1]
    assert options_of(out) == ["--time=01:45:00", "--cpus-per-task=1", "--array=0-7"]
    assert "job: 8 jobs, each on a node with 1 CPUs: 1 trials at once" in out
    assert "2 of 8 jobs will find nothing to train: fewer are enough\n" in out


def test_options_stand_in_the_line_as_they_were_given(run, project, tiny_corpus):
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


def test_with_go_exactly_the_line_is_handed_in_and_it_says_how_to_watch(run, sbatch):
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


def test_what_sbatch_refuses_is_said_with_its_words(run, sbatch):
    sbatch("echo 'sbatch: error: invalid partition specified: none' >&2; exit 1")
    code, out, err = run("--go", "--partition", "none")
    assert code == 2
    assert line_of(out)
    assert err == ("error: sbatch refused the job (exit code 1):\nsbatch: error: invalid partition specified: none\n")
    sbatch("echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation'; exit 1")
    assert run("--go")[2].endswith(
        "timed out on send/recv operation\nThe job may be there all the same: look (squeue --me) before submitting it "
        "again\n"
    )
    sbatch("exit 3")
    assert run("--go")[2] == "error: sbatch refused the job (exit code 3):\nit said nothing\n"


def test_without_sbatch_the_line_is_there_to_be_taken_elsewhere(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = run("--go")
    assert code == 2
    assert line_of(out)
    assert (
        err == "error: there is no sbatch here: run this command, or the line above, on a login node of the cluster\n"
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
        hand_in(["sbatch", "x"], within_s=1)
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


def test_nothing_to_do_is_said_without_a_line(run, put, planned, sbatch):
    for key, config in planned.items():
        put("small", key, config)
    code, out, _ = run("--go")
    assert code == 0
    assert out.endswith("\nall 6 trials stand already in results/small: nothing to submit\n")
    assert sbatch.given() is None


def test_failed_trials_are_run_again_when_asked(run, put, planned, measured):
    measured(1.0)
    for number, (key, config) in enumerate(planned.items()):
        put("small", key, config, status="failed" if number < 2 else "stopped")
    out = run()[1]
    assert out.endswith("nothing to submit (2 failed: --retry-failed runs them again)\n")
    out = run("--retry-failed")[1]
    assert "to do: 2 of 6 trials\n" in out
    assert "2 h 00 min of one trial after the other" in out
    assert line_of(out)[-1] == "--retry-failed"


def test_trials_that_are_only_searched_take_minutes(run, put, planned, project):
    for key, config in list(planned.items())[:5]:
        put("small", key, config)
    last = list(planned)[5]
    (project / "results/small/predictions").mkdir()
    (project / f"results/small/predictions/{last}.parquet").touch()
    out = run()[1]
    assert "to do: 1 of 6 trials\n" in out
    assert "wall time: minutes, since no trial is to be trained\n" in out
    assert options_of(out) == ["--time=00:15:00", "--cpus-per-task=1"]


def test_trials_that_another_sweep_gives_are_not_trained(run, put, planned, measured, project):
    measured(1.0)
    for key in list(planned)[:4]:
        put("donor", key, planned[key], device=CPU, backend="fused", samples_per_second=FRAMES * 64 / 3600)
        (project / "results/donor/predictions").mkdir(exist_ok=True)
        (project / f"results/donor/predictions/{key}.parquet").touch()
    out = run("--reuse", "results/donor")[1]
    assert "to do: 6 of 6 trials\n" in out
    assert "2 h 00 min of one trial after the other" in out
    assert "6 h 00 min of one trial after the other" in run()[1]


def test_a_quick_sweep_is_planned_as_it_will_run(run):
    out = run("--quick")[1]
    assert out.startswith("quick: training.epochs: 3 -> 2; ")
    assert "sweep small: 2 trials" in out
    assert line_of(out)[-1] == "--quick"


def test_a_guided_search_counts_what_is_still_proposed(run, project, measured):
    (project / "sweeps" / "small.yaml").write_text(GUIDED)
    measured(1.0)
    out = run()[1]
    assert "to do: 12 to be proposed\n" in out
    assert "wall time: not known, " in out
    assert options_of(out) == ["--cpus-per-task=12"]
    values = {"training.learning_rate": 0.1}
    proposal = {"number": 0, "values": values}
    (project / "results/small").mkdir()
    (project / "results/small/suggested.jsonl").write_text(json.dumps(proposal) + "\n")
    out = run("--cpus-per-task", "2")[1]
    assert "to do: 3 of 3 trials and 9 to be proposed\n" in out
    assert "12 h 00 min of one trial after the other" in out
    assert "  6 h 03 min  on cpu: A" in out


def test_a_sweep_that_runs_is_told_of(run, project):
    now = datetime.now(UTC)
    driver = Driver(
        host="n1", pid=7, job_id="4710", started_at=now, seen_at=now, ended=None, planned=6, standing=0,
        epochs_to_do=9, epochs_done=0, ends_at=None, share="1/1",
    )  # fmt: skip
    write_driver(SweepFolder(project / "results" / "small"), driver)
    code, out, _ = run()
    assert code == 0
    assert "\nrunning: job 4710 on n1 runs this sweep now; a job that starts beside it is refused, unless" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--time", "4h"], "--time is '4h', but must be minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"),
        (
            ["--time", "4:59"],
            "--time is '4:59', but a job saves minutes before its limit, so that it would train nothing",
        ),
        (["--nodes", "0"], "--nodes is '0', but must be a whole number from 1, such as --nodes 4"),
        (["--nodes", "2-4"], "--nodes is '2-4', but must be a whole number"),
        (["--array", "0-7"], "--array is '0-7', but must be a whole number from 1, such as --array 8 for eight jobs"),
        (["--cpus-per-task", "x"], "--cpus-per-task is 'x', but must be a whole number"),
        (["--gpus-per-node", "0"], "--gpus-per-node is '0', but must be a number from 1"),
        (["--gpus-per-node", "a100:"], "--gpus-per-node is 'a100:', but must be a number from 1"),
        (
            ["--array", "4", "--nodes", "2"],
            "--nodes is 2 beside --array 4, but each job of an array runs its share of the",
        ),
        (["--sbatch", "slow"], "--sbatch is 'slow', but must be an option of sbatch"),
        (["--sbatch=--"], "--sbatch is '--', but must be an option of sbatch"),
        (["--sbatch=--time=5"], "--sbatch is '--time=5', but this command says that itself: give it as --time"),
        (["--sbatch=-t5"], "--sbatch is '-t5', but this command says that itself: give it as --time"),
        (["--sbatch=-G4"], "--sbatch is '-G4', but this command says that itself: give it as --gpus-per-node"),
        (["--sbatch=--mem"], "give it as --mem"),
        (
            ["--gpus-per-node", "1", "--set", "resources.gpus=0"],
            "1 GPUs are asked for on each node, but resources.gpus is",
        ),
        (
            ["--gpus-per-node", "1", "--set", "resources.gpus=2"],
            "resources.gpus is 2, but a node is asked for 1: no trial",
        ),
        (["--corpus", "nowhere"], "nowhere"),
        (["--set", "replicates=0"], "replicates"),
        (["--reuse", "results/none"], "results/none"),
        (["--results", "slurm/launch.sh"], "slurm/launch.sh is no folder that you may write to; choose another"),
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
    assert err.startswith("error: --array is 2, but the trials of a guided search are proposed by one process")


def test_the_sweep_file_stands_first(project, capsys):
    assert guarded(submit.main, ["--time", "60", "--quick", "sweeps/small.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: FILE.yaml must stand before --quick, as after slurm/launch.sh")


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
    assert err.startswith(f"error: {project} has no .venv, whose Python a job runs: make env makes it; or set ")
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
    assert f"results cannot be written to results/small: {project} is no folder that you may write to" in err


def test_the_help_says_where_the_other_options_are(capsys):
    with pytest.raises(SystemExit):
        submit.main(["--help"])
    out = capsys.readouterr().out
    assert "usage: ser-ray submit FILE.yaml" in out
    assert "ser-ray sweep --help" in " ".join(out.split())
