"""A trial trained again by the one command that its row tells, and compared."""

import dataclasses
import itertools
import json
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from plans import make_plan

from ser_ray import cli, provenance
from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.errors import InputError
from ser_ray.postprocess.config import SearchConfig
from ser_ray.reproduce import command as reproduce
from ser_ray.results import SweepFolder, make_table, open_sweep, read_table, write_part
from ser_ray.sweep.planning import changes
from ser_ray.sweep.planning.changes import changes_file, changes_name, keep_changes
from ser_ray.sweep.spec.config import load_sweep
from ser_ray.trial import Trial, search_trial, train_trial, trial_key, write_unfinished

CPU = torch.device("cpu")


class StoppedError(Exception):
    """Stands for the schedule, which ends a trial after some epoch."""


def train(trial, *, stop_after=None, backend="auto"):
    def on_epoch(report):
        if report.epoch == stop_after:
            raise StoppedError

    try:
        train_trial(trial, CPU, on_epoch, backend=backend)
    except StoppedError:
        write_unfinished(trial, "stopped", None)
    else:
        search_trial(trial.folder, trial.key)


@pytest.fixture
def folder(tmp_path, tiny_corpus):
    folder = SweepFolder(tmp_path / "results" / "tiny sweep")
    folder.path.mkdir(parents=True)
    folder.sweep_file.write_text(f"# command: x\n# corpus: tiny in {tiny_corpus.path}\nname: tiny\ncorpus: elsewhere\n")
    return folder


@pytest.fixture
def make_trial(folder, tiny_corpus, tiny_config):
    """Make a trial of the sweep."""

    def make(methods=("greedy", "exhaustive"), **training):
        config = dataclasses.replace(tiny_config(**training), search=SearchConfig(methods=methods))
        return Trial(
            key=trial_key(config, tiny_corpus.fingerprint),
            config=config,
            corpus=tiny_corpus,
            sweep="tiny",
            folder=folder,
            git_commit=provenance.git_commit(),
            git_diff=changes_name(provenance.git_changes()),
        )

    return make


@pytest.fixture
def without_ray(monkeypatch):
    """The command run in this process; `change` may alter the sweep's trial. Collects the commands."""
    commands = []

    def run(command, change=lambda trial: trial):
        commands.append(command)
        *_, file, option, corpus, other, out = command
        assert (command[:3], option, other) == (["python", "-m", "ser_ray.sweep"], "--corpus", "--results")
        config, opened = load_sweep(file, corpus=corpus), open_corpus(corpus)
        (planned,) = make_plan(config, opened).trials
        again = SweepFolder(reproduce.Path(out) / config.name)
        if planned.key in again.keys("trials"):
            return 0
        commit, diff = provenance.git_commit(), changes_name(provenance.git_changes())
        trial = Trial(
            key=planned.key, config=planned.config, corpus=opened, sweep=config.name, folder=again,
            git_commit=commit, git_diff=diff,
        )  # fmt: skip
        train(change(trial), backend=config.resources.backend)
        return 0

    monkeypatch.setattr(reproduce, "_run", run)
    run.commands = commands
    return run


@pytest.fixture
def here(monkeypatch):
    """The state of the code as git would tell it."""

    def set_to(commit, patch=None):
        monkeypatch.setattr(provenance, "git_commit", lambda: commit)
        monkeypatch.setattr(provenance, "git_changes", lambda: patch)

    return set_to


def run(folder, key, *options):
    return cli.main(["reproduce", str(folder.path), key, *options])


def put_row(folder, key, **columns):
    """Change a row that stands."""
    (row,) = read_table(folder, "trials", keys=[key]).to_pylist()
    write_part(folder, "trials", key, make_table("trials", [{**row, **columns}]))


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


def test_a_training_that_fails_or_is_interrupted_is_no_agreement(folder, make_trial, monkeypatch, capsys):
    trial = make_trial()
    train(trial)
    for code, expected in ((75, 75), (2, 2), (-9, -9), (0, 75)):
        monkeypatch.setattr(reproduce, "_run", lambda command, code=code: code)
        assert run(folder, trial.key) == expected
    again = SweepFolder(folder.path / "reproduce" / f"reproduce-{trial.key}")
    failed = dataclasses.replace(trial, folder=again)

    def fail(command):
        write_unfinished(failed, "failed", "no memory")
        return 1

    monkeypatch.setattr(reproduce, "_run", fail)
    assert run(folder, trial.key) == 1
    assert "trained again it failed: no memory; log: " in capsys.readouterr().out


