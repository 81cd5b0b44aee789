"""A corpus under way: what an import has written so far, kept so that it can go on there.

.OUT.partial/lock            held by the process that writes
.OUT.partial/progress.jsonl  first what is imported how, then a line per recording that is wholly in a shard
.OUT.partial/shards/         as in a corpus; the last one may be without its end
.OUT.partial/before/         while a writer goes on: the shard whose recordings it takes over
"""

import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from ser_ray.allocation import NO_LOCKS
from ser_ray.corpus.store.schema import SHARDS, Recording, Shard
from ser_ray.errors import InputError

JOURNAL, LOCK, BEFORE = "progress.jsonl", "lock", "before"
MAGIC_BYTES = 8
"""What an Arrow file begins with; a stream of batches follows, which can be read without the file's end."""


@dataclass(frozen=True)
class Entry:
    """A recording that is wholly in a shard.

    Args:
        recording: as indexed.
        signature: of the files that it was made from.
        raters: its rows of raters.parquet, as JSON: those of a large corpus are many.
    """

    recording: Recording
    signature: str
    raters: str = "[]"


class Partial:
    """The folder of a corpus under way; one process writes it.

    Args:
        folder: beside the corpus to come.
        header: what is imported how; what lies there from another import is not gone on with.

    Raises:
        InputError: if another process writes it.
    """

    def __init__(self, folder: Path, header: str) -> None:
        self.folder = folder
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        self._lock = (folder / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise InputError(f"another process is importing into this place ({folder}): wait for it") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:  # there two imports at once go unnoticed
                self._lock.close()
                raise
        self._header = header
        self._journal: IO[str] | None = None
        if (folder / BEFORE).is_dir():  # a writer ended before it had taken over all: its journal never counted
            for shard in (folder / BEFORE).iterdir():
                os.replace(shard, folder / SHARDS / shard.name)

    def entries(self) -> Iterator[Entry]:
        """Yield the recordings that were written by an import like this one, in order."""
        for line in self._lines():
            if "recording" in line:
                yield Entry(Recording(**line["recording"]), line["signature"], line["raters"])

    def closed(self) -> dict[str, tuple[Shard, int]]:
        """Return the shards that were closed and are there, by name, and the number of recordings in each."""
        shards = [(Shard(**line["shard"]), int(line["recordings"])) for line in self._lines() if "shard" in line]
        return {shard.name: (shard, count) for shard, count in shards if _is_there(self.folder / SHARDS, shard)}

    def rater_rows(self) -> Iterator[dict[str, Any]]:
        """Yield all rows of raters.parquet."""
        for line in self._lines():
            yield from json.loads(line.get("raters", "[]"))

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the journal as far as they are whole; none of another import's."""
        path = self.folder / JOURNAL
        if not path.is_file():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            if file.readline() != self._first_line():
                return
            try:
                for text in file:
                    yield json.loads(text)
            except ValueError:
                return  # cut short, or the machine's power failed before this line was on the disk

    def begin(self) -> None:
        """Begin a journal; it takes the place of the one before with `settle`."""
        (self.folder / BEFORE).mkdir(exist_ok=True)
        self._journal = (self.folder / f"{JOURNAL}.new").open("w", encoding="utf-8")
        self._journal.write(self._first_line())

    def set_aside(self, name: str) -> Path:
        """Move a shard, if it is there, out of the way of the writer that copies it; return where it is."""
        aside = self.folder / BEFORE / name
        if (self.folder / SHARDS / name).is_file():
            os.replace(self.folder / SHARDS / name, aside)
        return aside

    def settle(self, shards: Collection[str]) -> None:
        """Let the new journal be the one that counts: what it lists has been taken over.

        Args:
            shards: names of those that it lists; whatever else lies here is removed.
        """
        assert self._journal is not None
        self._journal.flush()
        os.replace(self.folder / f"{JOURNAL}.new", self.folder / JOURNAL)
        shutil.rmtree(self.folder / BEFORE)
        left = [path for path in self.folder.iterdir() if path.name not in (JOURNAL, LOCK, SHARDS)]
        for path in [*left, *(path for path in (self.folder / SHARDS).iterdir() if path.name not in shards)]:
            path.unlink()

    def add(self, entry: Entry) -> None:
        """Note a recording that is wholly in its shard."""
        self._write(asdict(entry))

    def close_shard(self, shard: Shard, recordings: int) -> None:
        """Note a shard that has its end."""
        self._write({"shard": asdict(shard), "recordings": recordings})

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._journal is not None
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()

    def finish(self) -> None:
        """Remove what is no part of a corpus."""
        for name in (JOURNAL, LOCK):
            (self.folder / name).unlink()

    def release(self) -> None:
        """Let go of the folder."""
        if self._journal is not None:
            self._journal.close()
        self._lock.close()

    def _first_line(self) -> str:
        return json.dumps({"import": self._header}) + "\n"


def whole_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a shard that may have been cut short, as far as they are whole.

    Args:
        path: of the shard.

    Yields:
        The batches in order, mapped.
    """
    try:
        source = pa.memory_map(str(path))
        source.seek(MAGIC_BYTES)
        reader = pa.ipc.open_stream(source)
        while True:
            yield reader.read_next_batch()
    except (StopIteration, pa.ArrowInvalid, OSError):
        return


def _is_there(folder: Path, shard: Shard) -> bool:
    path = folder / shard.name
    return path.is_file() and path.stat().st_size == shard.size_bytes
