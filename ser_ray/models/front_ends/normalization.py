"""Normalisation of a front end's output over time, per channel, so that a network compares a voice with itself.

Steps that are not counted have a share in no statistic, though they are normalised as the others: padding and silence,
whose samples are all equal, and in training frames without a label. Where nothing counts, everything does.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-5
"""Added to the variance: a constant channel becomes 0."""

Steps = Float[Tensor, "batch steps channels"]


def sounding(waveform: Float[Tensor, "batch samples"], hop: int) -> Bool[Tensor, "batch steps"]:
    """Find the steps, each of `hop` samples, that are neither padding nor digital silence: their samples differ."""
    samples = waveform.reshape(len(waveform), -1, hop)
    heard = samples[..., 0] != samples[..., -1]
    if waveform.device.type != "cpu":  # where looking at the values of `heard` would stop the queue of work
        return torch.any(samples != samples[..., :1], dim=-1)
    unclear = samples[~heard]
    heard[~heard] = torch.any(unclear != unclear[:, :1], dim=-1)
    return heard


def normalize_segment(x: Steps, counted: Bool[Tensor, "batch steps"], *, deviation: bool) -> Steps:
    """Subtract each channel's mean over the counted steps of its row; divide by the deviation, too, if asked for."""
    weight = _counted_or_all(counted)[:, None].to(x.dtype)  # [B, 1, T]
    weight /= weight.sum(dim=2, keepdim=True)
    normalized: Tensor = _NormalizeSegment.apply(x, weight, deviation)  # type: ignore[no-untyped-call]
    return normalized


class _NormalizeSegment(torch.autograd.Function):
    """Normalisation by weighted sums over the steps, with few passes over memory; weights [B, 1, T] add up to one.

    With y = (x - m) / s and gradients g of y, those of x_t are (g_t - w_t sum(g) - w_t y_t sum(g y)) / s.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, deviation: bool) -> Tensor:
        y = x - weight @ x
        scale = None
        if deviation:
            scale = (weight @ y.square() + EPSILON).rsqrt()  # [B, 1, C]
            y *= scale
        ctx.save_for_backward(y, weight, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        y, weight, scale = ctx.saved_tensors
        steps = weight.transpose(1, 2)  # [B, T, 1]
        share = grad.sum(dim=1, keepdim=True)
        if scale is None:
            return grad - steps * share, None, None
        # weights are 0 or one number for each row, so that both shares are taken away in one product
        shares = torch.addcmul(share, y, (grad * y).sum(dim=1, keepdim=True))
        return torch.addcmul(grad, steps, shares, value=-1).mul_(scale), None, None


def normalize_running(
    x: Steps, counted: Bool[Tensor, "batch steps"], before: Float64[Tensor, "batch 3 channels"] | None = None
) -> tuple[Steps, Float64[Tensor, "batch 3 channels"]]:
    """Normalise each step by mean and deviation of the counted steps up to it.

    `before` are the sums up to the step before: number, values, squares. Returns the sums up to the last step, too.
    """
    weight = counted[..., None].to(torch.float64)
    terms = torch.stack([weight.expand(x.shape), weight * x, weight * x.square()], dim=2)  # [B, T, 3, C]
    if before is not None:
        terms = torch.cat([before[:, None], terms], dim=1)
    sums = terms.cumsum(dim=1)[:, -x.shape[1] :]
    n, total, squares = (sums[:, :, part] for part in range(3))
    n = n.clamp(min=1)
    mean = total / n
    variance = (squares / n - mean.square()).clamp(min=0)
    return ((x - mean) / (variance + EPSILON).sqrt()).to(x.dtype), sums[:, -1].detach()


class RecordingMoments:
    """Mean and deviation of a recording's channels, from its blocks in their order, in float64.

    Sums are taken block by block, so that they do not depend on how a recording is read. They are of the counted steps
    and, in case there are none, of all.
    """

    def __init__(self) -> None:
        self._counted: list[Tensor] = []
        self._all: list[Tensor] = []

    def add(self, x: Float[Tensor, "1 steps channels"], counted: Bool[Tensor, "1 steps"]) -> None:
        """Add the next block."""
        values = x[0].to(torch.float64)
        for sums, rows in ((self._counted, values[counted[0]]), (self._all, values)):
            block = torch.stack([torch.full_like(rows[:1].sum(0), len(rows)), rows.sum(0), rows.square().sum(0)])
            sums[:] = [block if not sums else sums[0] + block]

    def statistics(self) -> Float64[Tensor, "2 channels"]:
        """Compute mean and deviation of each channel."""
        sums = self._counted[0] if self._counted[0][0, 0] > 0 else self._all[0]  # [3, C]
        mean = sums[1] / sums[0]
        variance = (sums[2] / sums[0] - mean.square()).clamp(min=0)
        return torch.stack([mean, (variance + EPSILON).sqrt()])


def normalize_by(x: Steps, statistics: Float64[Tensor, "batch 2 channels"], *, deviation: bool) -> Steps:
    """Subtract the mean of each row's recording; divide by its deviation, too, if asked for."""
    mean, scale = statistics.to(x.dtype)[:, :, None].unbind(1)  # [B, 1, C] each
    return (x - mean) / scale if deviation else x - mean


def _counted_or_all(counted: Bool[Tensor, "batch steps"]) -> Bool[Tensor, "batch steps"]:
    return counted | ~counted.any(dim=1, keepdim=True)
