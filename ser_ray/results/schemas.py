"""The schemas of all tables, and their version, which is a column of each but predictions."""

from collections.abc import Mapping

import pyarrow as pa

SCHEMA_VERSION = 1
"""Raised only where a stored column would be misread, since its meaning or its unit is another; such rows are refused.

A column that is added does not raise it. A part without that column counts as damaged (`read_part`), so a sweep that
goes on makes the part again; `results/keep.py --add-columns` adds the column to kept rows.
"""
TARGETS = ("arousal", "valence")
STATUSES = ("finished", "stopped", "failed")
METHODS = ("greedy", "exhaustive")
STAGES = ("", *METHODS)
"""Stages of a prediction: raw ("", which adds no word to a column's name), and after each post-processing search."""


def ccc_column(partition: str, target: str, *, stage: str = "", per_recording: bool = False) -> str:
    """Make the name of a CCC column in `trials`, such as "ccc_devel_greedy_arousal_per_recording".

    The CCC is pooled over the frames of all recordings, or with `per_recording` the mean of the recordings' own CCCs.
    """
    parts = ["ccc", partition, stage, target, "per_recording" if per_recording else ""]
    return "_".join(part for part in parts if part)


def crossfit_column(method: str, target: str) -> str:
    """Make the column name of a search's estimated CCC on unseen data, such as "ccc_devel_greedy_crossfit_mean"."""
    return f"ccc_devel_{method}_crossfit_{target}"


CCC_COLUMNS = tuple(
    ccc_column(partition, target, stage=stage, per_recording=per_recording)
    for partition in ("devel", "test")
    for stage in STAGES
    for target in (*TARGETS, "mean")
    for per_recording in (False, True)
)

CROSSFIT_COLUMNS = tuple(crossfit_column(method, target) for method in METHODS for target in (*TARGETS, "mean"))
"""Null where devel has a single recording."""

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("us")  # UTC; without a zone, since duckdb needs another package for times with one

TRIALS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("key", _TEXT),
        ("configuration", _TEXT),  # like the key but without the seed: equal for all seeds of a configuration
        ("sweep", _TEXT),
        ("status", _TEXT),  # finished | stopped | failed
        ("error", _TEXT),  # why a trial failed; null otherwise
        ("model", _TEXT),  # family of the network
        ("pooling", _TEXT),  # max | average | stride
        ("targets", pa.list_(_TEXT)),
        ("design", _TEXT),  # kernel/pool of each layer, such as "8/10 6/8 6/8"
        ("overlap_ratio", _FLOAT),  # mean of the layers
        ("kernels", pa.list_(_INT)),
        ("pools", pa.list_(_INT)),
        ("overlap_ratios", pa.list_(_FLOAT)),
        ("channels", pa.list_(_INT)),
        ("hidden", _INT),
        ("lstm_layers", _INT),
        ("dropout", _FLOAT),
        ("sequence_s", _FLOAT),
        ("label_shift_s", _FLOAT),
        ("batch_size", _INT),
        ("loss", _TEXT),
        ("optimizer", _TEXT),
        ("learning_rate", _FLOAT),
        ("weight_decay", _FLOAT),
        ("segments", _TEXT),  # grid | random
        ("deterministic", _BOOL),  # as configured; a CPU is always deterministic
        ("seed", _INT),
        ("max_epochs", _INT),  # as configured
        ("epochs", _INT),  # as trained
        ("best_epoch", _INT),  # counted from 1
        *((f"delay_{target}_s", _FLOAT) for target in TARGETS),  # label shift in training, as set or estimated
        ("parameters", _INT),
        ("receptive_field_ms", _FLOAT),
        *((column, _FLOAT) for column in (*CCC_COLUMNS, *CROSSFIT_COLUMNS)),
        ("train_seconds", _FLOAT),
        ("search_seconds", _FLOAT),
        ("samples_per_second", _FLOAT),  # audio samples trained on per second of training
        ("peak_memory_bytes", _INT),
        ("precision", _TEXT),  # in effect: float32 | tf32 | bf16 | float64
        ("backend", _TEXT),  # of the convolutional blocks: reference | fused
        ("device", _TEXT),
        ("gpu_driver", _TEXT),  # NVIDIA's driver, such as "580.65.06"; null on a CPU, like the next two
        ("cuda_version", _TEXT),  # that PyTorch was built with
        ("cudnn_version", _TEXT),
        ("host", _TEXT),
        ("cpus", _FLOAT),  # cores of the trial
        ("gpus", _FLOAT),  # share of a GPU, or whole GPUs; 0 on a CPU
        ("job_id", _TEXT),  # of the scheduler that ran it last; null outside one
        ("restarts", _INT),  # how often it went on from a checkpoint
        ("started_at", _TIME),
        ("ended_at", _TIME),
        ("git_commit", _TEXT),
        ("git_diff", _TEXT),  # name of the uncommitted changes in provenance/<git_diff>.diff; null where there are none
        ("versions", _TEXT),  # JSON: package -> version
        ("corpus", _TEXT),
        ("corpus_fingerprint", _TEXT),
        ("corpus_verified", _BOOL),  # whether its shards' hashes were compared with the manifest
        ("config", _TEXT),  # JSON: the resolved configuration that the key is made of
        ("reused_from", _TEXT),  # folder of the sweep that it was taken over from; null for a trial of this sweep
    ]
)

