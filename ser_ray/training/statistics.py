"""Statistics of whole train recordings, by which segments are normalised as recordings are when predicting."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from ser_ray.corpus import Corpus, Recording
from ser_ray.models.network import Network
from ser_ray.training.segments import Segment


class RecordingStatistics:
    """Mean and deviation of the front end's channels over each recording, with the weights at the start of an epoch.

    `values` are None until they are computed, and wherever a model's segments are normalised by their own statistics.
    """

    def __init__(self, model: Network, corpus: Corpus, recordings: Sequence[Recording]) -> None:
        self.values: Float64[Tensor, "recordings 2 channels"] | None = None
        self._model, self._corpus, self._recordings = model, corpus, recordings
        self._rows = {recording.name: row for row, recording in enumerate(recordings)}

    @torch.no_grad()
    def begin_epoch(self, on_recording: Callable[[], None]) -> None:
        """Compute the statistics, unless a checkpoint within the epoch had them."""
        if self._model.config.statistics != "recording" or self.values is not None:
            return
        rows = []
        for recording in self._recordings:
            rows.append(self._model.recording_statistics(partial(self._read, recording), recording.frames))
            on_recording()
        self.values = torch.stack(rows)

    def end_epoch(self) -> None:
        """Forget the statistics: the weights have changed."""
        self.values = None

    def of(self, segments: Sequence[Segment]) -> Float64[Tensor, "batch 2 channels"] | None:
        """Return the statistics of each segment's recording; None where a segment is normalised by its own."""
        if self.values is None:
            return None
        rows = [self._rows[segment.recording.name] for segment in segments]
        return self.values.index_select(0, torch.tensor(rows, device=self.values.device))

    def fits(self, stored: object, *, begun: bool) -> bool:
        """Check whether a checkpoint has such statistics where its epoch has begun with them, and else None."""
        if stored is None:
            return not begun or self._model.config.statistics != "recording"
        shape = len(self._recordings), 2, self._model.config.front_end_channels
        if not isinstance(stored, Tensor) or stored.shape != shape or stored.dtype != torch.float64:
            return False
        return self._model.config.statistics == "recording" and bool(stored.isfinite().all())

    def _read(self, recording: Recording, start: int, stop: int) -> Tensor:
        device = self._model.head.weight.device
        return torch.from_numpy(self._corpus.waveform(recording, start, stop))[None].to(device)