def wrong(folder, key, *options):
    with pytest.raises(InputError) as raised:
        reproduce.main([str(folder.path), key, *options])
    return str(raised.value)


def test_keys_that_name_no_trial_are_refused(folder, make_trial, without_ray):
    assert "has no row of a trial 'abc'; it has no trials yet" in wrong(folder, "abc")
    for seed in range(20):  # sixteen beginnings: two trials share one
        put = make_trial(seed=seed)
        write_part(
            folder, "trials", put.key, make_table("trials", [{"key": put.key, "status": "failed", "error": "why"}])
        )
    known = sorted(folder.keys("trials"))
    shared = next(a[0] for a, b in itertools.pairwise(known) if a[0] == b[0])
    assert f"{shared!r} begins the keys of " in wrong(folder, shared)
    assert "has no row of a trial 'xyz'; trials there are: " in wrong(folder, "xyz")
    assert "has no row of a trial ''" in wrong(folder, "")
    assert f"trial {known[0]} failed (why)" in wrong(folder, known[0])
    assert run(folder, known[0]) == 2
    assert without_ray.commands == []


def test_a_trial_that_this_version_would_train_otherwise_is_refused(folder, make_trial, monkeypatch):
    trial = make_trial()
    train(trial)
    (row,) = read_table(folder, "trials").to_pylist()
    config = json.loads(row["config"])
    put_row(folder, trial.key, config=json.dumps({**config, "trial_version": 1}), git_commit="c0ffee")
    said = wrong(folder, trial.key)
    assert "trained with TRIAL_VERSION 1, but here it is" in said
    assert "check out the commit that trained it (c0ffee)" in said
    for training in (
        {**config["training"], "warmup": 3},
        {k: v for k, v in config["training"].items() if k != "decay"},
    ):
        put_row(folder, trial.key, config=json.dumps({**config, "training": training}))
        assert "with other settings (training: " in wrong(folder, trial.key)
    put_row(folder, trial.key, config=json.dumps({**config, "training": {**config["training"], "seed": 9}}))
    assert "holds a configuration of another key" in wrong(folder, trial.key)


def test_another_corpus_is_refused_by_name(folder, make_trial, tiny_corpus, tmp_path, without_ray):
    trial = make_trial()
    train(trial)
    with CorpusWriter(tmp_path / "other", name="other", label_rate=250.0, targets=tiny_corpus.targets) as writer:
        for recording in (*tiny_corpus.recordings("train"), *tiny_corpus.recordings("devel")):
            audio, gold = tiny_corpus.audio(recording), tiny_corpus.gold(recording)
            writer.add(recording.name, recording.partition, recording.speaker, audio, gold)
    other = open_corpus(tmp_path / "other")
    said = wrong(folder, trial.key, "--corpus", str(other.path))
    assert other.fingerprint in said
    assert tiny_corpus.fingerprint in said
    assert "--corpus DIR" in said
    moved = tmp_path / "moved"
    shutil.copytree(tiny_corpus.path, moved)
    assert run(folder, trial.key, "--corpus", str(moved)) == 0
    folder.sweep_file.write_text("# corpus: tiny in /no/such folder in here\nname: tiny\ncorpus: x\n")
    assert "in /no/such folder in here, which is not there; name the corpus with" in wrong(folder, trial.key)
    folder.sweep_file.write_text("name: tiny\n")
    assert "no corpus is named" in wrong(folder, trial.key)


def test_a_built_in_corpus_is_made_again_where_it_is_gone(folder, tmp_path, monkeypatch):
    from ser_ray.corpus.synthetic import generate as synthetic

    asked = []
    monkeypatch.setattr(synthetic, "built_in", lambda name, place: asked.append((name, place)) or tmp_path / "none")
    write_part(folder, "trials", "a", make_table("trials", [{"key": "a", "status": "finished"}]))
    folder.sweep_file.write_text("# corpus: synthetic-demo in /gone\nname: tiny\ncorpus: synthetic-demo\n")
    with pytest.raises(InputError, match="does not exist: no corpus"):
        reproduce._corpus(folder, {"key": "a"}, None, tmp_path / "out")
    assert asked == [("synthetic-demo", tmp_path / "out" / ".corpora")]


