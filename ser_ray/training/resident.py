"""The train partition in a GPU's memory, if it fits: batches are made there; only positions and lengths are copied."""

from collections.abc import Sequence

import numpy as np
import torch

from ser_ray.corpus import Corpus, Recording
from ser_ray.training.segments import Batch, Segment

LARGEST_SHARE = 0.1
"""Share of the memory that a trial may still take: the buffers of a step need most of it."""


def free_bytes(device: torch.device) -> int:
    """Return the bytes of GPU memory that this process may still take; 0 for a CPU, which reads the memory map as fast.

    These are the free bytes, but no more than the rest of this process's share of the whole: other processes on the GPU
    may not have taken their share yet.
    """
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.get_per_process_memory_fraction(device) * total - torch.cuda.memory_reserved(device)
    return max(0, min(free, int(own)))


def resident_bytes(recordings: Sequence[Recording], hop: int, targets: int) -> int:
    """Compute the bytes that `ResidentBatches` keeps on its device for all recordings that segments are cut from."""
    audio, gold = np.dtype(np.int16).itemsize * hop, np.dtype(np.float32).itemsize * targets
    return sum(recording.frames for recording in recordings) * (audio + gold)


def stays_resident(size_bytes: int, free: int) -> bool:
    """Decide whether a train partition is kept on a device, given its size and the free bytes."""
    return size_bytes <= LARGEST_SHARE * free


class ResidentBatches:
    """Makes batches on a device from recordings kept there; they equal those of `MappedBatches` bit for bit.

    Recordings are concatenated, frame by frame. Arguments as in `MappedBatches`; segments are cut from `recordings`.
    """

    def __init__(
        self,
        corpus: Corpus,
        recordings: Sequence[Recording],
        sequence_frames: int,
        shift_frames: Sequence[int],
        target_columns: Sequence[int],
        device: torch.device,
    ) -> None:
        self._frames = sequence_frames
        self._shifts = torch.tensor(list(shift_frames), device=device)
        self._numbers = {recording.name: number for number, recording in enumerate(recordings)}
        self._ends = np.cumsum([recording.frames for recording in recordings]).tolist()
        self._mean = torch.tensor([r.mean for r in recordings], dtype=torch.float32, device=device)
        self._scale = torch.tensor([1 / r.std for r in recordings], dtype=torch.float32, device=device)
        self._audio = torch.empty(self._ends[-1], corpus.hop, dtype=torch.int16, device=device)
        self._gold = torch.empty(self._ends[-1], len(target_columns), device=device)
        for recording, end in zip(recordings, self._ends, strict=True):
            own = slice(end - recording.frames, end)
            audio = corpus.audio(recording)[: recording.frames * corpus.hop]
            self._audio[own] = torch.from_numpy(audio.reshape(-1, corpus.hop).copy())
            self._gold[own] = torch.from_numpy(corpus.gold(recording)[:, list(target_columns)])

    def batch(self, segments: Sequence[Segment]) -> Batch:
        """Make one batch of segments, padded and masked as by `MappedBatches`."""
        device = self._audio.device
        numbers = [self._numbers[segment.recording.name] for segment in segments]
        ends = [self._ends[number] for number in numbers]
        starts = [end - s.recording.frames + s.start_frame for s, end in zip(segments, ends, strict=True)]
        lengths = [segment.frames for segment in segments]
        number, end, start, length = torch.tensor([numbers, ends, starts, lengths], device=device)[:, :, None]  # [B, 1]
        step = torch.arange(self._frames, device=device)
        frame, last = start + step, self._ends[-1] - 1  # [B, T]; those past the end are not used
        waveform = self._audio[frame.clamp(max=last)].to(torch.float32)  # [B, T, hop]
        waveform -= self._mean[number, None]
        waveform *= self._scale[number, None]
        waveform.masked_fill_((step >= length)[..., None], 0)
        labelled = frame[..., None] + self._shifts  # [B, T, targets]
        gold = self._gold.gather(0, labelled.clamp(max=last).flatten(0, 1)).view(labelled.shape)
        gold.masked_fill_((step >= length)[..., None] | (labelled >= end[..., None]), float("nan"))
        return Batch(waveform.flatten(1), gold, gold.isfinite().all(dim=-1))