EPOCHS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("key", _TEXT),
        ("epoch", _INT),  # counted from 1
        ("train_loss", _FLOAT),  # mean over the epoch's batches
        *((f"ccc_devel_{target}", _FLOAT) for target in (*TARGETS, "mean")),
        *((f"ccc_devel_{target}_per_recording", _FLOAT) for target in (*TARGETS, "mean")),
        ("best", _BOOL),  # the best devel mean so far
        ("train_seconds", _FLOAT),
        ("evaluate_seconds", _FLOAT),
        ("gpus", _FLOAT),  # share of a GPU that the trial had; seconds x gpus are its GPU time
        ("ended_at", _TIME),
    ]
)

POSTPROCESSING = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("key", _TEXT),
        ("target", _TEXT),
        ("method", _TEXT),  # greedy | exhaustive
        ("choice", _TEXT),  # per_target | joint
        ("max_window_s", _FLOAT),  # the grid that was searched: the longest median window
        ("max_shift_s", _FLOAT),  # its largest shift
        ("forward_only", _BOOL),  # whether the exhaustive search left shifts backward in time out
        ("median_window", _INT),  # frames; 1 is no filter
        ("median_window_s", _FLOAT),
        ("centre", _BOOL),
        ("scale", _BOOL),
        ("shift", _INT),  # frames; positive moves predictions later
        ("shift_s", _FLOAT),
        ("at_edge", _TEXT),  # "window", "shift" or "window, shift" if the chain is at that edge of its grid; else null
        ("prediction_mean", _FLOAT),  # constants fitted on the filtered devel predictions and gold
        ("prediction_std", _FLOAT),
        ("gold_mean", _FLOAT),
        ("gold_std", _FLOAT),
        ("ccc_devel_raw", _FLOAT),
        ("ccc_devel", _FLOAT),  # of the whole chain, in sample
        ("ccc_devel_crossfit", _FLOAT),  # estimated for unseen recordings; null for one recording alone
        ("folds", _INT),  # of recordings, in that estimate; 1: no estimate
        ("recordings", _INT),  # of devel, used by the search
        ("doubt", _TEXT),  # reliability warning: why the gain is probably overfitted; null if there is none
        ("gain_median", _FLOAT),  # of each step in turn, on devel, in sample
        ("gain_centre", _FLOAT),
        ("gain_scale", _FLOAT),
        ("gain_shift", _FLOAT),
        ("seconds", _FLOAT),
    ]
)

PREDICTIONS = pa.schema(
    [
        ("recording", _TEXT),
        ("partition", _TEXT),
        ("frame", pa.int32()),
        ("time_s", _FLOAT),
        *((f"gold_{target}", pa.float32()) for target in TARGETS),  # null where no gold exists
        *((f"prediction_{target}", pa.float32()) for target in TARGETS),  # raw
    ]
)

SCHEMAS: Mapping[str, pa.Schema] = {
    "trials": TRIALS,
    "epochs": EPOCHS,
    "postprocessing": POSTPROCESSING,
    "predictions": PREDICTIONS,
}
