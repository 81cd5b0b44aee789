"""What `ser-ray submit` counts as still to be done."""

import json
from datetime import UTC, datetime

from submit_cases import CPU, FRAMES, GUIDED, line_of, options_of

from ser_ray.results import SweepFolder
from ser_ray.results.drivers import DriverStatus, write_driver


def test_with_nothing_to_do_no_line_is_printed(run, put, planned, sbatch):
    for key, config in planned.items():
        put("small", key, config)
    code, out, _ = run("--go")
    assert code == 0
    assert out.endswith("\nall 6 trials have already ended in results/small: nothing to submit\n")
    assert sbatch.given() is None


def test_failed_trials_are_run_again_on_request(run, put, planned, measured):
    measured(1.0)
    for number, (key, config) in enumerate(planned.items()):
        put("small", key, config, status="failed" if number < 2 else "stopped")
    out = run()[1]
    assert out.endswith("nothing to submit (2 failed: --retry-failed runs them again)\n")
    out = run("--retry-failed")[1]
    assert "to do: 2 of 6 trials\n" in out
    assert "2 h 00 min for one trial after another" in out
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
    assert "2 h 00 min for one trial after another" in out
    assert "6 h 00 min for one trial after another" in run()[1]


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
    assert "wall time: unknown, " in out
    assert options_of(out) == ["--cpus-per-task=12"]
    values = {"training.learning_rate": 0.1}
    proposal = {"number": 0, "values": values}
    (project / "results/small").mkdir()
    (project / "results/small/suggested.jsonl").write_text(json.dumps(proposal) + "\n")
    out = run("--cpus-per-task", "2")[1]
    assert "to do: 3 of 3 trials and 9 to be proposed\n" in out
    assert "12 h 00 min for one trial after another" in out
    assert "  6 h 03 min  on cpu: A" in out


def test_a_running_sweep_is_reported(run, project):
    now = datetime.now(UTC)
    driver = DriverStatus(
        host="n1", pid=7, job_id="4710", started_at=now, seen_at=now, ended=None, planned=6, standing=0,
        epochs_to_do=9, epochs_done=0, ends_at=None, share="1/1",
    )  # fmt: skip
    write_driver(SweepFolder(project / "results" / "small"), driver)
    code, out, _ = run()
    assert code == 0
    assert "\nrunning: job 4710 on n1 is running this sweep; a second job is refused while it runs, unless" in out
