"""Reads a corpus: its recordings lie in Arrow files that are mapped, not loaded."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ser_ray.corpus.schema import (
    INDEX,
    MANIFEST,
    PARTITIONS,
    SHARDS,
    Manifest,
    Recording,
    Shard,
    fingerprint,
    read_manifest,
    recordings_of,
    samples_per_frame,
)
from ser_ray.errors import InputError


class Corpus:
    """A corpus on disk, read by memory map.

    Made by `open_corpus`. It may be pickled: the copy maps the shards again when it needs them.

    Args:
        path: its folder.
        manifest: what corpus.json says.
        recordings: all of its index.
    """

    def __init__(self, path: Path, manifest: Manifest, recordings: tuple[Recording, ...]) -> None:
        self.path = path
        self.manifest = manifest
        self._recordings = recordings
        self._readers: dict[str, Any] = {}
        self._arrays: dict[str, tuple[NDArray[np.int16], tuple[NDArray[np.float32] | None, ...]]] = {}

    @property
    def name(self) -> str:
        """What the corpus is called."""
        return self.manifest.name

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.manifest.sample_rate

    @property
    def label_rate(self) -> float:
        """Frames per second."""
        return self.manifest.label_rate

    @property
    def hop(self) -> int:
        """Samples of one frame."""
        return samples_per_frame(self.manifest.label_rate)

    @property
    def targets(self) -> tuple[str, ...]:
        """What is labelled, in the order of the columns of gold."""
        return self.manifest.targets

    @property
    def fingerprint(self) -> str:
        """Hash of the content, the same wherever the corpus lies."""
        return self.manifest.fingerprint

    def recordings(self, partition: str) -> tuple[Recording, ...]:
        """Return the recordings of a partition, in the order of the index.

        Args:
            partition: "train", "devel" or "test".

        Raises:
            InputError: for another name.
        """
        if partition not in PARTITIONS:
            raise InputError(f"partition is {partition!r}, but must be one of {', '.join(PARTITIONS)}")
        return tuple(r for r in self._recordings if r.partition == partition)

    def crop(
        self, recording: Recording, start_frame: int, n_frames: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a stretch of a recording, ready to train on.

        Args:
            recording: of this corpus.
            start_frame: first frame, from 0.
            n_frames: how many frames, at least 1.

        Returns:
            The waveform float32 [n_frames * hop], normalised by the mean and deviation of the whole
            recording, and the gold float32 [n_frames, targets], NaN where labels are absent. Both
            are copies, the caller's own.

        Raises:
            InputError: if the stretch reaches outside the recording.
        """
        if start_frame < 0 or n_frames < 1 or start_frame + n_frames > recording.frames:
            raise InputError(
                f"frames {start_frame} to {start_frame + n_frames} reach outside recording "
                f"{recording.name}, which has {recording.frames} frames"
            )
        stop = start_frame + n_frames
        waveform = self.waveform(recording, start_frame * self.hop, stop * self.hop)
        return waveform, _columns(self._mapped(recording)[1], start_frame, stop)

    def waveform(self, recording: Recording, start: int, stop: int) -> NDArray[np.float32]:
        """Return some samples of a recording, normalised by the mean and deviation of the whole recording.

        Args:
            recording: of this corpus.
            start: first sample, from 0.
            stop: one past the last sample, at most the recording's number of samples.

        Returns:
            float32 [stop - start], a copy; nothing else of the recording is read.
        """
        return normalised(self.audio(recording)[start:stop], recording.mean, recording.std)

    def gold(self, recording: Recording) -> NDArray[np.float32]:
        """Return a recording's gold, float32 [frames, targets], NaN where labels are absent."""
        return _columns(self._mapped(recording)[1], 0, recording.frames)

    def audio(self, recording: Recording) -> NDArray[np.int16]:
        """Return a recording's samples, int16 [samples]: a read-only view of the mapped shard."""
        return self._mapped(recording)[0]

    def ratings(self, recording: Recording) -> dict[str, NDArray[np.float32]]:
        """Return the single raters' traces of a recording, where the corpus has them.

        Args:
            recording: of this corpus.

        Returns:
            Per target float32 [raters, frames]; empty if no ratings are known.
        """
        column = self._reader(recording.shard).get_batch(recording.batch).column("raters")[0]
        traces: dict[str, list[NDArray[np.float32]]] = {}
        for entry in column if column.is_valid else ():
            values = entry["ratings"].values.to_numpy(zero_copy_only=True)
            traces.setdefault(entry["target"].as_py(), []).append(values)
        return {target: np.stack(rows) for target, rows in traces.items()}

    def _mapped(self, recording: Recording) -> tuple[NDArray[np.int16], tuple[NDArray[np.float32] | None, ...]]:
        """Return views of a recording's samples and of its gold per target."""
        if recording.name not in self._arrays:
            batch = self._reader(recording.shard).get_batch(recording.batch)
            audio = batch.column("audio")[0].values.to_numpy(zero_copy_only=True)
            gold = [batch.column(f"gold_{target}")[0] for target in self.targets]
            self._arrays[recording.name] = (
                audio,
                tuple(g.values.to_numpy(zero_copy_only=True) if g.is_valid else None for g in gold),
            )
        return self._arrays[recording.name]

    def _reader(self, shard: str) -> Any:
        if shard not in self._readers:
            entry = next(s for s in self.manifest.shards if s.name == shard)
            check_size(self.path, entry)
            self._readers[shard] = pa.ipc.open_file(pa.memory_map(str(self.path / SHARDS / shard)))
        return self._readers[shard]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind: they belong to this process."""
        return {**self.__dict__, "_readers": {}, "_arrays": {}}


def open_corpus(path: str | Path) -> Corpus:
    """Return the corpus in a folder, without reading its audio.

    Args:
        path: the folder that an import made.

    Returns:
        The corpus; its shards are mapped when first needed.

    Raises:
        InputError: if there is no whole corpus in the folder, or it was altered since it was made.
    """
    folder = Path(path).absolute()
    if not (folder / MANIFEST).is_file():
        raise InputError(_absence(folder))
    manifest = read_manifest(folder / MANIFEST)
    if not (folder / INDEX).is_file():
        raise InputError(f"{folder} lacks {INDEX}: the corpus is not whole, import it again")
    try:
        index = pq.ParquetFile(folder / INDEX).read()
    except pa.ArrowInvalid as error:
        raise InputError(f"{folder / INDEX} cannot be read ({error}): import the corpus again") from error
    recordings = recordings_of(index)
    for shard in manifest.shards:
        check_size(folder, shard)
    found = fingerprint(
        manifest.shards,
        recordings,
        targets=manifest.targets,
        label_rate=manifest.label_rate,
        sample_rate=manifest.sample_rate,
    )
    if found != manifest.fingerprint:
        raise InputError(
            f"{folder}: {MANIFEST} and {INDEX} do not belong together (fingerprint {found}, but "
            f"{manifest.fingerprint} was written): one was altered, import the corpus again"
        )
    return Corpus(folder, manifest, recordings)


def normalised(audio: NDArray[np.int16] | NDArray[np.float32], mean: float, std: float) -> NDArray[np.float32]:
    """Return samples as a network is given them: less their recording's mean, over its deviation.

    Args:
        audio: [samples], any stretch of a recording.
        mean: of the whole recording.
        std: of the whole recording, above 0.

    Returns:
        float32 [samples], a copy; each value depends on its own sample alone.
    """
    waveform = audio.astype(np.float32)
    waveform -= np.float32(mean)
    waveform *= np.float32(1 / std)
    return waveform


def _columns(traces: Sequence[NDArray[np.float32] | None], start: int, stop: int) -> NDArray[np.float32]:
    """Return stretches of traces side by side: [stop - start, traces], NaN where there is none."""
    side_by_side = np.full((stop - start, len(traces)), np.nan, np.float32)
    for column, trace in enumerate(traces):
        if trace is not None:
            side_by_side[:, column] = trace[start:stop]
    return side_by_side


def _absence(folder: Path) -> str:
    """Return the message for a folder without a manifest."""
    if (folder / SHARDS).is_dir() or (folder / INDEX).is_file():
        return (
            f"{folder} is a half-written corpus: it has shards but no {MANIFEST}, which is written "
            "last. Delete it and import again"
        )
    what = "is not a corpus" if folder.is_dir() else "does not exist: no corpus"
    return (
        f"{folder} {what} (a folder with {MANIFEST}). Make one from your recordings with\n"
        f"  ser-ray corpus import table SRC {folder}\n"
        "or a made-up one with\n"
        f"  ser-ray corpus synthetic {folder}"
    )


def check_size(folder: Path, shard: Shard) -> None:
    """Refuse a shard that is absent or has not the length that the manifest says.

    A file cut short under a memory map ends the process without an exception: hence this look.

    Args:
        folder: of the corpus.
        shard: as in the manifest.

    Raises:
        InputError: naming the shard.
    """
    path = folder / SHARDS / shard.name
    if not path.is_file():
        raise InputError(f"shard {path} is missing, but {MANIFEST} lists it: import the corpus again")
    size = path.stat().st_size
    if size != shard.size_bytes:
        raise InputError(
            f"shard {path} has {size} bytes, but {MANIFEST} says {shard.size_bytes}: it was cut "
            "short or altered; copy it again or import the corpus again"
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
