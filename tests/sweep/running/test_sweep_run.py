"""Whole sweeps on a tiny corpus, run by the command that users run, with a real Ray."""

import json
import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from ser_ray import postprocess
from ser_ray.metrics import ccc_per_recording, ccc_pooled
from ser_ray.results import SweepFolder, read_planned, read_table
from ser_ray.training.checkpoint import load_checkpoint

SWEEP = """
name: tiny
corpus: {corpus}
trial:
  model: {{channels: [3, 4], hidden: 5, kernels: [4, 6], pools: [8, 8]}}
  training: {{epochs: {epochs}, sequence_s: 0.08, batch_size: 3}}
explore:
  - training.learning_rate: {rates}
    training.loss: {losses}
"""


def write_sweep(folder, corpus, *, epochs=3, rates="[1e-3, 1e-2, 1e6]", losses="[ccc, mse, mse]"):
    file = folder / "tiny.yaml"
    file.write_text(SWEEP.format(corpus=corpus.path, epochs=epochs, rates=rates, losses=losses))
    return file


def start(file, results, *options):
    command = [sys.executable, "-m", "ser_ray.sweep", str(file), "--results", str(results), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(file, results, *options):
    process = start(file, results, *options)
    out, _ = process.communicate(timeout=240)
    return process.returncode, out


@pytest.fixture(scope="module")
def swept(tiny_corpus, tmp_path_factory):
    """Two trials that finish and one that diverges."""
    folder = tmp_path_factory.mktemp("swept")
    file = write_sweep(folder, tiny_corpus)
    code, out = run(file, folder / "results", "--tensorboard")
    return file, folder / "results", code, out


def rows(results):
    return {row["learning_rate"]: row for row in read_table(SweepFolder(results / "tiny"), "trials").to_pylist()}


def test_a_diverging_trial_fails_alone_with_its_reason(swept):
    _, results, code, out = swept
    assert code == 1, out
    found = rows(results)
    assert [found[rate]["status"] for rate in (1e-3, 1e-2, 1e6)] == ["finished", "finished", "failed"]
    assert "the training diverged; a learning rate below 1e+06 may help" in found[1e6]["error"]
    assert "1 of 3 trials failed (--retry-failed runs them again)" in out
    assert found[1e6]["error"] in out
    log = SweepFolder(results / "tiny").log(found[1e6]["key"]).read_text()
    assert "TrainingDivergedError" in log


def test_every_table_is_there_and_nothing_half_made(swept):
    _, results, _, out = swept
    folder = SweepFolder(results / "tiny")
    finished = {row["key"] for row in rows(results).values() if row["status"] == "finished"}
    for table in ("predictions", "postprocessing"):
        assert folder.keys(table) == finished
    assert folder.keys("epochs") >= finished
    assert not folder.tmp.exists()
    names = {p.name for p in folder.path.iterdir()} - {"provenance"}  # which is there if the code has changes
    tables = {"trials", "epochs", "postprocessing", "predictions"}
    assert names == {"sweep.yaml", "plan.json", "sweep.log", "checkpoints", "logs", "drivers", "tensorboard"} | tables
    assert {path.parent.name for path in folder.path.glob("tensorboard/*/events.*")} >= finished
    for key in finished:
        assert {p.name for p in folder.checkpoints(key).iterdir()} == {"last.pt", "previous.pt", "best.pt"}
    assert f"results: {folder.path}" in out


def test_the_row_says_what_was_run(swept, tiny_corpus):
    row = rows(swept[1])[1e-3]
    assert (row["kernels"], row["pools"], row["channels"], row["hidden"]) == ([4, 6], [8, 8], [3, 4], 5)
    assert (row["sweep"], row["corpus"], row["corpus_fingerprint"]) == ("tiny", "tiny", tiny_corpus.fingerprint)
    assert (row["epochs"], row["max_epochs"], row["seed"], row["optimizer"]) == (3, 3, 0, "rmsprop")
    assert row["device"].startswith("cpu") or torch.cuda.is_available()
    assert row["started_at"] < row["ended_at"]
    assert json.loads(row["versions"])["torch"] == torch.__version__.split("+")[0]
    assert json.loads(row["config"])["training"]["learning_rate"] == 1e-3
    assert row["train_seconds"] > 0 < row["samples_per_second"]
    epochs = read_table(SweepFolder(swept[1] / "tiny"), "epochs", keys=[row["key"]]).to_pylist()
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    best = epochs[row["best_epoch"] - 1]
    assert best["ccc_devel_mean"] == max(e["ccc_devel_mean"] for e in epochs)
    assert best["ccc_devel_mean"] == pytest.approx(row["ccc_devel_mean"], abs=1e-6)


@pytest.mark.parametrize("target", ["arousal", "valence"])
@pytest.mark.parametrize("partition", ["devel", "test"])
def test_every_score_follows_from_the_stored_predictions(swept, partition, target):
    row = rows(swept[1])[1e-3]
    folder = SweepFolder(swept[1] / "tiny")
    table = pd.read_parquet(folder.part("predictions", row["key"]))
    chains = read_table(folder, "postprocessing", keys=[row["key"]]).to_pylist()
    here = [g for _, g in table[table.partition == partition].groupby("recording", sort=False)]
    gold = [g[f"gold_{target}"].to_numpy() for g in here]
    raw = [g[f"prediction_{target}"].to_numpy() for g in here]
    assert row[f"ccc_{partition}_{target}"] == pytest.approx(ccc_pooled(raw, gold), abs=1e-12)
    assert row[f"ccc_{partition}_{target}_per_recording"] == pytest.approx(ccc_per_recording(raw, gold), abs=1e-12)
    for method in ("greedy", "exhaustive"):
        (stored,) = [c for c in chains if (c["target"], c["method"]) == (target, method)]
        fields = postprocess.PostProcessing.__dataclass_fields__
        chain = postprocess.PostProcessing(**{name: stored[name] for name in fields})
        processed = postprocess.apply(chain, raw)
        assert row[f"ccc_{partition}_{method}_{target}"] == pytest.approx(ccc_pooled(processed, gold), abs=1e-12)
        if partition == "devel":
            steps = sum(stored[f"gain_{step}"] for step in ("median", "centre", "scale", "shift"))
            assert stored["ccc_devel_raw"] + steps == pytest.approx(stored["ccc_devel"], abs=1e-9)


def test_gold_and_frames_of_the_predictions_are_the_corpuss(swept, tiny_corpus):
    row = rows(swept[1])[1e-3]
    table = pd.read_parquet(SweepFolder(swept[1] / "tiny").part("predictions", row["key"]))
    for recording in (*tiny_corpus.recordings("devel"), *tiny_corpus.recordings("test")):
        own = table[table.recording == recording.name]
        _, gold = tiny_corpus.crop(recording, 0, recording.frames)
        np.testing.assert_array_equal(own[["gold_arousal", "gold_valence"]], gold)
        np.testing.assert_allclose(own.time_s, np.arange(recording.frames) / tiny_corpus.label_rate)
        assert set(own.partition) == {recording.partition}


def test_one_line_reads_it_in_pandas_polars_and_duckdb(swept):
    trials = swept[1] / "tiny" / "trials"
    assert len(pd.read_parquet(trials)) == 3
    assert len(pl.read_parquet(f"{trials}/*.parquet")) == 3
    assert len(duckdb.sql(f"from '{trials}/*.parquet'").fetchall()) == 3


def test_run_again_does_nothing_twice(swept):
    file, results, _, _ = swept
    tmp = SweepFolder(results / "tiny").tmp
    tmp.mkdir()
    (tmp / "of_a_killed_run").mkdir()
    before = {p: p.stat().st_mtime_ns for p in (results / "tiny").rglob("*.p*t*")}
    code, out = run(file, results)
    assert code == 1
    assert "3 of 3 trials have already ended" in out
    assert "starting Ray" not in out
    assert not tmp.exists()
    assert {p: p.stat().st_mtime_ns for p in (results / "tiny").rglob("*.p*t*")} == before


def test_a_trained_trial_is_searched_and_not_trained_again(swept):
    file, results, _, _ = swept
    folder, row = SweepFolder(results / "tiny"), rows(results)[1e-3]
    trained = folder.part("predictions", row["key"]).stat().st_mtime_ns
    folder.part("trials", row["key"]).unlink()
    folder.part("postprocessing", row["key"]).unlink()
    code, out = run(file, results, "--retry-failed", "--set", "explore=[]", "--set", "training.learning_rate=1e-3")
    assert code == 0, out
    assert "start " not in out
    again = rows(results)[1e-3]
    assert folder.part("predictions", row["key"]).stat().st_mtime_ns == trained
    unequal = {c for c in row if row[c] != again[c]}
    assert unequal <= {"search_seconds", "ended_at"}


def test_another_sweep_takes_over_what_is_finished_and_trains_nothing_again(swept, tiny_corpus, tmp_path):
    _, results, _, _ = swept
    file = write_sweep(tmp_path, tiny_corpus, rates="[1e-3, 1e-2]", losses="[ccc, mse]")
    options = ("--set", "name=other", "--reuse", str(results / "tiny"))
    _, listed = run(file, tmp_path, *options, "--dry-run")
    assert listed.count(" reuse") == 2
    code, out = run(file, tmp_path, *options)
    assert code == 0, out
    assert f"2 trials reused from {results / 'tiny'}" in out
    assert "starting Ray" not in out
    taken = {row["key"]: row for row in read_table(SweepFolder(tmp_path / "other"), "trials").to_pylist()}
    for row in rows(results).values():
        if row["status"] == "finished":
            mine = taken[row["key"]]
            assert (mine["sweep"], mine["reused_from"]) == ("other", str(results / "tiny"))
            scores = [column for column in row if column.startswith("ccc_")]
            assert {c: mine[c] for c in scores} == {c: row[c] for c in scores}
    code, out = run(file, tmp_path, "--reuse", str(tmp_path))
    assert code == 2
    assert "is not a sweep's folder" in out


@pytest.mark.slow
def test_more_epochs_go_on_from_the_checkpoint_and_equal_a_whole_run(swept, tiny_corpus, tmp_path):
    _, results, _, _ = swept
    longer = write_sweep(tmp_path, tiny_corpus, epochs=5, rates="[1e-3]", losses="[ccc]")
    code, out = run(longer, results)
    assert code == 0, out
    assert "continues from the checkpoint of" in out
    fresh_code, fresh_out = run(longer, tmp_path / "fresh")
    assert fresh_code == 0, fresh_out
    (fresh,) = rows(tmp_path / "fresh").values()
    key = fresh["key"]
    assert read_planned(SweepFolder(results / "tiny")) == {key}
    assert "trials of earlier plans are not shown: --all includes them" in out
    assert key in {row["key"] for row in read_table(SweepFolder(results / "tiny"), "trials").to_pylist()}
    one, other = (
        load_checkpoint(SweepFolder(r / "tiny").checkpoints(key) / "last.pt") for r in (results, tmp_path / "fresh")
    )
    assert len(one["epochs"]) == len(other["epochs"]) == 5
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])


