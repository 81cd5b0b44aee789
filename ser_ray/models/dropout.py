"""Dropout masks from a counter: seed, layer, step and position alone determine whether a value is kept.

So a mask is the same on every device and for every number of threads. It can be drawn before the values that it drops
are computed, and need not be kept for the backward pass.

The bits are those of Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC 2011),
one call for four channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
LOW_WORD = 0xFFFFFFFF
LAYER_SHIFT = 16
"""Bits of a counter's first word that number the quads of channels; the bits above them number the layer."""


@dataclass(frozen=True)
class Draw:
    """The masks of one training step: the trial's seed (lowest 64 bits), the step over all epochs (lowest 32 bits)."""

    seed: int
    step: int


@dataclass(frozen=True)
class Dropout:
    """Dropout after one layer of the network, counted from 0; a value is dropped with probability `rate` in (0, 1)."""

    rate: float
    layer: int
    draw: Draw

    @property
    def threshold(self) -> int:
        """A value is kept if its 32 random bits are at least this."""
        return min(max(round(self.rate * 2**32), 1), LOW_WORD)

    @property
    def scale(self) -> float:
        """Kept values are multiplied by this, so that their expectation does not change."""
        return 1 / (1 - self.rate)

    @property
    def key(self) -> tuple[int, int]:
        """The generator's key: the seed as two words of 32 bits."""
        return self.draw.seed & LOW_WORD, (self.draw.seed >> 32) & LOW_WORD

    @property
    def step(self) -> int:
        """The step as a word of 32 bits."""
        return self.draw.step & LOW_WORD


def quads(channels: int) -> int:
    """Count the generator calls for the channels of one frame.

    The four words of call q decide on the channels q, q + quads, q + 2 quads and q + 3 quads.
    """
    return -(-channels // 4)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Compute four words of 32 random bits (int64 tensors) from counters of four such tensors, which broadcast."""
    a, b, c, d = counter
    key_0, key_1 = key
    for _ in range(ROUNDS):
        high_a, low_a = _product(a, MULTIPLIERS[0])
        high_c, low_c = _product(c, MULTIPLIERS[1])
        a, b, c, d = high_c ^ b ^ key_0, low_c, high_a ^ d ^ key_1, low_a
        key_0, key_1 = (key_0 + KEY_STEPS[0]) & LOW_WORD, (key_1 + KEY_STEPS[1]) & LOW_WORD
    return a, b, c, d


def _product(word: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """Compute the high and the low 32 bits of a product of two words without overflow into the sign bit of int64."""
    low_half = word * (multiplier & 0xFFFF)
    high_half = word * (multiplier >> 16) + (low_half >> 16)
    return high_half >> 16, (high_half << 16 | low_half & 0xFFFF) & LOW_WORD


def keep_mask(dropout: Dropout, rows: int, frames: int, channels: int, device: torch.device) -> Tensor:
    """Compute the mask of kept values in a layer's output, bool [B, T, C]; T is at most 2^32, C at most 2^18."""
    if device.type == "cpu":
        from ser_ray.models import kernels

        mask = torch.empty(rows, frames, channels, dtype=torch.bool)
        kernels.keep(mask.numpy(), dropout.layer, dropout.step, dropout.key, dropout.threshold)
        return mask
    return plain_keep_mask(dropout, rows, frames, channels, device)


def plain_keep_mask(dropout: Dropout, rows: int, frames: int, channels: int, device: torch.device) -> Tensor:
    """Compute the mask of `keep_mask` in plain PyTorch, on any device."""
    n = quads(channels)
    row, frame, quad = (torch.arange(size, device=device) for size in (rows, frames, n))
    counter = (
        (quad | dropout.layer << LAYER_SHIFT)[None, None, :],
        frame[None, :, None],
        row[:, None, None],
        torch.tensor(dropout.step, device=device),
    )
    words = torch.cat([word.expand(rows, frames, n) for word in philox(counter, dropout.key)], dim=-1)
    return words[..., :channels] >= dropout.threshold


def drop(x: Tensor, dropout: Dropout | None) -> Tensor:
    """Drop values of a layer's output [B, T, C] and scale the others; None drops nothing."""
    if dropout is None:
        return x
    rows, frames, channels = x.shape
    dropped = keep_mask(dropout, rows, frames, channels, x.device).logical_not_()
    return (x * dropout.scale).masked_fill_(dropped, 0)  # NaN too, as the fused blocks never compute what is dropped
