"""Event files for TensorBoard: a curve for each figure of a trial's epochs, and the trial's final figures."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams

from ser_ray.results import CCC_COLUMNS

HPARAMS_PREFIX = "final/"
"""Prefix of the curves, a point each, with a trial's final figures."""


class TensorBoard:
    """Writes the figures of trials where `tensorboard --logdir FOLDER` finds them, each trial in a folder of its own.

    Events are on the disk at once, written by tensorboardX's EventsWriter. Its SummaryWriter writes in a thread, where
    a full disk would end all further figures without a message. All methods raise OSError if files cannot be written.

    Args:
        folder: such as results/overlap/tensorboard.
        suffix: of file names.
    """

    def __init__(self, folder: Path, suffix: str = "") -> None:
        # Each process has files of its own, so that an incomplete end of a killed one's file does no harm.
        self._folder, self._suffix = folder, f".{os.getpid()}{suffix}"
        self._writers: dict[str, Any] = {}
        self._last: dict[str, int] = {}

    def epoch(self, key: str, figures: Mapping[str, Any]) -> None:
        """Write "train_loss" and "ccc_devel_..." of an epoch, unless this object has written that epoch already."""
        step = figures["epoch"]
        if step <= self._last.get(key, 0):
            return
        events = []
        if key not in self._last:
            # makes TensorBoard forget what earlier processes wrote of this epoch and of later ones
            events.append(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        shown = {name: value for name, value in figures.items() if name == "train_loss" or name in CCC_COLUMNS}
        events.append(Event(step=step, summary=_scalars(shown)))
        self._append(key, events)
        self._last[key] = step

    def finished(self, key: str, row: Mapping[str, Any]) -> None:
        """Write a trial's configuration and final figures, from its row, for TensorBoard's page HPARAMS."""
        scores = {f"{HPARAMS_PREFIX}{name}": row[name] for name in CCC_COLUMNS if row.get(name) is not None}
        settings = _settings(json.loads(row["config"])) if row.get("config") else {}
        experiment, begin, end = hparams({**settings, "status": row["status"]}, scores)
        step = row.get("epochs") or 0
        summaries = [experiment, begin, end, _scalars(scores)]
        self._append(key, [Event(step=step, summary=summary) for summary in summaries])
        self.ended(key)

    def ended(self, key: str) -> None:
        """Close the file of a trial that gets no more events in this run."""
        self._last.pop(key, None)
        writer = self._writers.pop(key, None)
        if writer is not None:
            writer.close()

    def close(self) -> None:
        """Close all files."""
        for key in list(self._writers):
            self.ended(key)

    def _append(self, key: str, events: list[Event]) -> None:
        if key not in self._writers:
            (self._folder / key).mkdir(parents=True, exist_ok=True)
            self._writers[key] = EventsWriter(str(self._folder / key / "events"), self._suffix)
        for event in events:
            event.wall_time = time.time()
            self._writers[key].write_event(event)
        self._writers[key].flush()


def _scalars(figures: Mapping[str, Any]) -> Summary:
    known = {name: float(value) for name, value in figures.items() if value is not None and not math.isnan(value)}
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in known.items()])


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a keyed configuration to texts, booleans and numbers: "training.epochs" -> 100."""
    flat = {
        f"{section}.{field}": value
        for section in ("model", "training")
        for field, value in config.get(section, {}).items()
    }
    return {
        name: value if isinstance(value, (str, bool, int, float)) else json.dumps(value) for name, value in flat.items()
    }
