"""Event files that TensorBoard shows: a curve for each figure of a trial's epochs, and what it came to.

Written by the driver, a few records for each epoch, each time the file opened and closed: nothing is held open for
thousands of trials, and what is written is there. The framing of a record is TFRecord's: length, its checksum, data,
its checksum.
"""

import json
import math
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams

from ser_ray.provenance import host_name
from ser_ray.results import CCC_COLUMNS

HPARAMS_PREFIX = "final/"
"""Of the curves, a point each, that hold what a trial came to."""


class TensorBoard:
    """Writes the figures of trials where `tensorboard --logdir FOLDER` finds them.

    Args:
        folder: where each trial gets a folder of its own, such as results/overlap/tensorboard.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A file for each process and trial: what a killed one left half at the end of its file harms nothing. Names
        # sort by time, as TensorBoard reads them.
        self._name = f"events.out.tfevents.{int(time.time()):010d}.{host_name()}.{os.getpid()}"
        self._last: dict[str, int] = {}

    def epoch(self, key: str, figures: Mapping[str, Any]) -> None:
        """Write the figures of an epoch; one that this object has written already is passed over.

        Args:
            key: the trial's key.
            figures: "epoch", "train_loss" and "ccc_devel_..."; others are left out.

        Raises:
            OSError: if it cannot be written.
        """
        step = figures["epoch"]
        events = []
        if key not in self._last:
            # tells TensorBoard to forget what earlier processes wrote of this epoch and of later ones
            events.append(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        elif step <= self._last[key]:
            return
        shown = {name: value for name, value in figures.items() if name == "train_loss" or name in CCC_COLUMNS}
        events.append(Event(step=step, summary=_scalars(shown)))
        self._append(key, events)
        self._last[key] = step

    def finished(self, key: str, row: Mapping[str, Any]) -> None:
        """Write the configuration of a trial and what it came to, for TensorBoard's page HPARAMS.

        Args:
            key: the trial's key.
            row: of `trials`.

        Raises:
            OSError: if it cannot be written.
        """
        scores = {f"{HPARAMS_PREFIX}{name}": row[name] for name in CCC_COLUMNS if row.get(name) is not None}
        settings = _settings(json.loads(row["config"])) if row.get("config") else {}
        experiment, begin, end = hparams({**settings, "status": row["status"]}, scores)
        step = row.get("epochs") or 0
        summaries = [experiment, begin, end, _scalars(scores)]
        self._append(key, [Event(step=step, summary=summary) for summary in summaries])
        self._last.pop(key, None)

    def close(self) -> None:
        """Forget which epochs were written; every file is closed already."""
        self._last.clear()

    def _append(self, key: str, events: list[Event]) -> None:
        path = self._folder / key / self._name
        new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        records = [Event(file_version="brain.Event:2"), *events] if new else events
        for event in records:
            event.wall_time = time.time()
        with open(path, "ab") as file:
            file.write(b"".join(_record(event.SerializeToString()) for event in records))


def _scalars(figures: Mapping[str, Any]) -> Summary:
    known = {name: float(value) for name, value in figures.items() if value is not None and not math.isnan(value)}
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in known.items()])


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a keyed configuration as flat texts, truths and numbers: "training.epochs" -> 100."""
    flat = {
        f"{section}.{field}": value
        for section in ("model", "training")
        for field, value in config.get(section, {}).items()
    }
    return {
        name: value if isinstance(value, (str, bool, int, float)) else json.dumps(value) for name, value in flat.items()
    }


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]
