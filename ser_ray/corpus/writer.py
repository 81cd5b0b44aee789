"""Writes a corpus: shard by shard, whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ser_ray.corpus.schema import (
    INDEX,
    MANIFEST,
    SAMPLE_RATE,
    SHARDS,
    Manifest,
    Recording,
    Shard,
    fingerprint,
    index_table,
    manifest_text,
    samples_per_frame,
)
from ser_ray.corpus.shards import sha256_of
from ser_ray.errors import InputError

SHARD_BYTES = 2**30
"""A shard that has grown beyond this is closed and the next one begun."""

RATERS_TYPE = pa.list_(
    pa.struct([("target", pa.string()), ("rater", pa.string()), ("ratings", pa.large_list(pa.float32()))])
)


class CorpusWriter:
    """Writes a corpus beside its place and moves it there when it is whole.

    A context manager: left without an exception it completes the corpus, left with one it removes
    all traces.

    Args:
        out: the folder to make; must not exist, or be empty.
        name: of the corpus.
        label_rate: frames per second; divides 16 kHz.
        targets: what is labelled.
        notice: text that travels with the corpus.
        shard_bytes: size beyond which the next shard is begun.

    Raises:
        InputError: if `out` is taken, or the label rate does not divide the sample rate.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        name: str,
        label_rate: float,
        targets: tuple[str, ...],
        notice: str = "",
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.out = Path(out).absolute()
        check_free(self.out)
        self.hop = samples_per_frame(label_rate)
        self._name, self._notice, self._shard_bytes = name, notice, shard_bytes
        self._label_rate, self._targets = SAMPLE_RATE / self.hop, targets
        self._schema = pa.schema(
            [
                ("audio", pa.large_list(pa.int16())),
                *((f"gold_{target}", pa.large_list(pa.float32())) for target in targets),
                ("raters", RATERS_TYPE),
            ]
        )
        self._folder = self.out.parent / f".{self.out.name}.partial-{secrets.token_hex(4)}"
        self._recordings: list[Recording] = []
        self._shards: list[Shard] = []
        self._writer: Any = None
        self._batch, self._bytes = 0, 0

    def __enter__(self) -> Self:
        """Make the temporary folder."""
        (self._folder / SHARDS).mkdir(parents=True)
        return self

    def add(
        self,
        name: str,
        partition: str,
        speaker: str,
        audio: NDArray[np.int16],
        gold: NDArray[np.float32] | None,
        *,
        ratings: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Recording:
        """Append one recording.

        Args:
            name: unique in the corpus.
            partition: "train", "devel" or "test".
            speaker: who is heard.
            audio: int16 [samples] at 16 kHz; what is beyond the last whole frame, or beyond the
                gold, is dropped.
            gold: [frames, targets], or None where no labels exist.
            ratings: per target and rater a trace [frames], where known.
            extra: further columns of the index.

        Returns:
            The recording as indexed.

        Raises:
            InputError: if it is shorter than one frame, or silent.
        """
        frames = audio.size // self.hop if gold is None else min(audio.size // self.hop, len(gold))
        if frames < 1:
            raise InputError(f"recording {name} has {audio.size} samples: less than one frame of {self.hop}")
        audio = np.ascontiguousarray(audio[: frames * self.hop], np.int16)
        mean, std = moments(audio)
        if std == 0:
            raise InputError(f"recording {name} is silent: all its samples are {audio[0]}")
        columns = [_one_list(audio, pa.int16())]
        for column in range(len(self._targets)):
            trace = None if gold is None else gold[:frames, column]
            columns.append(_one_list(trace, pa.float32()))
        columns.append(_rater_column(ratings, frames))
        batch = pa.record_batch(columns, schema=self._schema)
        if self._writer is not None and self._bytes + batch.nbytes > self._shard_bytes:
            self._close_shard()
        shard, number = self._append(batch)
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
        self._recordings.append(recording)
        return recording

    def _append(self, batch: Any) -> tuple[str, int]:
        shard = f"{len(self._shards):05d}.arrow"
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._folder / SHARDS / shard), self._schema)
        number = self._batch
        self._writer.write_batch(batch)
        self._batch += 1
        self._bytes += batch.nbytes
        return shard, number

    def _close_shard(self) -> None:
        self._writer.close()
        path = self._folder / SHARDS / f"{len(self._shards):05d}.arrow"
        self._shards.append(Shard(path.name, sha256_of(path), path.stat().st_size))
        self._writer, self._batch, self._bytes = None, 0, 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the corpus and move it to its place, or remove what was written."""
        try:
            if kind is None:
                self._complete()
        finally:
            if kind is not None and self._writer is not None:
                self._writer.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _complete(self) -> None:
        if self._writer is not None:
            self._close_shard()
        pq.write_table(index_table(self._recordings), self._folder / INDEX)
        print_ = fingerprint(self._shards, self._recordings, targets=self._targets, label_rate=self._label_rate)
        manifest = Manifest(self._name, self._label_rate, self._targets, tuple(self._shards), print_, self._notice)
        (self._folder / MANIFEST).write_text(manifest_text(manifest), encoding="utf-8")
        check_free(self.out)
        os.replace(self._folder, self.out)


def check_free(out: Path) -> None:
    """Refuse a place for a new corpus that is taken.

    Args:
        out: the folder to be made.

    Raises:
        InputError: if it is a file, or a folder with something in it.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists():
        raise InputError(
            f"{out} exists and is not empty: a corpus is never written over; choose another folder or delete it"
        )


def moments(audio: NDArray[np.int16]) -> tuple[float, float]:
    """Return mean and population standard deviation of int16 samples, from exact integer sums.

    Args:
        audio: int16 [samples], at least one.

    Returns:
        Both as correctly as float64 holds them, the same on every machine.
    """
    n, total, squares = audio.size, 0, 0
    for start in range(0, n, 2**22):
        wide = audio[start : start + 2**22].astype(np.int64)
        total, squares = total + int(wide.sum()), squares + int(wide @ wide)
    return total / n, float(np.sqrt((n * squares - total * total) / (n * n)))


def _lists(rows: list[NDArray[Any]], kind: Any) -> Any:
    """Return a column of one list per row."""
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    flat = np.ascontiguousarray(np.concatenate(rows), kind.to_pandas_dtype())
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat, kind))


def _one_list(values: NDArray[Any] | None, kind: Any) -> Any:
    """Return a column of one list, or of one null."""
    return pa.nulls(1, pa.large_list(kind)) if values is None else _lists([values], kind)


def _rater_column(ratings: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]] | None, frames: int) -> Any:
    """Return a column of one list of raters' traces, or of one null."""
    if not ratings:
        return pa.nulls(1, RATERS_TYPE)
    pairs = [(target, rater) for target, by_rater in ratings.items() for rater in by_rater]
    traces = _lists([ratings[target][rater][:frames] for target, rater in pairs], pa.float32())
    names = [pa.array(column, pa.string()) for column in zip(*pairs, strict=True)]
    rows = pa.StructArray.from_arrays([*names, traces], fields=list(RATERS_TYPE.value_type))
    return pa.ListArray.from_arrays(pa.array([0, len(pairs)], pa.int32()), rows)
