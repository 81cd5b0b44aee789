"""The paper's network in plain PyTorch: convolutional blocks on the raw waveform, LSTM layers, one linear head.

Source: Tzirakis et al. 2018, Section 3.1 and Fig. 1. What the paper leaves open follows its authors' published code:
'same' padding, dropout after the pools alone, a linear head without squashing, both targets at once, and a CNN that
runs over the whole sequence, not frame by frame. Peepholes and clipping of the LSTM, which the paper does not mention,
are left out.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ser_ray.errors import InputError
from ser_ray.models.config import ModelConfig
from ser_ray.models.conv_pool import Backend, choose, reference
from ser_ray.models.dropout import Draw, Dropout

LstmState = tuple[Tensor, Tensor]
Read = Callable[[int, int], Tensor]
"""Gives the samples [B, stop - start] from a start to a stop."""


def build(config: ModelConfig, backend: Backend = "auto") -> "Network":
    """Return a new network in train mode, its weights drawn from PyTorch's global generator.

    Args:
        config: the network's configuration.
        backend: what computes its convolutional blocks: "reference" for plain PyTorch, "fused" for one operation per
            block, "auto" for the fastest back end of the device that its input is on.

    Returns:
        A module that maps waveforms [B, samples] to predictions [B, samples / hop, targets].
    """
    return Network(config, backend)


class Block(nn.Module):
    """Convolution, ReLU, pool and dropout: [B, T, channels in] -> [B, T / pool, channels out].

    Args:
        channels_in: channels of the input.
        channels_out: filters.
        kernel: kernel size.
        pool: pool size, or the stride of the convolution.
        pooling: "max", "average" or "stride".
        backend: what computes it, see `build`; other poolings than "max" have the reference alone.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int, pool: int, pooling: str, backend: Backend = "auto"
    ) -> None:
        super().__init__()
        self.pool, self.pooling, self.backend = pool, pooling, backend
        # 'same' by hand, the odd one out on the right as in the authors' framework; PyTorch's own warns on even kernels
        self.pad_left = (kernel - 1) // 2
        self.pad_right = kernel - 1 - self.pad_left
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, stride=pool if pooling == "stride" else 1)

    def forward(self, x: Tensor, *, padding: tuple[int, int] | None = None, dropout: Dropout | None = None) -> Tensor:
        """Return the block's output.

        Args:
            x: [B, T, channels in].
            padding: zeros before and after; None pads a whole input, so that the output has T / pool steps.
            dropout: what to drop; None drops nothing.
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
    """Convolutional blocks, LSTM layers and a linear head.

    Args:
        config: the network's configuration.
        backend: what computes its blocks, see `build`.
    """

    def __init__(self, config: ModelConfig, backend: Backend = "auto"):
        super().__init__()
        self.config, self.backend = config, backend
        widths = (1, *config.channels)
        self.blocks = nn.ModuleList(
            Block(
                widths[i],
                widths[i + 1],
                kernel=kernel,
                pool=pool,
                pooling=config.pooling,
                backend=backend,
            )
            for i, (kernel, pool) in enumerate(zip(config.kernels, config.pools, strict=True))
        )
        self.lstm = nn.LSTM(config.channels[-1], config.hidden, config.lstm_layers, batch_first=True)
        self.head = nn.Linear(config.hidden, len(config.targets))

    def forward(self, waveform: Tensor, draw: Draw | None = None) -> Tensor:
        """Return a prediction for each frame, the LSTM starting at zero.

        Args:
            waveform: [B, samples], samples a multiple of the hop; it is brought to the type of the weights.
            draw: which dropout masks a network in train mode draws; None lets PyTorch's global generator choose.

        Returns:
            [B, samples / hop, targets].

        Raises:
            InputError: if the samples are no whole number of frames.
        """
        predictions, _ = self.recur(self.features(waveform, draw))
        return predictions

    def features(self, waveform: Tensor, draw: Draw | None = None) -> Tensor:
        """Return the convolutional part's output [B, frames, channels] for waveforms [B, samples]."""
        self._check(waveform.shape[-1])
        drops = self.training and self.config.dropout > 0
        if drops and draw is None:
            draw = Draw(seed=int(torch.randint(2**63 - 1, ())), step=0)
        x = waveform.unsqueeze(-1).to(self.head.weight.dtype)  # [B, samples, 1]
        for layer, block in enumerate(self.blocks):
            dropout = Dropout(self.config.dropout, layer, draw) if drops and draw is not None else None
            x = block(x, dropout=dropout)
        return x

    def recur(self, features: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """Return predictions [B, frames, targets] for features [B, frames, channels], and the LSTM's last state."""
        outputs, state = self.lstm(features, state)
        # the head is small, and what it gives is scored: it computes in full precision, also inside autocast
        with torch.autocast(outputs.device.type, enabled=False):
            return self.head(outputs.to(self.head.weight.dtype)), state

    def features_between(self, read: Read, frames: int, start_frame: int, end_frame: int) -> Tensor:
        """Return some frames of `features`, asking for no other samples than those they depend on.

        Each block asks the one below for the steps that its own frames depend on, clamped to the recording, and pads
        with zeros only where the recording really ends: so the values are those of the whole pass.

        Args:
            read: gives the samples [B, stop - start] from a start to a stop within the recording, on the network's
                device.
            frames: of the whole recording.
            start_frame: first frame.
            end_frame: one past the last frame.

        Returns:
            [B, end_frame - start_frame, channels].
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
        """Return what computes the blocks on a device, "reference" or "fused"; inside autocast, what does so there."""
        chosen = choose(self.backend, device, self.head.weight.dtype)
        return "fused" if self.config.pooling == "max" and chosen is not reference.conv_pool else "reference"

    def _check(self, samples: int) -> None:
        if samples % self.config.hop:
            raise InputError(
                f"{samples} samples are no whole number of frames of {self.config.hop} samples "
                f"(the product of the pools {list(self.config.pools)}); cut or pad the waveform"
            )


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def device_of(model: nn.Module) -> torch.device:
    """Return the device that a network's weights are on."""
    return next(model.parameters()).device
