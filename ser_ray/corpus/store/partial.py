"""A partially written corpus, kept so that an interrupted import can be resumed.

.OUT.partial/lock            locked by the process that writes
.OUT.partial/progress.jsonl  the journal: a header that describes the import, then a line per written recording and per
                             closed shard
.OUT.partial/shards/         as in a corpus; the last shard may lack its footer
"""

import contextlib
import errno
import fcntl
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from ser_ray.allocation import NO_LOCKS
from ser_ray.corpus.store.schema import SAMPLE_RATE, SHARDS, Recording, Shard
from ser_ray.errors import InputError

JOURNAL, LOCK = "progress.jsonl", "lock"
MAGIC_BYTES = 8
"""Padded length of an Arrow file's magic; a stream of batches follows, which can be read without the file's footer."""


@dataclass(frozen=True)
class Entry:
    """Line of the journal: a recording that is completely written to a shard.

    `signature` identifies its source files; `raters` are its rows of raters.parquet, kept as JSON text since a large
    corpus has many.
    """

    recording: Recording
    signature: str
    raters: str = "[]"


class Partial:
    """Folder of a partially written corpus, with its journal; one process at a time writes it.

    `header` describes the import; the journal of another import counts as empty.

    Raises:
        InputError: if another process is writing.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.folder = folder
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        self._lock = (folder / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise InputError(f"another process is importing into this folder ({folder}): wait until it ends") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:  # without locks, two imports at once are not detected
                self._lock.close()
                raise
        self._header = json.dumps(header).encode() + b"\n"
        self._journal: IO[bytes] | None = None

    def lines(self) -> Iterator[tuple[Entry | Shard, int]]:
        """Yield the journal's lines up to the first incomplete one, each with the file position behind it."""
        path = self.folder / JOURNAL
        if not path.is_file():
            return
        with path.open("rb") as file:
            end = len(self._header)
            if file.readline() != self._header:
                return
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:  # this line did not reach the disk, such as after a power failure
                    return
                if not text.endswith(b"\n"):
                    return
                end += len(text)
                yield (
                    Shard(**line)
                    if "sha256" in line
                    else Entry(**{**line, "recording": Recording(**line["recording"])}),
                    end,
                )

    def rater_rows(self) -> Iterator[dict[str, Any]]:
        """Yield all rows of raters.parquet."""
        for line, _ in self.lines():
            yield from json.loads(line.raters) if isinstance(line, Entry) else ()

    def go_on(self, end: int, shards: Collection[str]) -> None:
        """Truncate the journal at a position that `lines` yielded, 0 to restart it; remove all files but `shards`."""
        self._journal = (self.folder / JOURNAL).open("ab")
        self._journal.truncate(end)
        if not end:
            self._journal.write(self._header)
            self._journal.flush()
        others = [path for path in self.folder.iterdir() if path.name not in (JOURNAL, LOCK, SHARDS)]
        for path in [*others, *(path for path in (self.folder / SHARDS).iterdir() if path.name not in shards)]:
            path.unlink()

    def add(self, line: Entry | Shard) -> None:
        """Append a completely written recording, or a closed shard, to the journal."""
        assert self._journal is not None
        self._journal.write(json.dumps(asdict(line)).encode() + b"\n")
        self._journal.flush()

    def finish(self) -> None:
        """Remove the journal and the lock file, which are not part of a corpus."""
        for name in (JOURNAL, LOCK):
            (self.folder / name).unlink()

    def release(self) -> None:
        """Close the journal and let other processes write."""
        if self._journal is not None:
            self._journal.close()
        self._lock.close()


def whole_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the complete batches of a memory-mapped shard that may be truncated."""
    try:
        source = pa.memory_map(str(path))
        source.seek(MAGIC_BYTES)
        reader = pa.ipc.open_stream(source)
        while True:
            yield reader.read_next_batch()
    except (StopIteration, pa.ArrowInvalid, OSError):
        return


FULL = (errno.ENOSPC, errno.EDQUOT)
NO_PLACE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


def partial_folder(out: Path) -> Path:
    """Return the hidden folder in which a corpus is written, beside its resolved path."""
    return out.parent / f".{out.name}.partial"


def check_free_bytes(seconds: Sequence[float], out: Path) -> None:
    """Refuse to begin if audio of these durations needs more than the free bytes."""
    out = out.resolve()
    place = out.parent
    while not place.exists():
        place = place.parent
    free, written = shutil.disk_usage(place).free, partial_folder(out)
    there = sum(file.stat().st_size for file in written.rglob("*") if file.is_file()) if written.is_dir() else 0
    needed = round(sum(seconds) * SAMPLE_RATE * np.dtype(np.int16).itemsize)
    if needed > free + there:
        raise InputError(
            f"{out} needs about {_size(needed)} for {len(seconds)} recordings, but {_size(free)} are free on the file "
            f"system of {place}: choose another folder, or free disk space"
        )


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


@contextlib.contextmanager
def disk_errors_named(out: Path) -> Iterator[None]:
    """Raise an InputError if the folder cannot be created, or the disk becomes full in the block."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_PLACE:
            raise InputError(f"{out} cannot be created ({error}): choose another folder") from error
        if error.errno not in FULL:
            raise
        raise InputError(
            f"the disk of {out} is full ({error}): free disk space and run the same command again; written recordings "
            "are kept"
        ) from error
