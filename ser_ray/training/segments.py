"""Segments of recordings and batches of segments. Segments never cross recordings."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from ser_ray.corpus import Corpus, Recording
from ser_ray.training.config import TrainingConfig

_PLACES = 1
"""Separates the random draw of the segments' positions from that of their order, which uses only seed and epoch."""


@dataclass(frozen=True)
class Segment:
    """A stretch of one recording that is one training sequence; at most the sequence length."""

    recording: Recording
    start_frame: int
    frames: int


@dataclass(frozen=True)
class Batch:
    """Segments as tensors.

    Args:
        waveform: zero after a segment's end.
        gold: labels moved earlier by the label shift; NaN where masked.
        mask: True where a frame has a label.
    """

    waveform: Float32[Tensor, "batch samples"]
    gold: Float32[Tensor, "batch frames targets"]
    mask: Bool[Tensor, "batch frames"]


def recordings_of(corpus: Corpus, partition: str, config: TrainingConfig) -> tuple[Recording, ...]:
    """Select the recordings of a partition within the limits of a training, in the corpus's order."""
    recordings = corpus.recordings(partition)[: config.limit_recordings]
    if config.limit_s is None:
        return recordings
    most = max(1, int(config.limit_s * corpus.label_rate))
    return tuple(
        dataclasses.replace(
            recording, frames=min(most, recording.frames), samples=min(most * corpus.hop, recording.samples)
        )
        for recording in recordings
    )


def cut_segments(recordings: Sequence[Recording], sequence_frames: int) -> list[Segment]:
    """Cut recordings into segments on a fixed grid: every frame once; a recording's last segment may be shorter."""
    return [
        Segment(recording, start, min(sequence_frames, recording.frames - start))
        for recording in recordings
        for start in range(0, recording.frames, sequence_frames)
    ]


def draw_segments(grid: Sequence[Segment], sequence_frames: int, seed: int, epoch: int) -> list[Segment]:
    """Draw the segments of an epoch (counted from 1) at positions that only seed and epoch determine.

    Each segment of the grid is replaced by one of the same recording, whose first frame is drawn uniformly from those
    where a whole segment fits. A recording that is shorter keeps the segment of the grid.
    """
    latest = [max(0, segment.recording.frames - sequence_frames) for segment in grid]
    starts = np.random.default_rng([seed, epoch, _PLACES]).integers(0, latest, endpoint=True)
    return [
        Segment(segment.recording, int(start), min(sequence_frames, segment.recording.frames))
        for segment, start in zip(grid, starts, strict=True)
    ]


def segments_of_epoch(
    grid: Sequence[Segment], sequence_frames: int, config: TrainingConfig, epoch: int
) -> list[Segment]:
    """Return the segments that an epoch (counted from 1) trains on, in the grid's order and number."""
    if config.segments == "grid":
        return list(grid)
    return draw_segments(grid, sequence_frames, config.seed, epoch)


def shuffled_batches(segments: Sequence[Segment], batch_size: int, seed: int, epoch: int) -> Iterator[list[Segment]]:
    """Yield the batches of an epoch: all segments once, in an order that only seed and epoch determine.

    The last batch may have fewer than batch_size.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(segments))
    for start in range(0, len(order), batch_size):
        yield [segments[i] for i in order[start : start + batch_size]]


class MappedBatches:
    """Makes batches [B, sequence_frames] from the corpus's memory map.

    Labels are moved earlier: frame t is trained on the label of each target at t + its shift. `target_columns` are the
    corpus's targets that the model predicts.
    """

    def __init__(
        self,
        corpus: Corpus,
        sequence_frames: int,
        shift_frames: Sequence[int],
        target_columns: Sequence[int],
        device: torch.device,
    ) -> None:
        self._corpus, self._device = corpus, device
        self._frames, self._shifts, self._columns = sequence_frames, list(shift_frames), list(target_columns)

    def batch(self, segments: Sequence[Segment]) -> Batch:
        """Make one batch of segments on the device, with short ones padded.

        Frames are masked without a label, past the segment's end, or if the shifted label is past the recording's end.
        """
        corpus, frames, furthest = self._corpus, self._frames, max(self._shifts)
        waveform = torch.zeros(len(segments), frames * corpus.hop)
        gold = torch.full((len(segments), frames, len(self._columns)), float("nan"))
        for row, segment in enumerate(segments):
            ahead = min(segment.frames + furthest, segment.recording.frames - segment.start_frame)
            audio, labels = corpus.crop(segment.recording, segment.start_frame, ahead)
            audio = audio[: segment.frames * corpus.hop]
            waveform[row, : audio.size] = torch.from_numpy(audio)
            for target, (column, shift) in enumerate(zip(self._columns, self._shifts, strict=True)):
                own = labels[shift : shift + segment.frames, column]
                gold[row, : len(own), target] = torch.from_numpy(own)
        mask = gold.isfinite().all(dim=-1)
        return Batch(waveform.to(self._device), gold.to(self._device), mask.to(self._device))
