"""The first half of a trial: train the network and write the raw predictions of its best epoch."""

import dataclasses
import json
from collections.abc import Callable

import pyarrow as pa
import torch

from ser_ray import results
from ser_ray.corpus import Corpus
from ser_ray.models.config import Backend
from ser_ray.training.evaluate import gold_of, predict_recordings
from ser_ray.training.loop import train
from ser_ray.training.numerics import in_precision
from ser_ray.training.segments import recordings_of
from ser_ray.training.state import EpochReport
from ser_ray.training.supervision import Supervision, TrainingInterruptedError
from ser_ray.trial.config import Trial
from ser_ray.trial.place import Place, place_here
from ser_ray.trial.rows import (
    SCORED_PARTITIONS,
    configured_columns,
    epoch_row,
    prediction_rows,
    trained_columns,
)


def train_trial(
    trial: Trial,
    device: torch.device,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    *,
    place: Place | None = None,
    corpus: Corpus | None = None,
    backend: Backend = "auto",
    supervision: Supervision | None = None,
) -> None:
    """Train a trial's network and write its parts of `epochs` and `predictions`.

    Training goes on from the trial's last checkpoint if there is one.

    `on_epoch` is called after each epoch, when its row is written. `place` is stored in the trial's rows; it defaults
    to a core or a whole GPU of this host. `corpus` may be a local copy of the trial's own, which is the default.

    Raises:
        TrainingDivergedError: if the loss is NaN, infinite or absurdly large.
        TrainingInterruptedError: if the supervision requested the end; finished work is saved.
    """
    watch = supervision or Supervision()
    here = place or place_here(device, gpus=1.0 if device.type == "cuda" else 0.0)
    config, corpus = trial.config, corpus or trial.corpus

    def look_up() -> None:
        watch.alive()
        if watch.stop():
            raise TrainingInterruptedError("saved after its last epoch")

    def record(reports: tuple[EpochReport, ...]) -> None:
        table = results.make_table("epochs", [epoch_row(trial.key, here.gpus, report) for report in reports])
        results.write_part(trial.folder, "epochs", trial.key, table)
        on_epoch(reports[-1])

    trained = train(
        config.model,
        config.training,
        corpus,
        trial.folder.checkpoints(trial.key),
        device=device,
        on_epoch=record,
        backend=backend,
        supervision=watch,
    )
    tables = []
    for partition in SCORED_PARTITIONS:
        recordings = recordings_of(corpus, partition, config.training)
        with in_precision(config.training.precision, device):
            predictions = predict_recordings(
                trained.model, corpus, recordings, shift_frames=trained.shift_frames, on_chunk=look_up
            )
        gold = gold_of(corpus, recordings, config.model.targets)
        tables += [
            prediction_rows(recording, config.model.targets, corpus.label_rate, p, g)
            for recording, p, g in zip(recordings, predictions, gold, strict=True)
        ]
    row = {**configured_columns(trial), **trained_columns(trial, trained, device, here)}
    results.write_part(
        trial.folder,
        "predictions",
        trial.key,
        pa.concat_tables(tables),
        metadata={
            "trial": json.dumps(row, default=str),
            "search": json.dumps(dataclasses.asdict(config.search)),
            "label_rate": repr(corpus.label_rate),
        },
    )
