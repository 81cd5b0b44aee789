"""The paper's network in plain PyTorch: convolutional blocks on the raw waveform, LSTM layers, one linear head.

Source: Tzirakis et al. 2018, Section 3.1 and Fig. 1. What the paper leaves open follows its authors' published code:
'same' padding, dropout only after the pools, a linear head without squashing, both targets at once, and a CNN that
runs over the whole sequence, not frame by frame. The LSTM's peepholes and clipping, which the paper does not mention,
are left out.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ser_ray.errors import InputError
from ser_ray.models.config import Backend, ModelConfig, Pooling
from ser_ray.models.conv_pool import choose, reference
from ser_ray.models.dropout import Draw, Dropout

LstmState = tuple[Tensor, Tensor]
Read = Callable[[int, int], Tensor]
"""Reads the samples [B, stop - start] from a start to a stop."""


def build(config: ModelConfig, backend: Backend = "auto") -> "Network":
    """Build a network in train mode, with weights drawn from PyTorch's global generator.

    It maps waveforms [B, samples] to predictions [B, samples / hop, targets]. The back end of its blocks is "reference"
    (plain PyTorch), "fused" (one operation per block) or "auto" (the fastest back end on the device of the input).
    """
    return Network(config, backend)


class Block(nn.Module):
    """Convolution, ReLU, pool and dropout: [B, T, channels in] -> [B, T / pool, channels out].

    `pool` is the stride where pooling is "stride". Only "max" pooling has a fused back end.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int,
        pool: int,
        pooling: Pooling,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.pool, self.pooling, self.backend = pool, pooling, backend
        # 'same' by hand, the odd zero on the right as in the authors' framework; PyTorch's own warns on even kernels
        self.pad_left = (kernel - 1) // 2
        self.pad_right = kernel - 1 - self.pad_left
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, stride=pool if pooling == "stride" else 1)

    def forward(
        self,
        x: Float[Tensor, "batch steps inputs"],
        *,
        padding: tuple[int, int] | None = None,
        dropout: Dropout | None = None,
    ) -> Float[Tensor, "batch pooled channels"]:
        """Compute the block's output.

        `padding` are the zeros before and after; None pads a whole input, so that the output has T / pool steps.
        """
        if padding is None:
            padding = self.pad_left, self.pad_right
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None
        if self.pooling != "max":
            return reference.conv_pool(
                x, weight, bias, pool=self.pool, padding=padding, dropout=dropout, pooling=self.pooling
            )
        conv_pool = choose(self.backend, x.device, x.dtype)
        return conv_pool(x, weight, bias, pool=self.pool, padding=padding, dropout=dropout)


class Network(nn.Module):
    """Convolutional blocks, LSTM layers and a linear head; see `build`."""

    def __init__(self, config: ModelConfig, backend: Backend = "auto"):
        super().__init__()
        self.config, self.backend = config, backend
        widths = (1, *config.channels)
        self.blocks = nn.ModuleList(
            Block(widths[i], widths[i + 1], kernel=kernel, pool=pool, pooling=config.pooling, backend=backend)
            for i, (kernel, pool) in enumerate(zip(config.kernels, config.pools, strict=True))
        )
        self.lstm = nn.LSTM(config.channels[-1], config.hidden, config.lstm_layers, batch_first=True)
        self.head = nn.Linear(config.hidden, len(config.targets))

    def forward(
        self, waveform: Shaped[Tensor, "batch samples"], draw: Draw | None = None
    ) -> Float[Tensor, "batch frames targets"]:
        """Predict samples / hop frames for each waveform, with the LSTM's state starting at zero.

        `draw` determines the dropout masks in train mode; None lets PyTorch's global generator choose. Raises
        InputError if the samples are no whole number of frames.
        """
        predictions, _ = self.recur(self.features(waveform, draw))
        return predictions

    def features(
        self, waveform: Shaped[Tensor, "batch samples"], draw: Draw | None = None
    ) -> Float[Tensor, "batch frames channels"]:
        """Compute the output of the convolutional part."""
        hop, samples = self.config.hop, waveform.shape[-1]
        if samples % hop:
            raise InputError(
                f"{samples} samples are no whole number of frames of {hop} samples "
                f"(the product of the pools {list(self.config.pools)}); cut or pad the waveform"
            )
        drops = self.training and self.config.dropout > 0
        if drops and draw is None:
            draw = Draw(seed=int(torch.randint(2**63 - 1, ())), step=0)
        x = waveform.unsqueeze(-1).to(self.head.weight.dtype)  # [B, samples, 1]
        for layer, block in enumerate(self.blocks):
            dropout = Dropout(self.config.dropout, layer, draw) if drops and draw is not None else None
            x = block(x, dropout=dropout)
        return x

    def recur(
        self, features: Float[Tensor, "batch frames channels"], state: LstmState | None = None
    ) -> tuple[Float[Tensor, "batch frames targets"], LstmState]:
        """Compute predictions from features; return them and the LSTM's last state."""
        outputs, state = self.lstm(features, state)
        # the head is small and its output is scored, so it computes in full precision, also inside autocast
        with torch.autocast(outputs.device.type, enabled=False):
            return self.head(outputs.to(self.head.weight.dtype)), state

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
