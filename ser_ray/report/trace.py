"""Gold standard and prediction over time, for one recording of the best trial, as in Fig. 2 of the paper."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ser_ray.metrics import ccc
from ser_ray.report.drawing import BLACK, BLUE, FONT_PT, Drawing, add_legend, new_figure, set_labels
from ser_ray.report.tables import Row, SweepTables
from ser_ray.results import TARGETS, ccc_column, read_table


@dataclass(frozen=True)
class Trace:
    """One recording's gold standard and prediction.

    Args:
        recording: its name.
        partition: "devel" or "test".
        time_s: [frames] seconds from the recording's beginning.
        gold: [frames] per target.
        prediction: [frames] per target, raw.
    """

    recording: str
    partition: str
    time_s: NDArray[np.float64]
    gold: dict[str, NDArray[np.float64]]
    prediction: dict[str, NDArray[np.float64]]

    def ccc(self, target: str) -> float:
        """Return the CCC of one target in this recording."""
        return ccc(self.prediction[target], self.gold[target])

    @property
    def mean_ccc(self) -> float:
        """Mean of the targets' CCC in this recording; NaN if one has none."""
        return float(np.mean([self.ccc(target) for target in self.gold]))


def best_trial(sweep: SweepTables) -> Row | None:
    """Return the finished trial with the highest raw devel CCC among those whose predictions are kept; None without."""
    stored = sweep.folder.keys("predictions")
    finished = [row for row in sweep.trials if row["status"] == "finished" and row["key"] in stored]
    for target in ("mean", *TARGETS):
        column = ccc_column("devel", target)
        scored = [row for row in finished if row[column] is not None]
        if scored:
            return max(scored, key=lambda row: float(row[column]))
    return None


def read_traces(sweep: SweepTables, key: str) -> list[Trace]:
    """Return the recordings of a trial that have gold: those of test if any has, else those of devel.

    Args:
        sweep: the sweep.
        key: the trial's key.
    """
    table = read_table(sweep.folder, "predictions", keys=[key])
    for partition in ("test", "devel"):
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
    targets = [t for t in TARGETS if not rows[f"gold_{t}"].null_count and not rows[f"prediction_{t}"].null_count]
    gold, prediction = (
        {target: rows[f"{name}_{target}"].to_numpy().astype(np.float64) for target in targets}
        for name in ("gold", "prediction")
    )
    return Trace(recording, partition, rows["time_s"].to_numpy(), gold, prediction)


def typical(traces: list[Trace]) -> Trace:
    """Return the recording whose CCC is the median of all, the lower of two in the middle."""
    ordered = sorted(traces, key=lambda trace: np.nan_to_num(trace.mean_ccc, nan=-2.0))
    return ordered[(len(ordered) - 1) // 2]


def draw_trace(sweep: SweepTables) -> Drawing | None:
    """Return the figure of gold and prediction over time; None if no finished trial keeps predictions with gold."""
    trial = best_trial(sweep)
    traces = read_traces(sweep, trial["key"]) if trial is not None else []
    if trial is None or not traces:
        return None
    trace = typical(traces)
    title = f"{sweep.title}: recording {trace.recording} ({trace.partition}), trial {trial['key']}"
    figure, panels = new_figure(title, len(trace.gold), 1, 0.8 + 1.7 * len(trace.gold), share_x=True)
    for panel, target in zip(panels, trace.gold, strict=True):
        panel.plot(trace.time_s, trace.gold[target], color=BLACK, linewidth=1.6, label="gold standard")
        panel.plot(trace.time_s, trace.prediction[target], color=BLUE, linewidth=0.9, label="prediction")
        set_labels(panel, y=target, title=f"CCC {trace.ccc(target):.3f}")
        panel.margins(x=0.01)
    panels[-1].set_xlabel("time (s)", fontsize=FONT_PT)
    add_legend(figure, panels[0])
    return Drawing("trace", "Gold standard and prediction", _caption(trace, len(traces)), figure)


def _caption(trace: Trace, count: int) -> str:
    return (
        f"Gold standard (black) and raw prediction of the finished trial with the highest devel CCC. Of the {count} "
        f"recordings of {trace.partition} with gold, the one with the median CCC (mean of its targets) is shown; the "
        "CCC above a panel is this recording's own."
    )