def test_a_folder_that_cannot_be_written_is_named(folder, make_trial, tmp_path):
    trial = make_trial()
    train(trial)
    (tmp_path / "file").write_text("in the way")
    assert "choose another folder with --out DIR" in wrong(folder, trial.key, "--out", str(tmp_path / "file"))
    with pytest.raises(InputError, match="is not a sweep's folder"):
        reproduce.main([str(tmp_path), trial.key])


def test_the_state_of_the_code_is_printed_and_how_to_check_it_out(folder, make_trial, here):
    trial = make_trial()
    train(trial)
    kept = changes_file(folder, changes_name("the patch"))

    def said(commit, diff=None):
        put_row(folder, trial.key, git_commit=commit, git_diff=diff)
        again = reproduce.prepare(folder, trial.key, None, folder.path)
        return [line for line in reproduce.conditions(folder, again) if "commit" in line]

    here("abc")
    assert said("abc") == ["commit: abc, as here"]
    assert said("def") == ["commit: def; here: abc; git checkout def"]
    assert said(None) == ["commit: not known; here: abc; git checkout not known"]
    assert said("abc+") == ["commit: abc, as here", "uncommitted changes: some, which were not recorded"]
    name = changes_name("the patch")
    assert said("abc+", name)[1] == f"uncommitted changes: git apply {kept}, which no longer exists"
    kept.parent.mkdir()
    kept.write_text("the patch")
    assert said("def+", name) == [
        "commit: def; here: abc; git checkout def",
        f"uncommitted changes: git apply {shlex.quote(str(kept))}",
    ]
    here("abc+", "the patch")
    assert said("abc+", name) == ["commit: abc, as here", "uncommitted changes: as here"]
    assert said("abc")[1] == "uncommitted changes: none, but here there are some; git stash"


def test_other_versions_and_devices_are_printed(folder, make_trial):
    trial = make_trial()
    train(trial)
    put_row(folder, trial.key, versions=json.dumps({"numpy": "0.1"}), device="cpu: an old one")
    lines = reproduce.conditions(folder, reproduce.prepare(folder, trial.key, None, folder.path))
    assert f"versions: numpy 0.1 (here {json.loads(provenance.versions())['numpy']})" in lines
    assert f"device: cpu: an old one; here: cpu: {provenance.cpu_name()}" in lines
    put_row(folder, trial.key, device=f"cpu: {provenance.cpu_name()}")
    lines = reproduce.conditions(folder, reproduce.prepare(folder, trial.key, None, folder.path))
    assert f"device: cpu: {provenance.cpu_name()}, as here" in lines


def test_changes_are_kept_once_and_whole(folder, here, monkeypatch):
    here("abc+", "patch \udce9 1")
    name = keep_changes(folder)
    assert changes_file(folder, name) == folder.path / "provenance" / f"{name}.diff"
    assert changes_file(folder, name).read_bytes() == b"patch \xe9 1"
    monkeypatch.setattr(changes, "whole_file", lambda *_, **__: pytest.fail("kept already"))
    assert keep_changes(folder) == name
    here("abc")
    assert keep_changes(folder) is None
    assert len(list((folder.path / "provenance").iterdir())) == 1
    assert open_sweep(folder.path) == folder


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_signals_reach_the_sweep(tmp_path, name):
    """A scheduler asks this process to end; the sweep under it saves and says 75."""
    script = tmp_path / "parent.py"
    handler = f"signal.signal(signal.{name}, lambda *a: sys.exit(75))"
    child = f"import signal, sys, time; {handler}; print(1, flush=True); time.sleep(60)"
    script.write_text(
        f"import sys\nfrom ser_ray.reproduce import command\nsys.exit(command._run(['python', '-c', {child!r}]))"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        process.send_signal(getattr(reproduce.signal, name))
        assert process.wait(timeout=30) == 75


def test_a_signal_that_the_sweep_could_not_take_yet_is_an_interruption(tmp_path):
    script = tmp_path / "parent.py"
    child = "import time; print(1, flush=True); time.sleep(60)"
    script.write_text(
        f"import sys\nfrom ser_ray.reproduce import command\nsys.exit(command._run(['python', '-c', {child!r}]))"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        process.send_signal(reproduce.signal.SIGTERM)
        assert process.wait(timeout=30) == 75
