"""Memory maps of shards that read only the requested bytes from the disk.

By default the system reads ahead around each accessed page, 128 kB to some megabytes depending on its configuration.
That helps sequential reading, but for random crops it would be most of the work. So the maps are advised (madvise) that
access is random, and each stretch is announced as a whole before it is read.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from ser_ray.corpus.store.batches import shard_schema
from ser_ray.corpus.store.files import reading_file
from ser_ray.errors import InputError

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
        found, wanted = self._reader.schema, shard_schema(targets)
        if not found.equals(wanted):
            raise InputError(
                f"shard {path} has the columns {_columns(found)}, but of targets {', '.join(targets)} it must have "
                f"{_columns(wanted)}: import the corpus again"
            )

    @property
    def batches(self) -> int:
        """Number of record batches."""
        count: int = self._reader.num_record_batches
        return count

    def batch(self, number: int) -> Any:
        """Return the record batch of one recording, counted from 0; its columns are views of the map.

        Raises:
            InputError: if there is no such batch, or its lists exceed its bounds.
        """
        if not 0 <= number < self.batches:
            raise InputError(f"shard {self.path} has no batch {number}, but {self.batches}, from 0")
        with reading_file(f"shard {self.path}, batch {number},"):
            batch = self._reader.get_batch(number)
            batch.validate()
        if batch.num_rows != 1 or batch.column("audio").null_count:
            raise InputError(f"shard {self.path}: batch {number} does not hold one recording")
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
            f"shard {path} cannot be read (it is no whole Arrow file): copy it again or import the corpus again"
        )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in schema)
