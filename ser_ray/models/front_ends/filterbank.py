"""A filterbank on the waveform: the energy of pairs of a cosine and a sine filter, learned from where they start."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ser_ray.models.config import FilterStart

LOWEST_HZ, HIGHEST_SHARE = 60.0, 0.95
"""Centres of the first and the last filter; the last as a share of half the sample rate: 7,600 Hz at 16 kHz."""


class Filterbank(nn.Module):
    """Energies of filters: [B, T, 1] -> [B, T / pool, filters], the window of each hop centred on it.

    With filters c and s of a pair, its energy is (c * x)^2 + (s * x)^2, a sum over the pair's squared outputs. The
    energies of `average` hops are averaged; a pool is that many hops.
    """

    def __init__(
        self, filters: int, width: int, hop: int, sample_rate_hz: float, start: FilterStart, average: int = 1
    ) -> None:
        super().__init__()
        self.hop, self.average, self.pool = hop, average, hop * average
        self.pad_left = (width - hop) // 2
        self.pad_right = width - hop - self.pad_left
        weight = mel_filters(filters, width, sample_rate_hz) if start == "mel" else torch.randn(2 * filters, width)
        # of unit energy, so that white noise of unit power has the energy 2 in each pair
        self.weight = nn.Parameter(weight / weight.square().sum(dim=1, keepdim=True).sqrt())  # [2 filters, width]

    def forward(
        self, x: Float[Tensor, "batch samples 1"], *, padding: tuple[int, int] | None = None
    ) -> Float[Tensor, "batch steps filters"]:
        """Compute the energies; `padding` are the zeros before and after, None pads a whole waveform."""
        before, after = (self.pad_left, self.pad_right) if padding is None else padding
        steps = (x.shape[1] + before + after - self.weight.shape[1]) // self.hop + 1
        parts = -(-self.weight.shape[1] // self.hop)
        padded = nn.functional.pad(x[..., 0], (before, (steps + parts - 1) * self.hop - before - x.shape[1]))
        energies: Tensor = _Energies.apply(padded.unflatten(1, (-1, self.hop)), self.weight)  # type: ignore[no-untyped-call]
        if self.average == 1:
            return energies
        return energies.view(len(x), -1, self.average, energies.shape[2]).mean(dim=2)


class _Energies(torch.autograd.Function):
    """Energies of pairs of filters: [B, T + parts - 1, hop], [2 filters, width] -> [B, T, filters].

    A filter is cut into parts of one hop. Its output is the sum of the products of its parts with the hops that they
    meet, so that overlapping windows are never copied: (w * x)_t = sum over j of w_j . x_(t + j).
    """

    @staticmethod
    def forward(ctx: Any, hops: Tensor, weight: Tensor) -> Tensor:
        parts = torch.split(weight, hops.shape[2], dim=1)
        steps = hops.shape[1] - len(parts) + 1
        outputs = hops.new_zeros(len(hops), steps, len(weight))
        for own, output in zip(hops, outputs, strict=True):
            for j, part in enumerate(parts):
                output.addmm_(_met(own, j, steps, part), part.T)
        ctx.save_for_backward(hops, weight, outputs)
        cosine, sine = outputs.chunk(2, dim=-1)
        return torch.addcmul(cosine * cosine, sine, sine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        hops, weight, outputs = ctx.saved_tensors
        parts, steps = torch.split(weight, hops.shape[2], dim=1), outputs.shape[1]
        d_outputs = (outputs.unflatten(2, (2, -1)) * (2 * grad).unsqueeze(2)).flatten(2)
        d_hops = torch.zeros_like(hops) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for row, (own, d_output) in enumerate(zip(hops, d_outputs, strict=True)):
            for j, part in enumerate(parts):
                if d_hops is not None:
                    _met(d_hops[row], j, steps, part).addmm_(d_output, part)
                if d_weight is not None:
                    begin = j * hops.shape[2]
                    d_weight[:, begin : begin + part.shape[1]].addmm_(d_output.T, _met(own, j, steps, part))
        return d_hops, d_weight


def _met(hops: Tensor, j: int, steps: int, part: Tensor) -> Tensor:
    """Select what part j of a filter meets at each step: the j-th hop from there on, or the start of it."""
    return hops[j : j + steps, : part.shape[1]]


def mel_centres(filters: int, sample_rate_hz: float) -> Float[Tensor, " filters+2"]:
    """Compute the centres of filters in Hz, evenly spaced in mel, and those that would precede and follow them.

    mel = 2595 log10(1 + f / 700), float64. A single filter is at the lowest centre.
    """
    low, high = (_mel(hz) for hz in (LOWEST_HZ, HIGHEST_SHARE * sample_rate_hz / 2))
    step = (high - low) / max(1, filters - 1)
    mels = low + step * torch.arange(-1, filters + 1, dtype=torch.float64)
    return 700 * (10 ** (mels / 2595) - 1)


def _mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def mel_filters(filters: int, width: int, sample_rate_hz: float) -> Float[Tensor, "two_filters width"]:
    """Make pairs of windowed tones, the cosines first: a Hann window as long as the filter's band is narrow.

    A Hann window of n samples has half its amplitude at 1 / n of the sample rate on either side of the tone. The band
    of a filter reaches to halfway the neighbouring centres, and the window has at most `width` samples.
    """
    centres = mel_centres(filters, sample_rate_hz)
    bands_hz = (centres[2:] - centres[:-2]) / 2
    time = torch.arange(width, dtype=torch.float64) - (width - 1) / 2  # in samples, from the middle
    lengths = (2 * sample_rate_hz / bands_hz).clamp(max=width)[:, None]
    window = torch.where(time.abs() < lengths / 2, 0.5 + 0.5 * torch.cos(2 * math.pi * time / lengths), 0)
    phase = 2 * math.pi * centres[1:-1, None] / sample_rate_hz * time
    return torch.cat([window * torch.cos(phase), window * torch.sin(phase)]).float()
