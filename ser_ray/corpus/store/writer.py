"""Write a corpus shard by shard, completely or not at all; an interrupted import can be resumed."""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ser_ray.corpus.store.manifest import manifest_text, sha256_of
from ser_ray.corpus.store.partial import Entry, Partial, partial_folder, whole_batches
from ser_ray.corpus.store.raters import RATERS_FILE, write_raters
from ser_ray.corpus.store.schema import (
    INDEX,
    MANIFEST,
    SAMPLE_RATE,
    SHARDS,
    Manifest,
    Recording,
    Shard,
    fingerprint,
    index_table,
    samples_per_frame,
)
from ser_ray.corpus.store.shards import moments, record_batch, shard_schema
from ser_ray.errors import InputError
from ser_ray.files import sync

SHARD_BYTES = 2**30
"""A batch that would make a shard larger than this begins a new one."""


@dataclass(frozen=True)
class ImportPlan:
    """Recordings to be written, so that an interrupted import can be resumed.

    `header` describes the import; `signatures` are name and signature of each recording, in order. Recordings already
    written are kept if the header is the same, up to the first difference in signatures.
    """

    header: str
    signatures: Sequence[tuple[str, str]]


class CorpusWriter:
    """Write a corpus to a folder beside its final place, and move it there when it is complete.

    A context manager. Without an exception, exit completes the corpus. With an exception, exit removes everything; with
    a plan, it keeps the written recordings, in a folder that no reader takes for a corpus, for the next writer with the
    same plan.

    Raises:
        InputError: if `out` is not free, the label rate does not divide the sample rate, or another process is writing.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        name: str,
        label_rate: float,
        targets: tuple[str, ...],
        notice: str = "",
        preparation: Mapping[str, str] | None = None,
        shard_bytes: int | None = None,
        plan: ImportPlan | None = None,
    ) -> None:
        self.out = Path(out).resolve()  # the target of a link, since a folder cannot replace a link
        check_free(self.out)
        self.hop = samples_per_frame(label_rate)
        self.folder = partial_folder(self.out)
        self._name, self._notice, self._shard_bytes = name, notice, shard_bytes or SHARD_BYTES
        self._preparation = dict(preparation or {})
        self._label_rate, self._targets = SAMPLE_RATE / self.hop, targets
        self._schema = shard_schema(targets)
        self._plan = plan
        self._recordings: list[Recording] = []
        self._shards: list[Shard] = []
        self._writer: Any = None
        self._batch, self._bytes = 0, 0

    @property
    def written(self) -> int:
        """Number of recordings written, including those of an earlier writer."""
        return len(self._recordings)

    def __enter__(self) -> Self:
        """Lock the folder, and take over what an earlier writer with the same plan left in it."""
        header = self._plan.header if self._plan else ""
        self._partial = Partial(self.folder, {"import": header, "shard_bytes": self._shard_bytes})
        try:
            self._take_over()
        except BaseException:
            self._partial.release()
            raise
        return self

    def _take_over(self) -> None:
        """Resume from the planned and written recordings: keep closed shards, copy the complete part of the last."""
        planned = iter(self._plan.signatures if self._plan else ())
        kept, unclosed = 0, list[tuple[Recording, int]]()
        for line, end in self._partial.lines():
            if isinstance(line, Shard):
                path = self.folder / SHARDS / line.name
                if not path.is_file() or path.stat().st_size != line.size_bytes:
                    break
                self._recordings += [recording for recording, _ in unclosed]
                self._shards.append(line)
                kept, unclosed = end, []
            elif (line.recording.name, line.signature) == next(planned, None):
                unclosed.append((line.recording, end))
            else:
                break
        kept = self._copy(unclosed) or kept
        under_way = [] if self._writer is None else [self._path.name]
        self._partial.go_on(kept, [*(shard.name for shard in self._shards), *under_way])

    def _copy(self, recordings: Sequence[tuple[Recording, int]]) -> int:
        """Copy the complete batches of the last shard; return the journal's position behind them, or 0."""
        new, kept = self._path.with_suffix(".new"), 0
        for (recording, end), batch in zip(recordings, whole_batches(self._path), strict=False):
            audio = batch.column("audio")[0].values.to_numpy(zero_copy_only=True)
            if moments(audio) != (recording.mean, recording.std):
                break  # not all of it reached the disk, such as after a power failure
            self._writer = self._writer or pa.ipc.new_file(str(new), self._schema)
            self._append(batch)
            self._recordings.append(recording)
            kept = end
        if kept:
            os.replace(new, self._path)  # the file stays open for writing; ending before this line loses nothing
        return kept

    def add(
        self,
        name: str,
        partition: str,
        speaker: str,
        audio: NDArray[np.int16],
        gold: NDArray[np.float32] | None,
        *,
        ratings: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]] | None = None,
        raters: Sequence[Mapping[str, Any]] = (),
        extra: Mapping[str, str] | None = None,
    ) -> Recording:
        """Append one recording.

        `audio` is int16 [samples] at 16 kHz; samples beyond the last whole frame, or beyond the gold, are dropped.
        `gold` is [frames, targets], or None where no labels exist. `ratings` has a trace [frames] per target and rater,
        NaN where a rater gave none. `raters` are the rows of raters.parquet, `extra` further columns of the index.

        Raises:
            InputError: if it is shorter than one frame, or all its samples are equal.
        """
        frames = audio.size // self.hop if gold is None else min(audio.size // self.hop, len(gold))
        if frames < 1:
            raise InputError(f"recording {name} has {audio.size} samples: less than one frame of {self.hop}")
        audio = np.ascontiguousarray(audio[: frames * self.hop], np.int16)
        mean, std = moments(audio)
        if std == 0:
            raise InputError(f"recording {name} is silent: all its samples are {audio[0]}")
        shard, number = self._append(record_batch(self._schema, audio, gold, ratings, frames))
        recording = Recording(
            name=name,
            partition=partition,
            speaker=speaker,
            samples=audio.size,
            frames=frames,
            mean=mean,
            std=std,
            labelled=gold is not None,
            shard=shard,
            batch=number,
            extra=dict(extra or {}),
        )
        signature = self._plan.signatures[self.written][1] if self._plan else ""
        self._partial.add(Entry(recording, signature, json.dumps([dict(row) for row in raters])))
        self._recordings.append(recording)
        return recording

    def _append(self, batch: pa.RecordBatch) -> tuple[str, int]:
        """Write a batch; return the shard's name and the batch's number in it."""
        if self._writer is not None and self._bytes + batch.nbytes > self._shard_bytes:
            self._close_shard()
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), self._schema)
        number = self._batch
        self._writer.write_batch(batch)
        self._batch += 1
        self._bytes += batch.nbytes
        return self._path.name, number

    @property
    def _path(self) -> Path:
        """Path of the shard that is being written."""
        return self.folder / SHARDS / f"{len(self._shards):05d}.arrow"

    def _close_shard(self) -> None:
        self._writer.close()
        path = self._path
        sync(path)  # since a writer that resumes does not check its bytes
        shard = Shard(path.name, sha256_of(path), path.stat().st_size)
        self._partial.add(shard)
        self._shards.append(shard)
        self._writer, self._batch, self._bytes = None, 0, 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the corpus and move it to its place, or else keep or remove what was written."""
        done = False
        try:
            if kind is None:
                self._complete()
                done = True
            elif self._writer is not None:
                # the footer is not needed to resume, and writing it may fail on a full disk; the batches are written
                with contextlib.suppress(OSError):
                    self._writer.close()
        finally:
            self._partial.release()
            if not done and not (self._plan and self.written):
                shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> None:
        if self._writer is not None:
            self._close_shard()
        pq.write_table(index_table(self._recordings), self.folder / INDEX)
        write_raters(self.folder / RATERS_FILE, self._partial.rater_rows())
        manifest = Manifest(
            name=self._name,
            label_rate=self._label_rate,
            targets=self._targets,
            shards=tuple(self._shards),
            fingerprint=fingerprint(self._shards, self._recordings, targets=self._targets, label_rate=self._label_rate),
            notice=self._notice,
            preparation=self._preparation,
            index_sha256=sha256_of(self.folder / INDEX),
        )
        check_free(self.out)
        (self.folder / MANIFEST).write_text(manifest_text(manifest), encoding="utf-8")
        self._partial.finish()
        os.replace(self.folder, self.out)


def check_free(out: Path) -> None:
    """Refuse a path for a new corpus that is a file, a non-empty folder, or a mount point."""
    if out.is_mount():
        raise InputError(f"{out} is a mount point, which cannot be replaced: choose a folder in it")
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists():
        raise InputError(
            f"{out} exists and is not empty: a corpus overwrites nothing; choose another folder or delete it"
        )
