"""Store the raters' weights in the gold standard and their agreement: raters.parquet of a corpus."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ser_ray.corpus.gold.consensus import agreement, cronbach_alpha, rater_weights
from ser_ray.corpus.store.manifest import reading_file
from ser_ray.plain_text import escaped_name

RATERS_FILE = "raters.parquet"
RATERS_SCHEMA = pa.schema(
    [
        ("recording", pa.string()),
        ("target", pa.string()),
        ("rater", pa.string()),
        ("weight", pa.float64()),  # in the gold standard made from raters
        ("ccc", pa.float64()),  # mean with each of the others; null for a single rater
        ("alpha", pa.float64()),  # Cronbach's, of all raters of this recording and target; null for a single rater
        ("missing_frames", pa.int64()),  # frames without a rating of this rater
    ]
)
ROWS = 10_000
SHOWN_RATERS = 8


def rater_rows(
    recording: str, ratings: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]], method: str
) -> list[dict[str, Any]]:
    """Compute one row of raters.parquet per target and rater, with the weight in the method's gold standard.

    Ratings are [frames], NaN where a rater gave none.
    """
    rows = []
    for target, by_rater in ratings.items():
        traces = np.stack([np.asarray(trace, np.float64) for trace in by_rater.values()])
        several = len(traces) > 1
        alpha = cronbach_alpha(traces) if several else None
        for rater, trace, weight, ccc in zip(
            by_rater, traces, rater_weights(traces, method), agreement(traces), strict=True
        ):
            rows.append(
                {
                    "recording": recording,
                    "target": target,
                    "rater": rater,
                    "weight": float(weight),
                    "ccc": float(ccc) if several else None,
                    "alpha": alpha,
                    "missing_frames": int((~np.isfinite(trace)).sum()),
                }
            )
    return rows


def write_raters(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows of `rater_rows` to a file, ROWS at a time; without rows, no file is created."""
    writer, some = None, []
    try:
        for row in rows:
            some.append(dict(row))
            if len(some) == ROWS:
                writer = writer or pq.ParquetWriter(path, RATERS_SCHEMA)
                writer.write_table(pa.Table.from_pylist(some, RATERS_SCHEMA))
                some = []
        if some:
            writer = writer or pq.ParquetWriter(path, RATERS_SCHEMA)
            writer.write_table(pa.Table.from_pylist(some, RATERS_SCHEMA))
    finally:
        if writer is not None:
            writer.close()


def rater_lines(folder: Path) -> list[str]:
    """Return a line per target with agreement and each rater's mean weight; none where no raters are known."""
    path = folder / RATERS_FILE
    if not path.is_file():
        return []
    with reading_file(str(path)):
        table = pq.read_table(path, columns=["target", "rater", "weight", "ccc", "alpha"])
        table.validate(full=True)
    # alpha is NaN where all raters are constant or no frame has all of them
    alpha = pc.if_else(pc.is_nan(table["alpha"]), None, table["alpha"])
    table = table.set_column(table.column_names.index("alpha"), "alpha", alpha)
    agreed = table.group_by("target", use_threads=False).aggregate([("ccc", "mean"), ("alpha", "mean")]).to_pylist()
    weights = table.group_by(["target", "rater"], use_threads=False).aggregate([("weight", "mean")]).to_pylist()
    lines = []
    for row in agreed:
        raters = sorted((w for w in weights if w["target"] == row["target"]), key=lambda w: str(w["rater"]))
        said = ", ".join(f"{escaped_name(str(w['rater']))} {w['weight_mean']:.2f}" for w in raters[:SHOWN_RATERS])
        more = f" and {len(raters) - SHOWN_RATERS} more" if len(raters) > SHOWN_RATERS else ""
        ccc = "" if row["ccc_mean"] is None else f" agree with CCC {row['ccc_mean']:.3f}"
        alpha = "" if row["alpha_mean"] is None else f", alpha {row['alpha_mean']:.3f}"
        number = "1 rater" if len(raters) == 1 else f"{len(raters)} raters"
        lines.append(f"{escaped_name(row['target'])}: {number}{ccc}{alpha}; mean weights {said}{more}")
    return lines
