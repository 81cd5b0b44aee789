"""Read a corpus, whose recordings are in memory-mapped Arrow files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int16
from numpy.typing import NDArray

from ser_ray.corpus.store.manifest import (
    AlteredError,
    altered,
    check_size,
    missing_corpus,
    read_manifest,
    reading_file,
)
from ser_ray.corpus.store.schema import (
    INDEX,
    MANIFEST,
    PARTITIONS,
    SHARDS,
    Manifest,
    Recording,
    check_index,
    index_fingerprint,
    index_recordings,
    samples_per_frame,
)
from ser_ray.corpus.store.shards import ShardMap
from ser_ray.errors import InputError

MOST_MAPPED = 64
"""Most shards of which a process keeps the map; each takes one open file."""
MOST_VIEWED = 128
"""Most recordings of which a process keeps the views of a shard, and with them its map."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Place:
    """Views of a recording: its shard's map, its samples, and per target its gold or None."""

    shard: ShardMap
    audio: NDArray[np.int16]
    gold: tuple[NDArray[np.float32] | None, ...]


class Corpus:
    """A corpus on disk, read through memory maps; created by `open_corpus`.

    Its pickle is small: an unpickled copy reads the index and maps the shards when it needs them.

    Attributes:
        path: its folder.
        manifest: contents of corpus.json, of which the others are copies.
        name: of the corpus.
        sample_rate: samples per second.
        label_rate: frames per second.
        hop: samples per frame.
        targets: names of the targets, in the order of the columns of gold.
        fingerprint: hash of the content, independent of the corpus's place.
    """

    def __init__(self, path: Path, manifest: Manifest, index: pa.Table | None) -> None:
        self.path, self.manifest, self._index = path, manifest, index
        self.name, self.targets, self.fingerprint = manifest.name, manifest.targets, manifest.fingerprint
        self.sample_rate, self.label_rate = manifest.sample_rate, manifest.label_rate
        self.hop = samples_per_frame(manifest.label_rate)
        self._shards = {shard.name: shard for shard in manifest.shards}
        self._recordings: dict[str, tuple[Recording, ...]] = {}
        self._maps: dict[str, ShardMap] = {}
        self._places: dict[str, _Place] = {}
        self._samples: dict[str, int] = {}

    def recordings(self, partition: str) -> tuple[Recording, ...]:
        """Return the recordings of "train", "devel" or "test", in the order of the index.

        Raises:
            InputError: for another name.
        """
        if partition not in PARTITIONS:
            raise InputError(f"partition is {partition!r}, but must be one of {', '.join(PARTITIONS)}")
        if not self._recordings:
            if self._index is None:
                self._index = read_index(self.path, self.manifest)
            everyone = index_recordings(self._index)
            self._recordings = {name: tuple(r for r in everyone if r.partition == name) for name in PARTITIONS}
        return self._recordings[partition]

    def at(self, path: Path) -> "Corpus":
        """Return this corpus, reading from the folder of a copy; only the copy's manifest is read now.

        Raises:
            InputError: if the folder contains no corpus, or another one.
        """
        found = read_manifest(path / MANIFEST).fingerprint
        if found != self.fingerprint:
            raise InputError(
                f"{path} contains another corpus (fingerprint {found}) than {self.path} ({self.fingerprint})"
            )
        return Corpus(path, self.manifest, self._index)

    def crop(
        self, recording: Recording, start_frame: int, n_frames: int
    ) -> tuple[Float32[NDArray[np.float32], " samples"], Float32[NDArray[np.float32], "{n_frames} targets"]]:
        """Return waveform and gold standard of a stretch of a recording, ready to train on.

        The waveform is n_frames * hop samples, normalised by the mean and standard deviation of the whole recording;
        the gold is NaN where labels are absent. Both are copies.

        Raises:
            InputError: if the stretch exceeds the recording, or is empty.
        """
        if start_frame < 0 or n_frames < 1 or start_frame + n_frames > recording.frames:
            raise InputError(
                f"frames {start_frame} to {start_frame + n_frames} are outside recording {recording.name}, which has "
                f"{recording.frames} frames"
            )
        stop = start_frame + n_frames
        waveform = self.waveform(recording, start_frame * self.hop, stop * self.hop)
        return waveform, self.gold(recording, start_frame, stop)

    def waveform(self, recording: Recording, start: int, stop: int) -> Float32[NDArray[np.float32], " samples"]:
        """Return samples `start` to `stop` normalised by mean and standard deviation of the whole recording: a copy.

        Only these samples are read.
        """
        place = self._place(recording)
        audio = place.audio[start:stop]
        place.shard.announce(audio)
        return normalised(audio, recording.mean, recording.std)

    def gold(
        self, recording: Recording, start: int = 0, stop: int | None = None
    ) -> Float32[NDArray[np.float32], "frames targets"]:
        """Return a recording's gold standard, or that of its frames `start` to `stop`: a copy, NaN without labels."""
        stop = recording.frames if stop is None else stop
        gold, place = np.full((stop - start, len(self.targets)), np.nan, np.float32), self._place(recording)
        for column, trace in enumerate(place.gold):
            if trace is not None:
                place.shard.announce(trace[start:stop])
                gold[:, column] = trace[start:stop]
        return gold

    def audio(self, recording: Recording) -> Int16[NDArray[np.int16], " samples"]:
        """Return a recording's samples: a read-only view of the mapped shard."""
        place = self._place(recording)
        place.shard.announce(place.audio)
        return place.audio

    def ratings(self, recording: Recording) -> dict[str, Float32[NDArray[np.float32], "_ frames"]]:
        """Return the single raters' traces [raters, frames] per target; empty if no ratings are known."""
        shard = self._map(recording.shard)
        column = shard.raters(recording.batch)
        traces: dict[str, list[NDArray[np.float32]]] = {}
        for entry in column if column.is_valid else ():
            values = entry["ratings"].values.to_numpy(zero_copy_only=True)
            shard.announce(values)
            traces.setdefault(entry["target"].as_py(), []).append(values)
        return {target: np.stack(rows) for target, rows in traces.items()}

    def _place(self, recording: Recording) -> _Place:
        if recording.name in self._places:
            return _used(self._places, recording.name, MOST_VIEWED)
        shard = self._map(recording.shard)
        batch = shard.batch(recording.batch)
        audio = batch.column("audio")[0].values.to_numpy(zero_copy_only=True)
        gold = [batch.column(f"gold_{target}")[0] for target in self.targets]
        traces = tuple(g.values.to_numpy(zero_copy_only=True) if g.is_valid else None for g in gold)
        lengths = {audio.size, *(trace.size * self.hop for trace in traces if trace is not None)}
        if lengths != {recording.samples} and lengths != {whole := self._whole_samples(recording)}:
            said = " and ".join(f"{length} samples" for length in sorted(lengths - {whole}))
            raise InputError(
                f"shard {shard.path} has {said} in batch {recording.batch}, but {INDEX} says that recording "
                f"{recording.name} has {whole}: copy it again or import the corpus again"
            )
        self._places[recording.name] = _Place(shard, audio, traces)
        return _used(self._places, recording.name, MOST_VIEWED)

    def _whole_samples(self, recording: Recording) -> int:
        """Return a recording's number of samples in the index; a trial may use only its first seconds."""
        if not self._samples:
            self._samples = {one.name: one.samples for part in PARTITIONS for one in self.recordings(part)}
        return self._samples.get(recording.name, recording.samples)

    def _map(self, shard: str) -> ShardMap:
        if shard not in self._maps:
            if shard not in self._shards:
                raise InputError(f"{self.path / INDEX} names shard {shard!r}, which {MANIFEST} does not list")
            check_size(self.path, self._shards[shard])
            self._maps[shard] = ShardMap(self.path / SHARDS / shard, self.targets)
        return _used(self._maps, shard, MOST_MAPPED)

    def __reduce__(self) -> tuple[Any, ...]:
        """Drop what belongs to this process, and what the copy can read again."""
        return Corpus, (self.path, self.manifest, None)


