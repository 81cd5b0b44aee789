"""The networks in plain PyTorch: front end, convolutional blocks, temporal part, one linear head.

The paper's network: Tzirakis et al. 2018, Section 3.1 and Fig. 1. What the paper leaves open follows its authors'
published code: 'same' padding, dropout only after the pools, a linear head without squashing, both targets at once, and
a CNN that runs over the whole sequence, not frame by frame. The LSTM's peepholes and clipping, which the paper does not
mention, are left out.
"""

import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Shaped
from torch import Tensor, nn

from ser_ray.errors import InputError
from ser_ray.models.config import Backend, ModelConfig
from ser_ray.models.conv_pool import choose, reference
from ser_ray.models.dropout import Draw, Dropout
from ser_ray.models.front_ends.front_end import FrontEnd, FrontEndReader, Read
from ser_ray.models.layers import Average, Block, Layer
from ser_ray.models.streaming import BLOCK_FRAMES, Steps, layered
from ser_ray.models.tcn import tcn_layers

LstmState = tuple[Tensor, Tensor]


@runtime_checkable
class Features(Protocol):
    """The input of the recurrent part over one recording, read from its start to its end."""

    def between(self, start: int, stop: int) -> Float[Tensor, "1 {stop-start} channels"]:
        """Return the frames from a start, which never goes back, to a stop."""


def build(config: ModelConfig, backend: Backend = "auto") -> "Network":
    """Build a network in train mode, with weights drawn from PyTorch's global generator.

    It maps waveforms [B, samples] to predictions [B, samples / hop, targets]. The back end of its blocks is "reference"
    (plain PyTorch), "fused" (one operation per block) or "auto" (the fastest back end on the device of the input).
    """
    return Network(config, backend)


