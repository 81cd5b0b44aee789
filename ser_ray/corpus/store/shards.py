"""Memory maps of shards that read only the requested bytes from the disk.

By default the system reads ahead around each accessed page, 128 kB to some megabytes depending on its configuration.
That helps sequential reading, but for random crops it would be most of the work. So the maps are advised (madvise) that
access is random, and each stretch is announced as a whole before it is read.
"""

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ser_ray.corpus.store.manifest import reading_file
from ser_ray.errors import InputError

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


MAGIC = b"ARROW1"

PIECE_BYTES = 2**17
"""Bytes announced at once. Of a longer piece, Linux reads ahead only the beginning, limited by its read-ahead or by the
largest request to the disk, and the rest page by page."""


class ShardMap:
    """A memory-mapped shard, read on access. Arrays that are views of it keep it open.

    The file's structure is checked before an array is made of it, so that a damaged shard raises an error that names it
    and does not crash the process. Its samples are not checked, since that would read all of them.

    Raises:
        InputError: if it cannot be read, or its columns are not those of the targets.
    """

    def __init__(self, path: Path, targets: Sequence[str]) -> None:
        self.path = path
        with reading_file(f"shard {path}"):
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            self._map.madvise(mmap.MADV_RANDOM)
            _check_ends(path, self._map)
            buffer = pa.py_buffer(self._map)
            self._begin, self._end = buffer.address, buffer.address + buffer.size
            self._reader = pa.ipc.open_file(pa.BufferReader(buffer))
        self.batches: int = self._reader.num_record_batches
        found, wanted = self._reader.schema, shard_schema(targets)
        if not found.equals(wanted):
            raise InputError(
                f"shard {path} has the columns {_columns(found)}, but for targets {', '.join(targets)} it must have "
                f"{_columns(wanted)}: import the corpus again"
            )

    def batch(self, number: int) -> Any:
        """Return the record batch of one recording, numbered from 0; its columns are views of the map.

        Raises:
            InputError: if there is no such batch, or its lists exceed its bounds.
        """
        if not 0 <= number < self.batches:
            raise InputError(f"shard {self.path} has no batch {number}, only {self.batches}, numbered from 0")
        with reading_file(f"shard {self.path}, batch {number},"):
            batch = self._reader.get_batch(number)
            batch.validate()
        if batch.num_rows != 1 or batch.column("audio").null_count:
            raise InputError(f"shard {self.path}: batch {number} does not contain exactly one recording")
        return batch

    def raters(self, number: int) -> Any:
        """Return the list of raters' traces of a batch, which may be null.

        Raises:
            InputError: as `batch`.
        """
        column = self.batch(number).column("raters")
        with reading_file(f"shard {self.path}, batch {number},"):
            column.validate(full=True)  # nested lists, of which a partial check sees only the first and last offsets
        return column[0]

    def announce(self, array: NDArray[Any]) -> None:
        """Let the system start to read an array of this map, in pieces of PIECE_BYTES; ignore other arrays."""
        first = array.__array_interface__["data"][0]
        if self._begin <= first and first + array.nbytes <= self._end and array.nbytes:
            start, stop = first - self._begin, first + array.nbytes - self._begin
            for piece in range(start // mmap.PAGESIZE * mmap.PAGESIZE, stop, PIECE_BYTES):
                self._map.madvise(mmap.MADV_WILLNEED, piece, min(PIECE_BYTES, stop - piece))


def _check_ends(path: Path, content: mmap.mmap) -> None:
    """Refuse a file without Arrow's magic bytes at both ends, or whose footer is longer than the file."""
    length = int.from_bytes(content[-len(MAGIC) - 4 : -len(MAGIC)], "little", signed=True)
    whole = content[: len(MAGIC)] == MAGIC and content[-len(MAGIC) :] == MAGIC
    if not whole or not 0 < length <= len(content) - 2 * len(MAGIC) - 4:
        raise InputError(
            f"shard {path} cannot be read (it is not a complete Arrow file): copy it again or import the corpus again"
        )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in schema)
