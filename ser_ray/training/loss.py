"""Losses: 1 - CCC pooled over a batch (Eq. 3 of the paper), and the mean squared error, which the paper rejects."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from ser_ray.training.config import Loss

LARGEST_LOSS = 1e3
"""A training with a loss above this has diverged, for labels in [-1, 1]."""


def ccc_loss(
    prediction: Float[Tensor, "batch frames targets"],
    gold: Float[Tensor, "batch frames targets"],
    mask: Bool[Tensor, "batch frames"] | None = None,
) -> Float[Tensor, ""]:
    """Compute 1 - CCC, pooled over all frames of the batch, as the mean over the targets (Eq. 3): a scalar in [0, 2].

    The mask is True where a frame counts; gold may be NaN elsewhere.

    Population moments and no epsilon, in the inputs' dtype. Where CCC is 0/0 (no frames, or prediction and gold
    constant and equal) it counts as 0 and its gradient is zero. The gradient with respect to a prediction x_i is (2 /
    N) times Eq. 5: (2 / N) (2 cov (x_i - mean_y) / psi^2 + (mean_y - y_i) / psi).

    >>> prediction, gold = torch.tensor([[[0.0], [0.5], [1.0]]]), torch.tensor([[[0.1], [0.5], [0.9]]])
    >>> round(ccc_loss(prediction, gold).item(), 4)
    0.0244
    """
    x, y = prediction.flatten(0, 1), gold.flatten(0, 1)  # [B T, targets]
    counted = torch.ones_like(x[:, :1], dtype=torch.bool) if mask is None else mask.flatten()[:, None]
    n = counted.sum().clamp(min=1)
    # Less its first counted frame a constant is exactly zero, so that 0/0 is recognised.
    # Selected by a tensor of one index: the step would have to wait for a number to be fetched from the device.
    first = counted.flatten().to(torch.uint8).argmax()[None]
    x_first, y_first, counts = (values.detach().index_select(0, first)[0] for values in (x, y, counted))
    y_first = torch.where(counts, y_first, 0)
    dx = torch.where(counted, x - x_first, 0)
    dy = torch.where(counted, y - y_first, 0)
    mean_x, mean_y = dx.sum(0) / n, dy.sum(0) / n
    dx = torch.where(counted, dx - mean_x, 0)
    dy = torch.where(counted, dy - mean_y, 0)
    bias = (x_first - y_first) + (mean_x - mean_y)
    bias = torch.where(counted.any(), bias, 0)
    psi = (dx.square().sum(0) + dy.square().sum(0)) / n + bias.square()
    ccc = 2 * (dx * dy).sum(0) / n / torch.where(psi == 0, 1, psi)
    return (1 - ccc).mean()


def mse_loss(
    prediction: Float[Tensor, "batch frames targets"],
    gold: Float[Tensor, "batch frames targets"],
    mask: Bool[Tensor, "batch frames"] | None = None,
) -> Float[Tensor, ""]:
    """Compute the mean squared error over counted frames and targets; 0 if no frame counts."""
    if mask is None:
        return (prediction - gold).square().mean()
    error = torch.where(mask[..., None], prediction - gold, 0)
    return error.square().sum() / (mask.sum() * prediction.shape[-1]).clamp(min=1)


def largest_loss(loss: str, gold: Iterable[NDArray[np.floating]]) -> float:
    """Return the loss above which a training has diverged.

    "ccc" lies in [0, 2] for any labels; "mse" grows with their square, so its limit depends on the recordings' gold.
    """
    if loss != "mse":
        return LARGEST_LOSS
    largest = max((float(np.abs(one[np.isfinite(one)]).max(initial=0.0)) for one in gold), default=0.0)
    return LARGEST_LOSS * max(1.0, largest) ** 2


LOSSES: Mapping[Loss, Callable[..., Float[Tensor, ""]]] = {"ccc": ccc_loss, "mse": mse_loss}
