"""Convert one recording to a record batch of a shard."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

RATERS_TYPE = pa.list_(
    pa.struct([("target", pa.string()), ("rater", pa.string()), ("ratings", pa.large_list(pa.float32()))])
)
"""A trace [frames] per target and rater, NaN where the rater gave no rating."""


def shard_schema(targets: Sequence[str]) -> pa.Schema:
    """Return the schema of a shard: audio, gold per target, and raters."""
    return pa.schema(
        [
            ("audio", pa.large_list(pa.int16())),
            *((f"gold_{target}", pa.large_list(pa.float32())) for target in targets),
            ("raters", RATERS_TYPE),
        ]
    )


def record_batch(
    schema: pa.Schema,
    audio: NDArray[np.int16],
    gold: NDArray[np.float32] | None,
    ratings: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]] | None,
    frames: int,
) -> pa.RecordBatch:
    """Convert a recording to a batch of one row.

    `gold` is [frames or more, targets], or None; `ratings` has [frames or more] per target and rater.
    """
    columns = [_one_list(audio, pa.int16())]
    for column in range(len(schema) - 2):
        trace = None if gold is None else gold[:frames, column]
        columns.append(_one_list(trace, pa.float32()))
    columns.append(_rater_column(ratings, frames))
    return pa.record_batch(columns, schema=schema)


def moments(audio: NDArray[np.int16]) -> tuple[float, float]:
    """Compute mean and population standard deviation of int16 samples from exact integer sums.

    Both are accurate to float64 and the same on every machine.
    """
    n, total, squares = audio.size, 0, 0
    for start in range(0, n, 2**22):
        wide = audio[start : start + 2**22].astype(np.int64)
        total, squares = total + int(wide.sum()), squares + int(wide @ wide)
    return total / n, float(np.sqrt((n * squares - total * total) / (n * n)))


def _lists(rows: list[NDArray[Any]], kind: Any) -> Any:
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    flat = np.ascontiguousarray(np.concatenate(rows), kind.to_pandas_dtype())
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat, kind))


def _one_list(values: NDArray[Any] | None, kind: Any) -> Any:
    return pa.nulls(1, pa.large_list(kind)) if values is None else _lists([values], kind)


def _rater_column(ratings: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]] | None, frames: int) -> Any:
    """Build a column with one list of raters' traces, or with one null."""
    if not ratings:
        return pa.nulls(1, RATERS_TYPE)
    pairs = [(target, rater) for target, by_rater in ratings.items() for rater in by_rater]
    traces = _lists([ratings[target][rater][:frames] for target, rater in pairs], pa.float32())
    names = [pa.array(column, pa.string()) for column in zip(*pairs, strict=True)]
    rows = pa.StructArray.from_arrays([*names, traces], fields=list(RATERS_TYPE.value_type))
    return pa.ListArray.from_arrays(pa.array([0, len(pairs)], pa.int32()), rows)
