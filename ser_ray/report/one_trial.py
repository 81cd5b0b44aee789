"""The trial that figures show in detail: how it is chosen, its recordings, and the chains of its searches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ser_ray.errors import InputError
from ser_ray.metrics import ccc
from ser_ray.report.attributes import Row
from ser_ray.report.configurations import SweepTables
from ser_ray.results import METHODS, TARGETS, SweepFolder, ccc_column, find_key, read_table


@dataclass(frozen=True)
class Trace:
    """One recording's gold standard and raw prediction, [frames] per target, with the time of each frame in seconds."""

    recording: str
    partition: str
    time_s: NDArray[np.float64]
    gold: dict[str, NDArray[np.float64]]
    prediction: dict[str, NDArray[np.float64]]

    def ccc(self, target: str) -> float:
        """Compute the CCC of one target in this recording."""
        return ccc(self.prediction[target], self.gold[target])

    @property
    def mean_ccc(self) -> float:
        """Mean of the targets' CCC in this recording; NaN if one has none."""
        return float(np.mean([self.ccc(target) for target in self.gold]))


def best_trial(sweep: SweepTables) -> Row | None:
    """Find the finished trial with the highest raw devel CCC among those with predictions; None if there is none."""
    stored = sweep.folder.keys("predictions")
    finished = [row for row in sweep.trials if row["status"] == "finished" and row["key"] in stored]
    for target in ("mean", *TARGETS):
        column = ccc_column("devel", target)
        scored = [row for row in finished if row[column] is not None]
        if scored:
            return max(scored, key=lambda row: float(row[column]))
    return None


def asked_trial(folder: SweepFolder, key: str) -> str:
    """Find the key of a trial with predictions by the key or its beginning.

    Raises:
        InputError: if it matches no trial, or several, or one without predictions.
    """
    found = find_key(folder, key)
    if found not in folder.keys("predictions"):
        raise InputError(
            f"trial {found} has no predictions at {folder.part('predictions', found)}, so it cannot be drawn (it "
            "failed, is still training, or its predictions were deleted); name another, or omit --trial for the best"
        )
    return found


def shown_trial(sweep: SweepTables, asked: str | None) -> tuple[str | None, str]:
    """Choose the trial that figures show, the requested or the best; return its key and its description in captions."""
    if asked is not None:
        return asked, f"trial {asked}"
    best = best_trial(sweep)
    return None if best is None else best["key"], "the finished trial with the highest raw devel CCC"


def read_recording_traces(sweep: SweepTables, key: str, partitions: Sequence[str] = ("test", "devel")) -> list[Trace]:
    """Read the recordings of a trial that are labelled throughout, from the first partition that has any."""
    table = read_table(sweep.folder, "predictions", keys=[key])
    for partition in partitions:
        part = table.filter(pc.equal(table["partition"], partition))
        traces = [
            trace
            for recording in pc.unique(part["recording"]).to_pylist()
            if (trace := _trace(part.filter(pc.equal(part["recording"], recording)), recording, partition)).gold
        ]
        if traces:
            return traces
    return []


def _trace(rows: pa.Table, recording: str, partition: str) -> Trace:
    rows = rows.sort_by("frame")
    gold, prediction = (
        {target: rows[f"{name}_{target}"].to_numpy().astype(np.float64) for target in TARGETS}
        for name in ("gold", "prediction")
    )
    whole = [t for t in TARGETS if np.isfinite(gold[t]).all() and np.isfinite(prediction[t]).all()]
    return Trace(
        recording,
        partition,
        rows["time_s"].to_numpy(),
        {target: gold[target] for target in whole},
        {target: prediction[target] for target in whole},
    )


def read_chain_rows(sweep: SweepTables, key: str) -> Mapping[str, Mapping[str, Row]]:
    """Read a trial's rows of `postprocessing`: target -> method -> row, for the targets that were searched."""
    rows = read_table(sweep.folder, "postprocessing", keys=[key]).to_pylist()
    found = {t: {m: row for m in METHODS for row in rows if (row["target"], row["method"]) == (t, m)} for t in TARGETS}
    return {target: chains for target, chains in found.items() if chains}
