"""A trial trained again by the one command that its row tells, and compared."""

import dataclasses
import shlex
import signal
import subprocess
import sys

import pytest
from plans import make_plan
from reproduce_cases import program, put_row, run, train, wrong

from ser_ray.errors import InputError
from ser_ray.reproduce import command as reproduce
from ser_ray.results import SweepFolder, make_table, read_table, write_part
from ser_ray.sweep.spec.config import load_sweep
from ser_ray.trial import write_unfinished


@pytest.mark.slow
def test_the_whole_command_trains_the_same_numbers(folder, make_trial, capfd):
    trial = make_trial(learning_rate=1e-5)  # JSON writes it as 1e-05
    train(trial)
    code = run(folder, trial.key[:4])
    out = capfd.readouterr().out
    assert code == 0, out
    assert out.splitlines()[-1] == "bit-identical"
    assert any(line.split()[:1] == ["ccc_test_exhaustive_mean"] for line in out.splitlines())
    again = SweepFolder(folder.path / "reproduce" / f"reproduce-{trial.key}")
    assert again.keys("trials") == {trial.key}
    (first,), (second,) = (read_table(f, "trials").to_pylist() for f in (folder, again))
    assert {k for k in first if k.startswith("ccc") and first[k] != second[k]} == set()
    assert first["config"] == second["config"]
    assert f"# trial {trial.key} of sweep tiny, finished at " in out
    assert "# versions: as here\n" in out


def test_printing_runs_nothing_and_can_be_run_by_a_shell(folder, make_trial, without_ray, capsys, tiny_corpus):
    trial = make_trial()
    train(trial)
    assert run(folder, trial.key, "--print") == 0
    assert without_ray.commands == []
    out = folder.path / "reproduce"
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert [shlex.split(line) for line in lines] == [[
        "python", "-m", "ser_ray.sweep", str(out / f"reproduce-{trial.key}.yaml"),
        "--corpus", str(tiny_corpus.path), "--results", str(out),
    ]]  # fmt: skip
    assert [path.name for path in out.iterdir()] == [f"reproduce-{trial.key}.yaml"]


def test_the_sweep_file_plans_this_trial_alone_with_every_field(folder, make_trial, without_ray, tmp_path):
    odd = {"patience": 2, "weight_decay": 1e-7, "segments": "random", "limit_s": 0.1, "limit_recordings": 2}
    trial = make_trial(("exhaustive",), label_shift_s=0.004, optimizer="adamw", momentum=0.0, **odd)
    train(trial)
    out = tmp_path / "elsewhere"
    again = reproduce.prepare(folder, trial.key, None, out)
    again.write()
    sweep = load_sweep(out / f"reproduce-{trial.key}.yaml")
    (planned,) = make_plan(sweep, again.corpus).trials
    assert (planned.key, planned.config) == (trial.key, trial.config)
    assert (sweep.explore, sweep.replicates, sweep.name) == ((), 1, f"reproduce-{trial.key}")
    fields = dataclasses.asdict(trial.config)
    assert {section: set(values) for section, values in sweep.trial.items()} == {s: set(v) for s, v in fields.items()}
    assert sweep.resources.backend == read_table(folder, "trials").to_pylist()[0]["backend"]
    assert sweep.resources.gpus == 0


UNKNOWN = {"gpus": None, "cpus": None, "backend": None}


@pytest.mark.parametrize(
    ("columns", "resources", "expected"),
    [
        ({"device": "gpu", "gpus": 0.5, "cpus": 4.0}, "", (4, 0.5, "fused")),
        ({"device": "gpu", "gpus": None, "cpus": None}, "", (1, 0.25, "fused")),
        ({"device": "gpu", **UNKNOWN}, "{gpus: 1, backend: reference}", (1, 1, "reference")),
        ({"device": "cpu: x", "gpus": None, "cpus": None}, "{gpus: 1}", (1, 0, "fused")),
        ({"device": None, "gpus": 0.0, "cpus": 1.0, "backend": None}, "", (1, 0, "auto")),
    ],
)  # fmt: skip
def test_a_trial_gets_what_it_had(folder, make_trial, tmp_path, columns, resources, expected):
    trial = make_trial()
    train(trial)
    put_row(folder, trial.key, **columns)
    if resources:
        folder.sweep_file.write_text(folder.sweep_file.read_text() + f"resources: {resources}\n")
    again = reproduce.prepare(folder, trial.key, None, tmp_path)
    again.write()
    found = load_sweep(tmp_path / f"reproduce-{trial.key}.yaml").resources
    assert (found.cpus, found.gpus, found.backend) == expected