def open_corpus(path: str | Path) -> Corpus:
    """Open the corpus in a folder, without reading its audio.

    >>> import tempfile
    >>> from ser_ray.corpus.synthetic.generate import make_synthetic
    >>> folder = tempfile.TemporaryDirectory()
    >>> made = make_synthetic(f"{folder.name}/tiny", recordings=(1, 1, 0), seconds=2)
    >>> corpus = open_corpus(made)
    >>> recording = corpus.recordings("devel")[0]
    >>> waveform, gold = corpus.crop(recording, start_frame=10, n_frames=25)
    >>> recording.frames, corpus.targets, waveform.shape, gold.shape
    (50, ('arousal', 'valence'), (16000,), (25, 2))
    >>> folder.cleanup()

    Raises:
        InputError: if the folder contains no complete corpus, or the corpus was altered.
    """
    folder = Path(path).absolute()
    if not (folder / MANIFEST).is_file():
        raise InputError(missing_corpus(folder))
    manifest = read_manifest(folder / MANIFEST)
    index = read_index(folder, manifest)
    for shard in manifest.shards:
        check_size(folder, shard)
    return Corpus(folder, manifest, index)


def normalised(
    audio: Int16[NDArray[np.int16], " samples"] | Float32[NDArray[np.float32], " samples"], mean: float, std: float
) -> Float32[NDArray[np.float32], " samples"]:
    """Normalise samples for the network: subtract the recording's mean and divide by its standard deviation.

    The result is a copy; each value depends only on its own sample.
    """
    waveform = audio.astype(np.float32)
    waveform -= np.float32(mean)
    waveform *= np.float32(1 / std)
    return waveform


def _used(kept: dict[str, Value], key: str, most: int) -> Value:
    """Return a kept value, from now on the most recently used; beyond `most`, drop the least recently used."""
    value = kept[key] = kept.pop(key)  # a dict keeps the order of insertion
    while len(kept) > most:
        del kept[next(iter(kept))]
    return value


def read_index(folder: Path, manifest: Manifest) -> pa.Table:
    """Read the index of a corpus.

    Its bytes are compared with the manifest's hash before they are parsed.

    Raises:
        InputError: if it is missing, cannot be read, or was altered.
    """
    path = folder / INDEX
    if not path.is_file():
        raise InputError(f"{folder} lacks {INDEX}: the corpus is incomplete; import it again")
    with reading_file(str(path)), pa.OSFile(str(path)) as file:
        # in Arrow's own memory: an Arrow thread that releases Python's memory at exit would abort the process
        content = file.read_buffer()
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.index_sha256:
        raise altered(path, found, manifest.index_sha256)
    with reading_file(str(path)):
        index = pq.ParquetFile(pa.BufferReader(content)).read()
        index.validate(full=True)
    try:
        check_index(index)
    except InputError as error:
        raise InputError(f"{folder}/{error}") from error
    found = index_fingerprint(
        manifest.shards,
        index,
        targets=manifest.targets,
        label_rate=manifest.label_rate,
        sample_rate=manifest.sample_rate,
    )
    if found != manifest.fingerprint:
        raise AlteredError(
            f"{folder}: {MANIFEST} and {INDEX} do not match (the contents have fingerprint {found}, but {MANIFEST} "
            f"says {manifest.fingerprint}): one was altered; import the corpus again"
        )
    return index
