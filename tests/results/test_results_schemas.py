"""The schemas of the tables, and rows made into them."""

import math

import pyarrow as pa
import pytest

from ser_ray import results
from ser_ray.results import CCC_COLUMNS, SCHEMA_VERSION, SCHEMAS, ccc_column, make_table

TEXT, INT, FLOAT = pa.string(), pa.int64(), pa.float64()

PROMISED_TRIALS = {
    "schema_version": pa.int32(),
    **dict.fromkeys(["key", "sweep", "status", "error", "model", "loss", "optimizer", "segments"], TEXT),
    **dict.fromkeys(["precision", "backend", "device", "host"], TEXT),
    "deterministic": pa.bool_(),
    **dict.fromkeys(["git_commit", "git_diff", "versions", "corpus", "corpus_fingerprint"], TEXT),
    **dict.fromkeys(["job_id", "reused_from"], TEXT),
    **dict.fromkeys(["cpus", "gpus"], FLOAT),
    "restarts": INT,
    **dict.fromkeys(["kernels", "pools", "channels"], pa.list_(INT)),
    "overlap_ratios": pa.list_(FLOAT),
    **dict.fromkeys(["hidden", "batch_size", "seed", "epochs", "best_epoch", "parameters", "peak_memory_bytes"], INT),
    **dict.fromkeys(
        [
            "dropout",
            "sequence_s",
            "label_shift_s",
            "delay_arousal_s",
            "delay_valence_s",
            "learning_rate",
            "weight_decay",
        ],
        FLOAT,
    ),
    **dict.fromkeys(["receptive_field_ms", "train_seconds", "search_seconds", "samples_per_second"], FLOAT),
    **dict.fromkeys(["started_at", "ended_at"], pa.timestamp("us")),
    **{
        f"ccc_{partition}_{stage}{target}{suffix}": FLOAT
        for partition in ("devel", "test")
        for stage in ("", "greedy_", "exhaustive_")
        for target in ("arousal", "valence", "mean")
        for suffix in ("", "_per_recording")
    },
}
PROMISED_PREDICTIONS = {
    "recording": TEXT,
    "partition": TEXT,
    "frame": pa.int32(),
    "time_s": FLOAT,
    "gold_arousal": pa.float32(),
    "gold_valence": pa.float32(),
    "prediction_arousal": pa.float32(),
    "prediction_valence": pa.float32(),
}
PROMISED_CHAINS = ["key", "target", "method", "median_window", "centre", "scale", "shift"]
PROMISED_CHAINS += [f"gain_{step}" for step in ("median", "centre", "scale", "shift")]


def test_trials_have_the_columns_that_are_promised():
    schema = SCHEMAS["trials"]
    assert {name: schema.field(name).type for name in PROMISED_TRIALS} == PROMISED_TRIALS
    assert set(CCC_COLUMNS) == {name for name in PROMISED_TRIALS if name.startswith("ccc_")}
    assert len(set(schema.names)) == len(schema.names)


def test_the_other_tables_have_the_columns_that_are_promised():
    assert dict(zip(SCHEMAS["predictions"].names, SCHEMAS["predictions"].types, strict=True)) == PROMISED_PREDICTIONS
    assert set(PROMISED_CHAINS) <= set(SCHEMAS["postprocessing"].names)
    assert {"key", "epoch", "train_loss", "ccc_devel_mean", "best"} <= set(SCHEMAS["epochs"].names)
    assert set(SCHEMAS) == {"trials", "epochs", "postprocessing", "predictions"}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"partition": "devel", "target": "mean"}, "ccc_devel_mean"),
        ({"partition": "test", "target": "arousal", "stage": "greedy"}, "ccc_test_greedy_arousal"),
        ({"partition": "test", "target": "valence", "per_recording": True}, "ccc_test_valence_per_recording"),
        (
            {"partition": "devel", "target": "arousal", "stage": "exhaustive", "per_recording": True},
            "ccc_devel_exhaustive_arousal_per_recording",
        ),
    ],
)
def test_the_names_of_scores(arguments, name):
    assert ccc_column(**arguments) == name
    assert name in CCC_COLUMNS


def test_nan_and_missing_are_null_and_the_version_is_in_every_row():
    table = make_table("trials", [{"key": "a", "ccc_test_mean": math.nan, "dropout": 0.0}, {"key": "b"}])
    assert table.schema == SCHEMAS["trials"]
    assert table["ccc_test_mean"].to_pylist() == [None, None]
    assert table["dropout"].to_pylist() == [0.0, None]
    assert table["schema_version"].to_pylist() == [SCHEMA_VERSION] * 2


def test_a_column_that_no_table_has_is_refused():
    with pytest.raises(ValueError, match=r"table epochs has no columns \['acuracy', 'zeal'\]"):
        make_table("epochs", [{"key": "a", "zeal": 1, "acuracy": 0.5}])


def test_the_first_release_has_version_1():
    assert SCHEMA_VERSION == 1


def test_statuses_and_targets_are_those_of_the_design():
    assert results.STATUSES == ("finished", "stopped", "failed")
    assert results.TARGETS == ("arousal", "valence")
