"""What is known of a training between two of its steps, as its checkpoints hold it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ser_ray.errors import InputError
from ser_ray.training.evaluate import Scores


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to.

    Args:
        epoch: counted from 1.
        train_loss: mean over the epoch's batches.
        devel: CCC on devel, before any post-processing.
        best: whether its devel mean is the best so far.
        train_seconds: of this epoch's training.
        evaluate_seconds: of this epoch's evaluation.
        ended_at: when, UTC.
    """

    epoch: int
    train_loss: float
    devel: Scores
    best: bool
    train_seconds: float
    evaluate_seconds: float
    ended_at: datetime


class UnfitCheckpointError(InputError):
    """A checkpoint that can be read, and holds what its training cannot go on from."""


def plain_reports(reports: list[EpochReport]) -> list[dict[str, Any]]:
    """Return reports as a checkpoint holds them: numbers, texts, and dicts of these."""
    return [
        {**vars(report), "devel": vars(report.devel), "ended_at": report.ended_at.isoformat()} for report in reports
    ]


def read_reports(content: Mapping[str, Any]) -> list[EpochReport]:
    """Return the reports of all epochs that ended before a checkpoint.

    Args:
        content: of the checkpoint.

    Raises:
        UnfitCheckpointError: if it holds no such reports.
    """
    try:
        reports = TypeAdapter(list[EpochReport]).validate_python(content.get("epochs"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in ("epochs", *first["loc"]))
        raise UnfitCheckpointError(f"{place}: {first['msg']}") from error
    if [report.epoch for report in reports] != list(range(1, len(reports) + 1)):
        raise UnfitCheckpointError("its epochs are not numbered from 1")
    return reports
