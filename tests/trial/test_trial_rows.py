"""What a trial leaves in the tables: the columns of its configuration, its epochs and its predictions."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from ser_ray.corpus import Recording
from ser_ray.models import ModelConfig
from ser_ray.results import PREDICTIONS, SCHEMAS, make_table, read_table, write_part
from ser_ray.training.evaluate import Scores
from ser_ray.training.loop import TrainingResult
from ser_ray.training.numerics import effective_precision
from ser_ray.training.state import EpochReport
from ser_ray.trial import TrialConfig, keyed_config, write_unfinished
from ser_ray.trial.place import NOWHERE, Place, place_here
from ser_ray.trial.rows import configured_columns, epoch_row, prediction_rows, trained_columns

ENDED = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def report(epoch, mean, *, best, seconds=(8.0, 2.0)):
    scores = {"arousal": mean + 0.1, "valence": mean - 0.1, "mean": mean}
    return EpochReport(
        epoch=epoch,
        train_loss=1 - mean,
        devel=Scores(scores, {target: value / 2 for target, value in scores.items()}),
        best=best,
        train_seconds=seconds[0],
        evaluate_seconds=seconds[1],
        ended_at=ENDED + timedelta(seconds=10 * epoch),
    )


REPORTS = (report(1, 0.2, best=True), report(2, 0.5, best=True), report(3, 0.4, best=False))

TRAINED = TrainingResult(model=None, epochs=REPORTS, best_epoch=2, shift_frames=(5, 7), backend="fused")
CPU = torch.device("cpu")


def write_epochs(trial, reports=REPORTS):
    rows = [epoch_row(trial.key, 0.0, one) for one in reports]
    write_part(trial.folder, "epochs", trial.key, make_table("epochs", rows))


def the_row(trial):
    (row,) = read_table(trial.folder, "trials", keys=[trial.key]).to_pylist()
    return row


def test_the_configuration_is_in_the_row(make_trial, tiny_config, tiny_corpus):
    trial = make_trial(
        tiny_config(
            label_shift_s=0.02, loss="mse", optimizer="adamw", weight_decay=0.02, segments="random", deterministic=False
        )
    )
    columns = configured_columns(trial)
    assert set(columns) <= set(SCHEMAS["trials"].names)
    for section in (trial.config.model, trial.config.training):
        for field, value in dataclasses.asdict(section).items():
            if field in columns:
                assert columns[field] == (list(value) if isinstance(value, tuple) else value), field
    said = {
        "key": trial.key,
        "sweep": "tiny",
        "git_commit": "abc+",
        "corpus": "tiny",
        "corpus_fingerprint": tiny_corpus.fingerprint,
        "max_epochs": 3,
        "kernels": [4, 6],
        "pools": [8, 8],
        "channels": [3, 4],
        "sequence_s": 0.08,
        "label_shift_s": 0.02,
        "loss": "mse",
        "optimizer": "adamw",
        "weight_decay": 0.02,
        "segments": "random",
        "deterministic": False,
    }
    assert {name: columns[name] for name in said} == said
    assert columns["overlap_ratios"] == [pytest.approx(3 / 11), pytest.approx(5 / 13)]
    # the first pool sees 8 + 3 samples; the second 8 + 5 of its outputs, which are 8 samples apart
    assert columns["receptive_field_ms"] == pytest.approx((11 + 12 * 8) / 16)
    config = json.loads(columns["config"])
    assert config == json.loads(json.dumps(keyed_config(trial.config, tiny_corpus.fingerprint)))
    assert "search" not in config
    assert columns["design"] == "4/8 6/8"
    assert columns["overlap_ratio"] == pytest.approx((3 / 11 + 5 / 13) / 2)


def test_seeds_of_a_configuration_have_one_name_and_other_configurations_another(make_trial, tiny_config):
    trials = [make_trial(tiny_config(**fields)) for fields in ({}, {"seed": 5}, {"label_shift_s": 0.02})]
    table = pa.Table.from_pylist([configured_columns(trial) for trial in trials]).to_pandas()
    assert table["key"].nunique() == 3
    # text columns group where lists cannot (pandas cannot hash them)
    assert table.groupby(["configuration", "design"])["seed"].apply(sorted).tolist() in ([[1, 5], [1]], [[1], [1, 5]])


def test_the_networks_size_is_in_the_row(make_trial):
    columns = configured_columns(make_trial(TrialConfig()))
    assert columns["parameters"] == 1_299_906
    assert columns["model"] == "conv_lstm"
    assert columns["pooling"] == "max"


def test_what_another_network_does_not_have_is_null(make_trial):
    model = ModelConfig(
        front_end="filterbank", channels=(8,), kernels=(3,), pools=(4,), dropouts=(0.1, 0.2), temporal="tcn"
    )
    columns = configured_columns(make_trial(TrialConfig(model=model)))
    assert (columns["model"], columns["design"]) == ("filterbank_tcn", "25/10ms 3/4")
    assert (columns["dropout"], columns["lstm_layers"]) == (None, None)
    assert columns["overlap_ratios"] == [pytest.approx(0.6), pytest.approx(1 / 3)]
    assert make_table("trials", [columns]).num_rows == 1


def test_the_training_is_in_the_row(make_trial, tiny_config, tiny_corpus):
    trial = make_trial(tiny_config())
    columns = trained_columns(trial, TRAINED, CPU, place_here(CPU))
    assert set(columns) <= set(SCHEMAS["trials"].names)
    assert (columns["epochs"], columns["best_epoch"]) == (3, 2)
    assert (columns["delay_arousal_s"], columns["delay_valence_s"]) == (0.02, 0.028)
    assert columns["train_seconds"] == 30.0
    samples = sum(recording.samples for recording in tiny_corpus.recordings("train"))
    assert columns["samples_per_second"] == pytest.approx(3 * samples / 24)
    assert columns["started_at"] == ENDED
    assert columns["device"].startswith("cpu: ")
    assert columns["peak_memory_bytes"] > 2**20
    assert (columns["precision"], columns["backend"]) == ("float32", "fused")


@pytest.mark.parametrize(
    ("asked", "in_effect"),
    [("float32", "float32"), ("tf32", "float32"), ("bf16", effective_precision("bf16", CPU)), ("float64", "float64")],
)
def test_the_precision_in_effect_and_the_one_asked_for_are_both_kept(make_trial, tiny_config, asked, in_effect):
    trial = make_trial(tiny_config(precision=asked))
    assert trained_columns(trial, TRAINED, CPU, place_here(CPU))["precision"] == in_effect
    assert json.loads(configured_columns(trial)["config"])["training"]["precision"] == asked


def test_random_segments_count_with_their_own_length(make_trial, tiny_config, tiny_corpus):
    trial = make_trial(tiny_config(segments="random"))  # 20 frames: 3, 3 and 2 whole ones of 60, 45 and 37 frames
    columns = trained_columns(trial, TRAINED, CPU, place_here(CPU))
    assert columns["samples_per_second"] == pytest.approx(3 * 8 * 20 * tiny_corpus.hop / 24)


def test_limits_count_only_what_was_trained_on(make_trial, tiny_config, tiny_corpus):
    trial = make_trial(tiny_config(limit_recordings=2, limit_s=0.1))
    columns = trained_columns(trial, TRAINED, CPU, place_here(CPU))
    assert columns["samples_per_second"] == pytest.approx(3 * 2 * 25 * tiny_corpus.hop / 24)


def test_an_epoch_is_a_row():
    table = make_table("epochs", [epoch_row("k", 0.25, REPORTS[1])])
    (row,) = table.to_pylist()
    assert None not in row.values()
    expected = {
        "key": "k",
        "epoch": 2,
        "train_loss": 0.5,
        "ccc_devel_arousal": 0.6,
        "ccc_devel_valence": 0.4,
        "ccc_devel_mean": 0.5,
        "ccc_devel_mean_per_recording": 0.25,
        "best": True,
        "train_seconds": 8.0,
        "evaluate_seconds": 2.0,
        "gpus": 0.25,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["ended_at"] == (ENDED + timedelta(seconds=20)).replace(tzinfo=None)


def recording(frames):
    return Recording(
        name="test_1", partition="test", speaker="S1", samples=640 * frames, frames=frames, mean=0.0, std=1.0,
        labelled=True, shard="0", batch=0, extra={},
    )  # fmt: skip


def test_predictions_are_rows_of_their_recording():
    prediction, gold = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]), np.array([[1, 2], [np.nan, 4], [5, np.nan]])
    table = prediction_rows(recording(3), ("arousal", "valence"), 25.0, prediction, gold.astype(np.float32))
    assert table.schema == PREDICTIONS
    assert table["recording"].to_pylist() == ["test_1"] * 3
    assert table["partition"].to_pylist() == ["test"] * 3
    assert table["frame"].to_pylist() == [0, 1, 2]
    assert table["time_s"].to_pylist() == [0.0, 0.04, 0.08]
    np.testing.assert_array_equal(table["prediction_arousal"], prediction[:, 0].astype(np.float32))
    np.testing.assert_array_equal(table["prediction_valence"], prediction[:, 1].astype(np.float32))
    assert table["gold_arousal"].to_pylist() == [1, None, 5]
    assert table["gold_valence"].to_pylist() == [2, 4, None]


@pytest.mark.parametrize(("targets", "column"), [(("valence", "arousal"), 1), (("arousal",), 0)], ids=str)
def test_targets_go_to_their_own_columns(targets, column):
    values = np.arange(2.0 * len(targets)).reshape(2, len(targets))
    table = prediction_rows(recording(2), targets, 25.0, values, -values)
    assert table["prediction_arousal"].to_pylist() == values[:, column].tolist()
    assert table["gold_arousal"].to_pylist() == (-values[:, column]).tolist()
    if len(targets) == 1:
        assert table["prediction_valence"].null_count == table["gold_valence"].null_count == 2
    else:
        assert table["prediction_valence"].to_pylist() == values[:, 0].tolist()


def test_a_stopped_trial_has_the_figures_of_its_best_epoch(make_trial, tiny_config):
    trial = make_trial(tiny_config(epochs=50))
    write_epochs(trial)
    write_unfinished(trial, "stopped", None)
    row = the_row(trial)
    assert (row["status"], row["error"]) == ("stopped", None)
    assert (row["epochs"], row["best_epoch"], row["max_epochs"]) == (3, 2, 50)
    assert row["train_seconds"] == 30.0
    assert (row["ccc_devel_mean"], row["ccc_devel_arousal"], row["ccc_devel_valence"]) == (0.5, 0.6, 0.4)
    assert row["ccc_devel_mean_per_recording"] == 0.25
    others = [name for name in row if name.startswith("ccc_test") or "greedy" in name or "exhaustive" in name]
    assert {row[name] for name in others} == {None}
    assert row["search_seconds"] is None
    assert row["kernels"] == [4, 6]
    assert Place.of_row(row) == NOWHERE  # nobody told where it ran
    assert abs(row["ended_at"].replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_trial_that_failed_before_its_first_epoch_has_its_reason_alone(make_trial, tiny_config):
    trial = make_trial(tiny_config())
    place = Place(host="n7", device="H100", cpus=8.0, gpus=0.5, gpu_driver="580.65.06")
    write_unfinished(trial, "failed", "the mse loss is nan in epoch 1, batch 2", place)
    row = the_row(trial)
    assert Place.of_row(row) == place
    assert (row["status"], row["error"]) == ("failed", "the mse loss is nan in epoch 1, batch 2")
    assert (row["epochs"], row["best_epoch"], row["train_seconds"]) == (0, None, None)
    assert {row[name] for name in row if name.startswith("ccc_")} == {None}


def test_epochs_of_other_trials_are_not_taken(make_trial, tiny_config):
    trial, other = make_trial(tiny_config()), make_trial(tiny_config(seed=7))
    write_epochs(other)
    write_unfinished(trial, "stopped", None)
    assert the_row(trial)["epochs"] == 0


def test_one_target_leaves_the_other_null(make_trial, tiny_config):
    base = tiny_config()
    model = ModelConfig(**{**dataclasses.asdict(base.model), "targets": ("valence",)})
    trial = make_trial(TrialConfig(model=model, training=base.training))
    single = dataclasses.replace(REPORTS[0], devel=Scores({"valence": 0.3, "mean": 0.3}, {"valence": 0.1, "mean": 0.1}))
    write_epochs(trial, (single,))
    write_unfinished(trial, "stopped", None)
    row = the_row(trial)
    assert row["targets"] == ["valence"]
    assert (row["ccc_devel_valence"], row["ccc_devel_arousal"], row["ccc_devel_mean"]) == (0.3, None, 0.3)
