"""From the command line to a planned sweep: what its trials share, and what planning writes."""

import argparse
import os

import pyarrow.parquet as pq
import pytest

from ser_ray.errors import InputError
from ser_ray.results import SweepFolder, make_table
from ser_ray.sweep.planning.listing import describe_plan
from ser_ray.sweep.planning.prepare import add_options, keep_changes, prepare, read_config
from ser_ray.trial import trial_key

SWEEP = """
name: tiny
corpus: {corpus}
trial:
  model: {{channels: [3, 4], hidden: 5, kernels: [4, 6], pools: [8, 8]}}
  training: {{epochs: 3, sequence_s: 0.08, batch_size: 3}}
explore:
  - training.learning_rate: [1e-3, 2e-3]
"""


@pytest.fixture
def asked(tmp_path, tiny_corpus):
    """Returns what the options of a sweep file in another folder than the results' are."""
    (tmp_path / "tiny.yaml").write_text(SWEEP.format(corpus=tiny_corpus.path))

    def parse(*arguments):
        parser = argparse.ArgumentParser()
        add_options(parser)
        return parser.parse_args([str(tmp_path / "tiny.yaml"), "--results", str(tmp_path / "results"), *arguments])

    return parse


def test_trials_have_the_plans_keys_and_all_else_in_common(asked, tiny_corpus, tmp_path):
    options = asked()
    sweep = prepare(options, read_config(options)[0], keep=False)
    assert [trial.key for trial in sweep.trials] == [
        trial_key(trial.config, tiny_corpus.fingerprint) for trial in sweep.trials
    ]
    assert [trial.config.training.learning_rate for trial in sweep.trials] == [1e-3, 2e-3]
    assert {trial.folder.path for trial in sweep.trials} == {sweep.folder.path} == {tmp_path / "results" / "tiny"}
    assert {trial.corpus.fingerprint for trial in sweep.trials} == {tiny_corpus.fingerprint}
    assert describe_plan(sweep, sweep.folder.path).startswith("sweep tiny: 2 trials")


def test_paths_are_absolute_since_trials_run_elsewhere(asked, tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = asked("--results", "here", "--corpus", os.path.relpath(tiny_corpus.path))
    sweep = prepare(options, read_config(options)[0], keep=False)
    assert sweep.folder.path == tmp_path / "here" / "tiny"
    assert all(trial.corpus.path.is_absolute() for trial in sweep.trials)


def test_planning_writes_nothing_and_running_keeps_the_changes_of_the_code(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("ser_ray.provenance.git_changes", lambda: "a patch")
    options = asked()
    assert prepare(options, read_config(options)[0], keep=False).trials[0].git_diff is None
    assert not (tmp_path / "results").exists()
    kept = prepare(options, read_config(options)[0], keep=True).trials[0].git_diff
    assert (tmp_path / "results" / "tiny" / "provenance" / f"{kept}.diff").read_text() == "a patch"


def test_changes_are_kept_once_and_whole(tmp_path, monkeypatch):
    folder = SweepFolder(tmp_path / "sweep")
    monkeypatch.setattr("ser_ray.provenance.git_changes", lambda: "patch \udce9 1")
    name = keep_changes(folder)
    kept = folder.path / "provenance" / f"{name}.diff"
    assert kept.read_bytes() == b"patch \xe9 1"
    written = kept.stat().st_mtime_ns
    assert keep_changes(folder) == name
    assert kept.stat().st_mtime_ns == written
    monkeypatch.setattr("ser_ray.provenance.git_changes", lambda: None)
    assert keep_changes(folder) is None
    assert list(kept.parent.iterdir()) == [kept]


def test_changes_that_cannot_be_kept_are_results_that_cannot_be_written(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("ser_ray.provenance.git_changes", lambda: "a patch")
    (tmp_path / "results" / "tiny").mkdir(parents=True)
    (tmp_path / "results" / "tiny" / "provenance").write_text("in the way")
    options = asked()
    with pytest.raises(InputError, match=r"results cannot be written to .*tiny: .*--results DIR"):
        prepare(options, read_config(options)[0], keep=True)


def test_a_shrunk_sweep_says_what_was_shrunk(asked):
    assert read_config(asked())[1] is None
    config, said = read_config(asked("--quick", "--set", "replicates=9"))
    assert said.startswith("quick: ")
    assert config.replicates < 9


def test_rows_that_are_kept_of_a_sweep_are_not_taken_for_results_of_this_one(asked, tmp_path):
    folder = tmp_path / "results" / "tiny"
    folder.mkdir(parents=True)
    pq.write_table(make_table("trials", [{"key": "k", "status": "finished"}]), folder / "trials.parquet")
    options = asked()
    with pytest.raises(
        InputError,
        match=r"tiny contains the stored rows of a sweep that ran elsewhere; .*--results "
        "DIR",
    ):
        prepare(options, read_config(options)[0], keep=False)
