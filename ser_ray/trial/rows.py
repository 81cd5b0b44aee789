"""Build the rows of a trial from its configuration and its training."""

import json
import resource
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ser_ray import provenance, results
from ser_ray.corpus import Recording
from ser_ray.errors import InputError
from ser_ray.training.config import whole_frames
from ser_ray.trial.config import Trial, configuration_key, keyed_config
from ser_ray.trial.log import starts
from ser_ray.trial.place import NOWHERE, Place

if TYPE_CHECKING:
    import torch

    from ser_ray.training.loop import TrainingResult
    from ser_ray.training.state import EpochReport

SCORED_PARTITIONS = ("devel", "test")


def configured_columns(trial: Trial) -> dict[str, Any]:
    """Build the columns of a trial's row that its configuration and corpus determine."""
    model, training, corpus = trial.config.model, trial.config.training, trial.corpus
    return {
        "key": trial.key,
        "configuration": configuration_key(trial.config, corpus.fingerprint),
        "sweep": trial.sweep,
        "model": model.name,
        "pooling": model.pooling,
        "targets": list(model.targets),
        "design": model.design,
        "overlap_ratio": sum(model.overlap_ratios) / len(model.overlap_ratios),
        "kernels": list(model.kernels),
        "pools": list(model.pools),
        "overlap_ratios": list(model.overlap_ratios),
        "channels": list(model.channels),
        "hidden": model.hidden,
        "lstm_layers": None if model.temporal == "tcn" else model.lstm_layers,
        "dropout": model.dropout if model.dropouts is None else None,
        "sequence_s": training.sequence_s,
        "label_shift_s": None if training.estimate_delay else training.label_shift_s,
        "batch_size": training.batch_size,
        "loss": training.loss,
        "optimizer": training.optimizer,
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "segments": training.segments,
        "deterministic": training.deterministic,
        "seed": training.seed,
        "max_epochs": training.epochs,
        "parameters": model.parameters,
        "receptive_field_ms": trial.receptive_field_ms,
        "job_id": provenance.job_id(),
        "restarts": max(0, len(starts(trial.folder.log(trial.key))) - 1),
        "git_commit": trial.git_commit,
        "git_diff": trial.git_diff,
        "versions": provenance.versions(),
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint,
        "config": json.dumps(keyed_config(trial.config, corpus.fingerprint), sort_keys=True),
    }


