"""Shards in memory maps that read from the disk what is asked for, and not what lies beside it.

By itself a map reads some way around each place that is touched, 128 kB to some megabytes as the machine has it set:
right for whoever reads on, and for random crops most of the work. So maps are told that places are random, and each
stretch is announced in one piece before it is read.
"""

import mmap
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

PIECE_BYTES = 2**17
"""How much is announced at once: of more, Linux reads the beginning alone, as long as its read-ahead or as a request
to the disk may be, and the rest page by page."""


class ShardMap:
    """A shard in memory, read when it is touched. Arrays that lie in it keep it open.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._map.madvise(mmap.MADV_RANDOM)
        buffer = pa.py_buffer(self._map)
        self._begin, self._end = buffer.address, buffer.address + buffer.size
        self._reader = pa.ipc.open_file(pa.BufferReader(buffer))

    def batch(self, number: int) -> Any:
        """Return a record batch whose columns lie in the map."""
        return self._reader.get_batch(number)

    def announce(self, array: NDArray[Any]) -> None:
        """Have the system begin to read what an array in this map holds, in as few pieces as it can.

        Args:
            array: one that lies in the map; another one is left alone.
        """
        first = array.__array_interface__["data"][0]
        if self._begin <= first and first + array.nbytes <= self._end and array.nbytes:
            start, stop = first - self._begin, first + array.nbytes - self._begin
            for piece in range(start // mmap.PAGESIZE * mmap.PAGESIZE, stop, PIECE_BYTES):
                self._map.madvise(mmap.MADV_WILLNEED, piece, min(PIECE_BYTES, stop - piece))
