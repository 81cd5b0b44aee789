"""Segments of recordings and the batches that are made of them. Segments never cross recordings."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ser_ray.corpus import Corpus, Recording
from ser_ray.training.config import TrainingConfig

_PLACES = 1
"""Tells the draw of the segments' places from that of their order, which has seed and epoch alone."""


@dataclass(frozen=True)
class Segment:
    """A stretch of one recording that training sees as one sequence.

    Args:
        recording: where it comes from.
        start_frame: its first frame.
        frames: how many frames of the recording it holds, at most the sequence length.
    """

    recording: Recording
    start_frame: int
    frames: int


@dataclass(frozen=True)
class Batch:
    """Segments as tensors.

    Args:
        waveform: float32 [B, T hop], zero after a segment's end.
        gold: float32 [B, T, targets], labels moved earlier by the label shift.
        mask: bool [B, T], True where a frame has a label.
    """

    waveform: Tensor
    gold: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(self.waveform.to(device), self.gold.to(device), self.mask.to(device))


def recordings_of(corpus: Corpus, partition: str, config: TrainingConfig) -> tuple[Recording, ...]:
    """Return the recordings of a partition that a training uses.

    Args:
        corpus: the corpus.
        partition: "train", "devel" or "test".
        config: its limit_recordings and limit_s say how much of the corpus is used.

    Returns:
        The recordings in the corpus's order, cut to the limit.
    """
    recordings = corpus.recordings(partition)[: config.limit_recordings]
    if config.limit_s is None:
        return recordings
    most = max(1, int(config.limit_s * corpus.label_rate))
    return tuple(
        dataclasses.replace(
            recording,
            frames=min(most, recording.frames),
            samples=min(most * corpus.hop, recording.samples),
        )
        for recording in recordings
    )


def cut_segments(recordings: Sequence[Recording], sequence_frames: int) -> list[Segment]:
    """Return the segments of recordings on a fixed grid.

    Args:
        recordings: of the train partition.
        sequence_frames: length of a segment.

    Returns:
        Segments that cover every frame once; a recording's last one may be shorter.
    """
    return [
        Segment(recording, start, min(sequence_frames, recording.frames - start))
        for recording in recordings
        for start in range(0, recording.frames, sequence_frames)
    ]


def draw_segments(grid: Sequence[Segment], sequence_frames: int, seed: int, epoch: int) -> list[Segment]:
    """Return the segments of one epoch at places that only seed and epoch determine.

    Args:
        grid: of `cut_segments`.
        sequence_frames: length of a segment.
        seed: of the trial.
        epoch: counted from 1.

    Returns:
        For each segment of the grid one of the same recording, which begins at a frame drawn uniformly from those
        where a whole segment fits; of a recording shorter than that, the grid's.
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
    """Return what an epoch trains on, in the grid's order.

    Args:
        grid: of `cut_segments`.
        sequence_frames: length of a segment.
        config: its segments and seed.
        epoch: counted from 1.

    Returns:
        As many segments as the grid has.
    """
    if config.segments == "grid":
        return list(grid)
    return draw_segments(grid, sequence_frames, config.seed, epoch)


def shuffled_batches(segments: Sequence[Segment], batch_size: int, seed: int, epoch: int) -> Iterator[list[Segment]]:
    """Yield the batches of one epoch: all segments once, in an order that only seed and epoch determine.

    Args:
        segments: all segments.
        batch_size: segments in a batch; the last batch may hold fewer.
        seed: of the trial.
        epoch: counted from 1.

    Yields:
        Lists of segments.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(segments))
    for start in range(0, len(order), batch_size):
        yield [segments[i] for i in order[start : start + batch_size]]


class MappedBatches:
    """Makes batches from the corpus's memory map.

    Args:
        corpus: where the segments lie.
        sequence_frames: T, the length of a batch.
        shift_frames: how far labels are moved earlier.
        target_columns: the corpus's targets that the model predicts, as columns.
        device: where the batches are to be.
    """

    def __init__(
        self,
        corpus: Corpus,
        sequence_frames: int,
        shift_frames: int,
        target_columns: Sequence[int],
        device: torch.device,
    ) -> None:
        self._corpus, self._device = corpus, device
        self._shape = sequence_frames, shift_frames, target_columns

    def batch(self, segments: Sequence[Segment]) -> Batch:
        """Return segments as one batch on the device, see `make_batch`."""
        return make_batch(self._corpus, segments, *self._shape).to(self._device)


def make_batch(
    corpus: Corpus,
    segments: Sequence[Segment],
    sequence_frames: int,
    shift_frames: int,
    target_columns: Sequence[int],
) -> Batch:
    """Return segments as one batch, short ones padded and masked.

    Args:
        corpus: where the segments lie.
        segments: B of them.
        sequence_frames: T, the length of the batch.
        shift_frames: how far labels are moved earlier: frame t is trained on the label at t + shift.
        target_columns: the corpus's targets that the model predicts, as columns.

    Returns:
        The batch; a frame without a label, past the segment's end, or whose shifted label lies past the recording's
        end is masked.
    """
    waveform = torch.zeros(len(segments), sequence_frames * corpus.hop)
    gold = torch.full((len(segments), sequence_frames, len(target_columns)), float("nan"))
    for row, segment in enumerate(segments):
        ahead = min(segment.frames + shift_frames, segment.recording.frames - segment.start_frame)
        audio, labels = corpus.crop(segment.recording, segment.start_frame, ahead)
        audio, labels = (
            audio[: segment.frames * corpus.hop],
            labels[shift_frames : shift_frames + segment.frames],
        )
        waveform[row, : audio.size] = torch.from_numpy(audio)
        gold[row, : len(labels)] = torch.from_numpy(labels[:, list(target_columns)])
    return Batch(waveform, gold, gold.isfinite().all(dim=-1))