def trained_columns(trial: Trial, trained: "TrainingResult", device: "torch.device", place: Place) -> dict[str, Any]:
    """Build the columns of a trial's row that its training on a device determines."""
    import torch

    from ser_ray.training.numerics import effective_precision
    from ser_ray.training.segments import cut_segments, recordings_of, segments_of_epoch

    config, corpus = trial.config.training, trial.corpus
    sequence_frames = whole_frames(config.sequence_s, corpus.label_rate, "training.sequence_s")
    grid = cut_segments(recordings_of(corpus, "train", config), sequence_frames)
    # the positions of random segments differ from epoch to epoch, their lengths do not
    samples = sum(segment.frames * corpus.hop for segment in segments_of_epoch(grid, sequence_frames, config, epoch=1))
    reports = trained.epochs
    train_seconds = sum(report.train_seconds for report in reports)
    on_gpu = device.type == "cuda"
    first = reports[0]
    peak = (
        torch.cuda.max_memory_allocated(device) if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {
        "epochs": len(reports),
        "best_epoch": trained.best_epoch,
        **{
            f"delay_{target}_s": frames / corpus.label_rate
            for target, frames in zip(trial.config.model.targets, trained.shift_frames, strict=True)
        },
        "train_seconds": train_seconds + sum(report.evaluate_seconds for report in reports),
        "samples_per_second": samples * len(reports) / train_seconds,
        "peak_memory_bytes": peak,
        "precision": effective_precision(config.precision, device),
        "backend": trained.backend,
        **vars(place),
        "started_at": first.ended_at - timedelta(seconds=first.train_seconds + first.evaluate_seconds),
    }


def epoch_row(key: str, gpus: float | None, report: "EpochReport") -> dict[str, Any]:
    """Build a row of `epochs`; `gpus` is the trial's share of a GPU, None if that is not known."""
    return {
        "key": key,
        "epoch": report.epoch,
        "train_loss": report.train_loss,
        **{f"ccc_devel_{target}": value for target, value in report.devel.pooled.items()},
        **{f"ccc_devel_{target}_per_recording": value for target, value in report.devel.per_recording.items()},
        "best": report.best,
        "train_seconds": report.train_seconds,
        "evaluate_seconds": report.evaluate_seconds,
        "gpus": gpus,
        "ended_at": report.ended_at,
    }


def prediction_rows(
    recording: Recording,
    targets: Sequence[str],
    label_rate: float,
    prediction: NDArray[np.floating],
    gold: NDArray[np.floating],
) -> pa.Table:
    """Build the rows of `predictions` of one recording, not post-processed.

    Prediction and gold are [frames, targets]; gold is NaN where there is no label.
    """
    frames = len(prediction)
    columns: dict[str, Any] = {
        "recording": [recording.name] * frames,
        "partition": [recording.partition] * frames,
        "frame": np.arange(frames, dtype=np.int32),
        "time_s": np.arange(frames) / label_rate,
    }
    for target in results.TARGETS:
        known = target in targets
        column = targets.index(target) if known else 0
        columns[f"gold_{target}"] = pa.array(gold[:, column], from_pandas=True) if known else pa.nulls(frames)
        columns[f"prediction_{target}"] = pa.array(prediction[:, column]) if known else pa.nulls(frames)
    return pa.table(columns).select(results.PREDICTIONS.names).cast(results.PREDICTIONS)


def write_unfinished(trial: Trial, status: str, error: str | None, place: Place = NOWHERE) -> None:
    """Write the row of a trial that was "stopped" early or "failed", with the error as the reason."""
    epochs = results.read_table(trial.folder, "epochs", keys=[trial.key]).to_pylist()
    row = {
        **configured_columns(trial),
        "status": status,
        "error": error,
        "epochs": len(epochs),
        **vars(place),
        "ended_at": datetime.now(UTC),
    }
    if epochs:
        best = max((epoch for epoch in epochs if epoch["best"]), key=lambda epoch: epoch["epoch"])
        row["best_epoch"] = best["epoch"]
        row["train_seconds"] = sum(epoch["train_seconds"] + epoch["evaluate_seconds"] for epoch in epochs)
        row |= {column: best[column] for column in best if column.startswith("ccc_devel_")}
    results.write_part(trial.folder, "trials", trial.key, results.make_table("trials", [row]))


def write_epochs_again(folder: results.SweepFolder, key: str) -> str | None:
    """Rewrite a trial's part of `epochs` from its newest checkpoint that contains them all.

    Returns:
        The name of the checkpoint; None if none contains them.

    Raises:
        InputError: if the trial's row or predictions, which give its number of epochs, cannot be read.
        OSError: if the part cannot be written.
    """
    from ser_ray.training.checkpoint import LAST, PREVIOUS, load_checkpoint
    from ser_ray.training.state import read_reports

    known = _recorded(folder, key)
    for name in (LAST, PREVIOUS):
        try:
            reports = read_reports(load_checkpoint(folder.checkpoints(key) / name))
        except (FileNotFoundError, InputError):
            continue
        if reports and known.get("epochs") in (None, len(reports)):
            rows = [epoch_row(key, known.get("gpus"), report) for report in reports]
            results.write_part(folder, "epochs", key, results.make_table("epochs", rows))
            return name
    return None


def _recorded(folder: results.SweepFolder, key: str) -> dict[str, Any]:
    """Read a trial's row, or else the metadata of its predictions; {} if there is neither."""
    rows = results.read_table(folder, "trials", keys=[key], columns=["epochs", "gpus"]).to_pylist()
    if rows:
        return dict(rows[0])
    predictions = folder.part("predictions", key)
    return results.read_trial(predictions) if predictions.is_file() else {}
