"""A front end that prepares what the network is given: a block or filterbank, compression, normalisation."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Float64, Shaped
from torch import Tensor, nn

from ser_ray.models.config import SAMPLES_PER_MS, Backend, ModelConfig
from ser_ray.models.dropout import Dropout, drop
from ser_ray.models.front_ends.compression import LogCompression, Pcen
from ser_ray.models.front_ends.filterbank import Filterbank
from ser_ray.models.front_ends.normalization import (
    RecordingMoments,
    normalize_by,
    normalize_running,
    normalize_segment,
    sounding,
)
from ser_ray.models.layers import Block

Read = Callable[[int, int], Tensor]
"""Reads the samples [B, stop - start] from a start to a stop."""
KEPT_VALUES = 16_000_000
"""Of a recording's compressed output, 64 MB in float32."""


class FrontEnd(nn.Module):
    """Analysis, compression, normalisation and dropout: [B, samples] -> [B, samples / hop, channels].

    It computes in full precision, also inside autocast: energies span more than bfloat16 tells apart.
    """

    def __init__(self, config: ModelConfig, backend: Backend) -> None:
        super().__init__()
        self.normalization = config.normalization
        (kernel, self.hop), *_ = config.layers
        self.analysis: Block | Filterbank
        if config.front_end == "filterbank":
            channels = config.filters
            rate_hz = 1000 * SAMPLES_PER_MS
            self.analysis = Filterbank(
                channels, config.filter_samples, config.filter_hop, rate_hz, config.filter_start, config.energy_steps
            )
            self.analysis.weight.requires_grad_(config.filter_rate > 0)
        else:
            channels = config.channels[0]
            self.analysis = Block(1, channels, kernel=kernel, pool=self.hop, pooling=config.pooling, backend=backend)
        self.compression: LogCompression | Pcen | None = None
        if config.compression == "log":
            self.compression = LogCompression()
        elif config.compression == "pcen":
            self.compression = Pcen(channels)

    def forward(
        self,
        waveform: Float[Tensor, "batch samples"],
        counted: Bool[Tensor, "batch steps"] | None = None,
        dropout: Dropout | None = None,
        statistics: Float64[Tensor, "batch 2 channels"] | None = None,
    ) -> Float[Tensor, "batch steps channels"]:
        """Compute the output for whole segments; steps that are not counted have no share in statistics.

        A normalisation over the recording takes `statistics`, of each row's recording, or the segment's own for None.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            x, _ = self.compress(self.analysis(waveform[..., None]))
            if self.normalization == "none":
                return drop(x, dropout)
            if statistics is not None:
                return drop(normalize_by(x, statistics, deviation=self.normalization == "recording"), dropout)
            heard = sounding(waveform, self.hop)
            heard = heard if counted is None else heard & counted
            if self.normalization == "running":
                x, _ = normalize_running(x, heard)
            else:
                x = normalize_segment(x, heard, deviation=self.normalization == "recording")
            return drop(x, dropout)

    def compress(
        self, x: Float[Tensor, "batch steps channels"], state: Float[Tensor, "batch channels"] | None = None
    ) -> tuple[Float[Tensor, "batch steps channels"], Float[Tensor, "batch channels"] | None]:
        """Compress the analysis; `state` is PCEN's after the step before. Returns the state after the last one, too."""
        if isinstance(self.compression, Pcen):
            return self.compression.forward(x, state)
        return x if self.compression is None else self.compression.forward(x), None


class FrontEndReader:
    """The output of a front end over one recording of `steps` steps, read in consecutive blocks, without dropout.

    If the normalisation is over the recording, its statistics are computed first, in a pass of their own. That pass
    keeps its first values, up to `kept_values`: by default about an hour of 40 channels.
    """

    def __init__(
        self, front_end: FrontEnd, read: Read, steps: int, block_steps: int, kept_values: int = KEPT_VALUES
    ) -> None:
        self._front_end, self._read, self._steps = front_end, read, steps
        self._state: Shaped[Tensor, "1 channels"] | None = None
        self._running: Tensor | None = None
        self.statistics: Float64[Tensor, "1 2 channels"] | None = None
        self._kept: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        kept = 0
        if front_end.normalization in ("recording", "recording_mean"):
            moments = RecordingMoments()
            for start in range(0, steps, block_steps):
                x, heard = self._compressed(start, min(start + block_steps, steps))
                moments.add(x, heard)
                kept += x.numel()
                if kept <= kept_values:
                    self._kept[start] = x, heard, self._state
            self.statistics, self._state = moments.statistics()[None], None

    def block(self, start: int, stop: int) -> Float[Tensor, "1 steps channels"]:
        """Compute the next block; the first begins at 0, each other one where the one before ended."""
        if start in self._kept:
            x, heard, self._state = self._kept.pop(start)
        else:
            x, heard = self._compressed(start, stop)
        if self._front_end.normalization == "running":
            x, self._running = normalize_running(x, heard, self._running)
        elif self.statistics is not None:
            x = normalize_by(x, self.statistics, deviation=self._front_end.normalization == "recording")
        return x

    def _compressed(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Compute a block before normalisation, and which of its steps count."""
        front_end, hop = self._front_end, self._front_end.hop
        first = start * hop - front_end.analysis.pad_left
        last = stop * hop + front_end.analysis.pad_right
        samples = self._steps * hop
        begin = max(first, 0)
        waveform = self._read(begin, min(last, samples))
        with torch.autocast(waveform.device.type, enabled=False):
            x = front_end.analysis(waveform[..., None], padding=(max(-first, 0), max(last - samples, 0)))
            x, self._state = front_end.compress(x, self._state)
        return x, sounding(waveform[:, start * hop - begin : stop * hop - begin], hop)
