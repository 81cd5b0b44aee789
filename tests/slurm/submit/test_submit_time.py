"""The time that `ser-ray submit` asks for: from what was measured, for trials side by side."""

import pytest
from submit_cases import GPU, options_of


def test_without_measurements_the_output_names_how_to_get_them(run, sbatch, project, tiny_corpus):
    code, out, err = run()
    assert (code, err) == (0, "")
    passed = f"sweeps/small.yaml --corpus {tiny_corpus.path}"
    assert out.splitlines() == [
        "sweep small: 6 trials (2 configurations x 3 seeds) -> results/small",
        "corpus tiny: 3 train, 2 devel, 2 test recordings, arousal, valence at 250 Hz",
        "to do: 6 of 6 trials",
        "job: 1 node with 6 CPUs: 6 trials in parallel; no GPUs requested (--gpus-per-node N)",
        "wall time: unknown, since no such trial was measured on a CPU, in this sweep or those beside it",
        "  for an estimate, submit the same with --quick first, or measure a training step:",
        f"  srun python -m ser_ray.sweep {passed} --dry-run",
        "limit: that of the partition; --time T sets another",
        "",
        f"sbatch --cpus-per-task=6 slurm/launch.sh {passed}",
        "",
        "not submitted: add --go to submit it",
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
    assert f"limit: {limit}, 1.5 times the estimate in whole quarters of an hour, at most a day\n" in out
    assert options_of(out)[0] == f"--time={limit}"
    assert f"--cpus-per-task={cpus}" in options_of(out)


def test_finished_trials_are_neither_estimated_nor_given_cores(run, measured, put, planned):
    measured(1.0)
    for key in list(planned)[:4]:
        put("small", key, planned[key])
    out = run("--cpus-per-task", "1")[1]
    assert "to do: 2 of 6 trials\n" in out
    assert "  2 h 03 min  on cpu: A, float32, fused (2 trials measured; 2 h 00 min for one trial after another)" in out
    assert "--cpus-per-task=2" in options_of(run()[1])


@pytest.mark.parametrize(
    ("options", "slots", "wall", "asked"),
    [
        # an hour on a whole GPU; four trials share one, each with two cores
        (["--gpus-per-node", "1"], 4, "8 h 03 min", ["--gpus-per-node=1", "--cpus-per-task=8"]),
        (["--gpus-per-node", "2"], 6, "3 h 03 min", ["--gpus-per-node=2", "--cpus-per-task=12"]),
        (["--gpus-per-node", "a100:1"], 4, "8 h 03 min", ["--gpus-per-node=a100:1", "--cpus-per-task=8"]),
        (["--sbatch=--gres=gpu:1"], 4, "8 h 03 min", ["--cpus-per-task=8", "--gres=gpu:1"]),
        (["--gpus-per-node", "1", "--nodes", "2"], 6, "3 h 03 min",
         ["--nodes=2", "--gpus-per-node=1", "--cpus-per-task=6"]),
        (["--gpus-per-node", "2", "--cpus-per-task", "4"], 2, "3 h 03 min", ["--gpus-per-node=2", "--cpus-per-task=4"]),
        (["--gpus-per-node", "2", "--cpus-per-task", "1"], 1, "6 h 03 min", ["--gpus-per-node=2", "--cpus-per-task=1"]),
        (["--gpus-per-node", "2", "--set", "resources.gpus=2"], 1, "6 h 03 min",
         ["--gpus-per-node=2", "--cpus-per-task=2"]),
    ],
    ids=str,
)  # fmt: skip
def test_gpus_are_requested_with_cores_for_the_trials_that_share_them(run, measured, options, slots, wall, asked):
    measured(7.0)
    measured(1.0, GPU, "reference")
    out = run(*options)[1]
    assert f": {slots} {'trial' if slots == 1 else 'trials'} in parallel\n" in out
    assert f"\n  {wall}  on gpu A, float32, reference" in out
    assert "cpu: A" not in out
    assert options_of(out)[1:] == asked


@pytest.mark.parametrize(
    ("measured_at", "options", "wall"),
    [
        (0.25, ["--gpus-per-node", "1"], "2 h 03 min"),  # four beside each other, then two
        (0.25, ["--gpus-per-node", "2", "--cpus-per-task", "4"], "3 h 03 min"),  # alone: quicker, perhaps
        (0.5, ["--gpus-per-node", "1"], "4 h 03 min"),
        (1.0, ["--gpus-per-node", "1", "--set", "resources.gpus=1"], "6 h 03 min"),
        (1.0, ["--gpus-per-node", "1", "--array", "6"], "1 h 03 min"),  # one trial in each job
        (1.0, ["--gpus-per-node", "1", "--array", "2"], "3 h 03 min"),
    ],
    ids=str,
)
def test_trials_take_the_longer_the_less_of_a_gpu_they_have(run, measured, measured_at, options, wall):
    measured(1.0, GPU, "reference", gpus=measured_at)
    out = run(*options)[1]
    assert f"\n  {wall}  on gpu A, float32, reference (2 trials measured; " in out
    assert "(2 trials measured; 6 h 00 min for one trial after another, each on a GPU of its own)" in out


def test_each_class_of_devices_has_its_time_and_the_slowest_sets_the_limit(run, measured):
    for hours, device in ((1.0, GPU), (3.0, "gpu B"), (2.0, "gpu C")):
        measured(hours, device, "reference", gpus=0.25)
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
        (["--set", "trial.model.pooling=average"], ["float32, reference"]),
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
    assert " for one trial after another; rough, since other networks were measured: --quick measures these)\n" in out


def test_a_given_limit_is_kept_and_a_short_one_is_no_loss(run, measured):
    measured(1.0)
    out = run("--time", "90")[1]
    assert "--time=90" in options_of(out)
    assert "limit:" not in out
    out = run("--time", "0-1")[1]
    assert "--time=0-1" in options_of(out)
    assert (
        "limit: 0-1 is less than the work may take; nothing is lost: at the limit every trial saves a checkpoint, and "
        "the job is requeued to continue\n"
    ) in out


def test_a_run_that_the_schedule_ends_needs_no_more_time(run, measured):
    measured(8.0)
    out = run("--set", "schedule.max_hours=4")[1]
    assert "schedule.max_hours is 4: the run will end before all trials are done; then submit it again\n" in out
    assert "--time=06:15:00" in options_of(out)


def test_an_array_shares_the_sweep(run, measured):
    measured(1.0)
    out = run("--array", "8")[1]
    assert options_of(out) == ["--time=01:45:00", "--cpus-per-task=1", "--array=0-7"]
    assert "job: 8 jobs, each on a node with 1 CPU: 1 trial in parallel" in out
    assert "2 of 8 jobs would have nothing to train: submit fewer\n" in out
