"""The paper's network in plain PyTorch: convolutional blocks on the raw waveform, LSTM layers, one linear head.

Source: Tzirakis et al. 2018, Section 3.1 and Fig. 1. What the paper leaves open follows its authors' published code:
'same' padding, dropout after the pools alone, a linear head without squashing, both targets at once, and a CNN that
runs over the whole sequence, not frame by frame. Peepholes and clipping of the LSTM, which the paper does not mention,
are left out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_ray.errors import InputError
from ser_ray.models.config import ModelConfig

LstmState = tuple[Tensor, Tensor]


def build(config: ModelConfig) -> "Network":
    """Return a new network in train mode, its weights drawn from PyTorch's global generator.

    Args:
        config: the network's configuration.

    Returns:
        A module that maps waveforms [B, samples] to predictions [B, samples / hop, targets].
    """
    return Network(config)


class Block(nn.Module):
    """Convolution, ReLU, pool and dropout: [B, channels in, T] -> [B, channels out, T / pool].

    Args:
        channels_in: channels of the input.
        channels_out: filters.
        kernel: kernel size.
        pool: pool size, or the stride of the convolution.
        pooling: "max", "average" or "stride".
        dropout: probability of dropping a pooled value.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int, pool: int, pooling: str, dropout: float
    ) -> None:
        super().__init__()
        self.pool, self.pooling, self.dropout = pool, pooling, dropout
        # 'same' by hand, the odd one out on the right as in the authors' framework; PyTorch's own warns on even kernels
        self.pad_left = (kernel - 1) // 2
        self.pad_right = kernel - 1 - self.pad_left
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, stride=pool if pooling == "stride" else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for a whole input, zero-padded at its ends."""
        return self.on_padded(F.pad(x, (self.pad_left, self.pad_right)))

    def on_padded(self, x: Tensor) -> Tensor:
        """Return the block's output for an input that has its kernel - 1 further steps around it already."""
        x = self.conv(x)
        if self.pooling == "max":
            # the same values as pooling after the ReLU, which is monotone, at a fraction of the memory traffic
            x = F.relu(F.max_pool1d(x, self.pool))
        elif self.pooling == "average":
            x = F.avg_pool1d(F.relu(x), self.pool)
        else:
            x = F.relu(x)
        return F.dropout(x, self.dropout, self.training)


class Network(nn.Module):
    """Convolutional blocks, LSTM layers and a linear head.

    Args:
        config: the network's configuration.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        widths = (1, *config.channels)
        self.blocks = nn.ModuleList(
            Block(
                widths[i],
                widths[i + 1],
                kernel=kernel,
                pool=pool,
                pooling=config.pooling,
                dropout=config.dropout,
            )
            for i, (kernel, pool) in enumerate(zip(config.kernels, config.pools, strict=True))
        )
        self.lstm = nn.LSTM(config.channels[-1], config.hidden, config.lstm_layers, batch_first=True)
        self.head = nn.Linear(config.hidden, len(config.targets))

    def forward(self, waveform: Tensor) -> Tensor:
        """Return a prediction for each frame, the LSTM starting at zero.

        Args:
            waveform: [B, samples], samples a multiple of the hop.

        Returns:
            [B, samples / hop, targets].

        Raises:
            InputError: if the samples are no whole number of frames.
        """
        predictions, _ = self.recur(self.features(waveform))
        return predictions

    def features(self, waveform: Tensor) -> Tensor:
        """Return the convolutional part's output [B, frames, channels] for waveforms [B, samples]."""
        self._check(waveform.shape[-1])
        x = waveform.unsqueeze(1)  # [B, 1, samples]
        for block in self.blocks:
            x = block(x)
        return x.transpose(1, 2)

    def recur(self, features: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """Return predictions [B, frames, targets] for features [B, frames, channels], and the LSTM's last state."""
        outputs, state = self.lstm(features, state)
        return self.head(outputs), state

    def features_between(self, waveform: Tensor, start_frame: int, end_frame: int) -> Tensor:
        """Return some frames of `features` without computing the others.

        Each block asks the one below for the steps that its own frames depend on, clamped to the recording, and pads
        with zeros only where the recording really ends: so the values are those of the whole pass.

        Args:
            waveform: [B, samples] of the whole recording.
            start_frame: first frame.
            end_frame: one past the last frame.

        Returns:
            [B, end_frame - start_frame, channels].
        """
        self._check(waveform.shape[-1])
        return self._steps_of(len(self.blocks), waveform.unsqueeze(1), start_frame, end_frame).transpose(1, 2)

    def _steps_of(self, depth: int, waveform: Tensor, start: int, end: int) -> Tensor:
        if depth == 0:
            return waveform[:, :, start:end]
        block = self.blocks[depth - 1]
        assert isinstance(block, Block)
        length = waveform.shape[-1]
        for below in self.config.pools[: depth - 1]:
            length //= below
        first, last = start * block.pool - block.pad_left, end * block.pool + block.pad_right
        x = self._steps_of(depth - 1, waveform, max(first, 0), min(last, length))
        return block.on_padded(F.pad(x, (max(-first, 0), max(last - length, 0))))

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