class Network(nn.Module):
    """Front end, convolutional blocks, temporal part and a linear head; see `build`."""

    def __init__(self, config: ModelConfig, backend: Backend = "auto"):
        super().__init__()
        self.config, self.backend = config, backend
        self.front = FrontEnd(config, backend) if config.prepares else None
        # the first block is the front end's where there is more to it than the block
        own = 1 if self.front is not None and config.front_end == "conv" else 0
        first = config.filters if config.front_end == "filterbank" else 1
        widths = (first, *config.channels)
        self.blocks = nn.ModuleList(
            Block(widths[i], widths[i + 1], kernel=kernel, pool=pool, pooling=config.pooling, backend=backend)
            for i, (kernel, pool) in enumerate(zip(config.kernels, config.pools, strict=True))
            if i >= own
        )
        outputs = config.hidden
        self.tcn = nn.ModuleList()
        self.lstm: nn.LSTM | None = None
        if config.temporal == "tcn":
            self.tcn.extend(
                tcn_layers(config.features, config.hidden, config.tcn_kernel, config.dilations, causal=config.causal)
            )
        else:
            both = config.temporal == "bilstm"
            outputs *= 2 if both else 1
            self.lstm = nn.LSTM(
                config.features, config.hidden, config.lstm_layers, batch_first=True, bidirectional=both
            )
        self.head = nn.Linear(outputs, len(config.targets))

    def forward(
        self,
        waveform: Shaped[Tensor, "batch samples"],
        draw: Draw | None = None,
        mask: Bool[Tensor, "batch frames"] | None = None,
        statistics: Float64[Tensor, "batch 2 filters"] | None = None,
    ) -> Float[Tensor, "batch frames targets"]:
        """Predict samples / hop frames for each waveform, with the LSTM's state starting at zero.

        In train mode, `draw` determines the dropout masks (None lets PyTorch's global generator choose). A
        normalisation over the recording is by `statistics`, those of each row's recording (see
        `recording_statistics`), or for None by the segment's, in which frames where `mask` is False have no share.
        Raises InputError if the samples are no whole number of frames.
        """
        predictions, _ = self.recur(self.features(waveform, draw, mask, statistics))
        return predictions

    def features(
        self,
        waveform: Shaped[Tensor, "batch samples"],
        draw: Draw | None = None,
        mask: Bool[Tensor, "batch frames"] | None = None,
        statistics: Float64[Tensor, "batch 2 filters"] | None = None,
    ) -> Float[Tensor, "batch frames channels"]:
        """Compute the input of the recurrent part: the output of the convolutional part, a TCN included."""
        hop, samples = self.config.hop, waveform.shape[-1]
        if samples % hop:
            raise InputError(
                f"{samples} samples are no whole number of frames of {hop} samples "
                f"({self.config.design}, average {self.config.average}); cut or pad the waveform"
            )
        x = waveform.to(self.head.weight.dtype)
        if not self.training and not self._is_stateless:
            return torch.cat([self._whole(row[None]) for row in x])
        drops = self._drops(draw)
        if self.front is None:
            x = x.unsqueeze(-1)  # [B, samples, 1]
        else:
            counted = None if mask is None else mask.repeat_interleave(hop // self.front.hop, dim=1)
            x = self.front(x, counted, next(drops), statistics)
        for layer in self._layers_above():
            x = layer(x, dropout=next(drops) if layer.drops else None)
        return x

    @property
    def _is_stateless(self) -> bool:
        """Whether the convolutional part has blocks alone, as the paper's."""
        return self.front is None and self.config.average == 1 and not self.tcn

    def _whole(self, waveform: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 frames channels"]:
        frames = waveform.shape[1] // self.config.hop
        return self.stream(lambda start, stop: waveform[:, start:stop], frames).between(0, frames)

    def _layers_above(self) -> list[Layer]:
        """List the layers above the front end, or above the waveform: blocks, average, TCN."""
        averages = [Average(self.config.average)] if self.config.average > 1 else []
        return [layer for layer in (*self.blocks, *averages, *self.tcn) if isinstance(layer, Layer)]

    def _drops(self, draw: Draw | None) -> Iterator[Dropout | None]:
        """Yield the dropout of each part that has one, in their order: front end or first block, blocks, TCN layers."""
        config = self.config
        rates = [*config.layer_dropouts, *([config.temporal_dropout] * len(config.dilations) if self.tcn else [])]
        if self.training and draw is None and any(rates):
            draw = Draw(seed=int(torch.randint(2**63 - 1, ())), step=0)
        for layer, rate in enumerate(rates):
            yield Dropout(rate, layer, draw) if self.training and rate and draw is not None else None

    def recur(
        self, features: Float[Tensor, "batch frames channels"], state: LstmState | None = None
    ) -> tuple[Float[Tensor, "batch frames targets"], LstmState | None]:
        """Compute predictions from features; return them and the LSTM's last state, if there is an LSTM."""
        outputs = features
        if self.lstm is not None:
            outputs, state = self.lstm(features, state)
        # the head is small and its output is scored, so it computes in full precision, also inside autocast
        with torch.autocast(outputs.device.type, enabled=False):
            return self.head(outputs.to(self.head.weight.dtype)), state

    def stream(self, read: Read, frames: int) -> Features:
        """Read the features of one recording of `frames` frames in pieces, in eval mode, in bounded memory.

        The values are those of one pass over the whole recording: `features` of all its samples.
        """
        layers, hop = self._layers_above(), self.config.hop
        if self._is_stateless:  # apart, so that plain PyTorch rounds their chunks as it always did
            return _StatelessFeatures(self, read, frames)
        if self.front is not None:
            block = BLOCK_FRAMES * hop // self.front.hop
            reader = self._front_end_reader(self.front, read, frames)
            return layered(Steps(reader.block, block, frames * hop // self.front.hop), layers, block)

        def samples(start: int, stop: int) -> Tensor:
            return read(start, stop).to(self.head.weight.dtype)[..., None]

        return layered(Steps(samples, BLOCK_FRAMES * hop, frames * hop), layers, BLOCK_FRAMES * hop)

    def recording_statistics(self, read: Read, frames: int) -> Float64[Tensor, "2 filters"]:
        """Compute what a normalisation over the recording takes from one of `frames` frames: mean and deviation."""
        assert self.front is not None
        statistics = self._front_end_reader(self.front, read, frames, kept_values=0).statistics
        assert statistics is not None, "the network has another normalisation"
        return statistics[0]

    def _front_end_reader(self, front: FrontEnd, read: Read, frames: int, **options: int) -> FrontEndReader:
        def samples(start: int, stop: int) -> Tensor:
            return read(start, stop).to(self.head.weight.dtype)

        steps, block = (n * self.config.hop // front.hop for n in (frames, BLOCK_FRAMES))
        return FrontEndReader(front, samples, steps, block, **options)

    def features_between(
        self, read: Read, frames: int, start_frame: int, end_frame: int
    ) -> Float[Tensor, "batch {end_frame-start_frame} channels"]:
        """Compute `features` for part of a recording, which has `frames` frames.

        Each block requests from the one below the steps that its own frames depend on, clamped to the recording. It
        pads with zeros only at the real ends of the recording. So the values are those of one pass over the whole
        recording, and no other samples are read.
        """
        return self._steps_of(len(self.blocks), read, frames * self.config.hop, start_frame, end_frame)

    def _steps_of(self, depth: int, read: Read, samples: int, start: int, end: int) -> Tensor:
        if depth == 0:
            return read(start, end).unsqueeze(-1).to(self.head.weight.dtype)
        block = self.blocks[depth - 1]
        assert isinstance(block, Block)
        length = samples // math.prod(self.config.pools[: depth - 1])
        first, last = start * block.pool - block.pad_left, end * block.pool + block.pad_right
        x = self._steps_of(depth - 1, read, samples, max(first, 0), min(last, length))
        output: Tensor = block(x, padding=(max(-first, 0), max(last - length, 0)))
        return output

    def backend_on(self, device: torch.device) -> str:
        """Return the back end of the blocks on a device, "reference" or "fused", in the current state of autocast."""
        chosen = choose(self.backend, device, self.head.weight.dtype)
        return "fused" if self.config.fusible and chosen is not reference.conv_pool else "reference"

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the groups of weights for an optimiser: filters of a filterbank learn at their own rate, undecayed."""
        own = self.front is not None and self.config.front_end == "filterbank"
        filters = self.front.analysis.weight if own and self.front is not None else None
        groups: list[dict[str, Any]] = [{"params": [weight for weight in self.parameters() if weight is not filters]}]
        if filters is not None and self.config.filter_rate:
            rate = self.config.filter_rate * learning_rate
            groups.append({"params": [filters], "lr": rate, "weight_decay": 0.0})
        return groups


class _StatelessFeatures:
    """Features of a network whose layers keep no state: computed anew for each piece, with what they depend on."""

    def __init__(self, network: Network, read: Read, frames: int) -> None:
        self._network, self._read, self._frames = network, read, frames

    def between(self, start: int, stop: int) -> Float[Tensor, "1 {stop-start} channels"]:
        return self._network.features_between(self._read, self._frames, start, stop)