def test_a_stopped_trial_is_trained_as_far_as_it_came(folder, make_trial, without_ray, capsys):
    trial = make_trial(epochs=50)
    train(trial, stop_after=2)
    assert run(folder, trial.key) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "bit-identical"
    assert "stopped at " in out
    again = SweepFolder(folder.path / "reproduce" / f"reproduce-{trial.key}")
    (row,) = read_table(again, "trials").to_pylist()
    assert (row["max_epochs"], row["epochs"]) == (2, 2)
    (row,) = read_table(folder, "epochs", keys=[trial.key]).to_pylist()[1:]
    write_part(folder, "epochs", trial.key, make_table("epochs", [row]))
    assert run(folder, trial.key) == 1


def test_another_result_is_reported_and_exits_1(folder, make_trial, without_ray, here, capsys):
    here("abc")
    trial = make_trial()
    train(trial)
    (row,) = read_table(folder, "trials").to_pylist()
    put_row(folder, trial.key, ccc_devel_mean=row["ccc_devel_mean"] + 5e-4)
    assert run(folder, trial.key) == 1
    assert "CCC differ by at most 0.0005" in capsys.readouterr().out
    put_row(folder, trial.key, device="cpu: another", ccc_devel_mean=row["ccc_devel_mean"] + 5e-4)
    assert run(folder, trial.key) == 0
    assert "it was already trained again at " in capsys.readouterr().out
    assert run(folder, trial.key, "--tolerance", "1e-4") == 1


def test_a_training_that_fails_or_is_interrupted_is_no_agreement(folder, make_trial, monkeypatch, tmp_path, capsys):
    trial = make_trial()
    train(trial)
    ends = {"exit 75": 75, "exit 2": 2, "kill -9 $$": -9, "exit 0": 75}
    for does, code in ends.items():
        monkeypatch.setattr(sys, "executable", program(tmp_path, f"#!/bin/sh\n{does}\n"))
        assert run(folder, trial.key) == code
    again = SweepFolder(folder.path / "reproduce" / f"reproduce-{trial.key}")
    write_unfinished(dataclasses.replace(trial, folder=again), "failed", "no memory")
    monkeypatch.setattr(sys, "executable", program(tmp_path, "#!/bin/sh\nexit 1\n"))
    assert run(folder, trial.key) == 1
    assert "the repeated training failed: no memory; log: " in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named(folder, make_trial, tmp_path):
    trial = make_trial()
    train(trial)
    (tmp_path / "file").write_text("in the way")
    assert "choose another folder with --out DIR" in wrong(folder, trial.key, "--out", str(tmp_path / "file"))
    with pytest.raises(InputError, match="is not a sweep's folder"):
        reproduce.main([str(tmp_path), trial.key])


@pytest.fixture
def reproduced(folder, make_trial, tmp_path):
    """Returns the command in a process of its own, whose sweep is a program that prints 1 and then waits."""

    def begin(prepared=""):
        trial = make_trial()
        train(trial)
        sweep = f"#!{sys.executable}\nimport signal, sys, time\n{prepared}\nprint(1, flush=True)\ntime.sleep(60)\n"
        code = f"import sys; sys.executable = {program(tmp_path, sweep)!r}; from ser_ray import cli; cli.start()"
        command = [sys.executable, "-c", code, "reproduce", str(folder.path), trial.key]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert "1\n" in process.stdout
        return process

    begun = []
    yield begin
    for process in begun:
        process.kill()
        process.stdout.close()
        process.wait()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_signals_reach_the_sweep(reproduced, name):
    """A scheduler asks this process to end; the sweep under it saves and says 75."""
    process = reproduced(f"signal.signal(signal.{name}, lambda *_: (print('saved', flush=True), sys.exit(75)))")
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=30) == 75
    assert process.stdout.read() == "saved\n"


def test_a_signal_that_the_sweep_could_not_take_yet_is_an_interruption(reproduced):
    process = reproduced()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 75