@pytest.mark.slow
def test_a_schedule_stops_trials_and_keeps_their_rows(tiny_corpus, tmp_path):
    file = write_sweep(
        tmp_path, tiny_corpus, epochs=60, rates="[1e-2, 1e-2, 1e-9, 1e-9]", losses="[ccc, mse, ccc, mse]"
    )
    options = ["schedule.early_stopping=asha", "schedule.grace_epochs=2", "resources.backend=reference"]
    code, out = run(file, tmp_path, *(part for option in options for part in ("--set", option)))
    assert code == 0, out
    found = read_table(SweepFolder(tmp_path / "tiny"), "trials").to_pylist()
    stopped = [row for row in found if row["status"] == "stopped"]
    assert len(found) == 4
    assert stopped
    assert {row["backend"] for row in found if row["status"] == "finished"} == {"reference"}
    for row in stopped:
        assert row["epochs"] < 60
        assert row["ccc_devel_mean"] is not None
        assert row["ccc_test_mean"] is None
        assert row["error"] is None
    code, out = run(file, tmp_path, "--set", "schedule.early_stopping=asha", "--set", "schedule.grace_epochs=2")
    assert "4 of 4 trials have already ended" in out


def test_dry_run_lists_and_runs_nothing(tiny_corpus, tmp_path):
    file = write_sweep(tmp_path, tiny_corpus)
    code, out = run(file, tmp_path / "results", "--dry-run")
    assert code == 0
    assert out.count("to do") == 3 + 1
    assert "4-6" in out
    assert "8-8" in out
    assert "hours" in out
    assert not (tmp_path / "results" / "tiny").exists()
    assert "measuring a training step of 1 designs" in out
    _, again = run(file, tmp_path / "results", "--dry-run")
    assert "measuring" not in again, "measured steps are kept"
    assert again.splitlines()[-4:] == out.splitlines()[-4:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--corpus", "nowhere"], "nowhere"),
        (["--set", "training.epoch=3"], "epochs"),
        (["--set", "model.pools=[8, 7]"], "pools [8, 7] multiply to 56, but one frame of this corpus is 64 samples"),
        (["--set", "training.sequence_s=0.0805"], "whole frames"),
    ],
)
def test_mistakes_exit_2_without_a_traceback(tiny_corpus, tmp_path, options, message):
    code, out = run(write_sweep(tmp_path, tiny_corpus), tmp_path / "results", *options)
    assert code == 2
    assert message in out
    assert "Traceback" not in out
    assert out.startswith("error: ")


def test_results_that_cannot_be_written_are_said_before_anything_runs(tiny_corpus, tmp_path):
    (tmp_path / "results").write_text("a file where a folder should be")
    code, out = run(write_sweep(tmp_path, tiny_corpus), tmp_path / "results")
    assert code == 2
    assert "results cannot be written to" in out
    assert "--results DIR" in out
