"""A temporal convolutional network: residual layers of dilated convolutions over the frames.

After Bai, Kolter, Koltun, "An empirical evaluation of generic convolutional and recurrent networks for sequence
modeling", 2018, with one convolution per residual layer.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ser_ray.models.dropout import Dropout, drop
from ser_ray.models.layers import Layer


class TcnEntry(Layer):
    """Bring features to the TCN's width: a linear map of each frame."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels_in, channels)

    def forward(
        self,
        x: Float[Tensor, "batch steps inputs"],
        *,
        padding: tuple[int, int] | None = None,
        dropout: None = None,
    ) -> Float[Tensor, "batch steps channels"]:
        """Map each frame, which needs no padding."""
        output: Tensor = self.linear(x)
        return output


class TcnLayer(Layer):
    """x + dropout(relu(convolution(x))): [B, T, C] -> [B, T, C].

    Tap j of a centred kernel K sees the frame (j - (K - 1) / 2) dilations away; a causal one sees no later frames.
    """

    drops = True

    def __init__(self, channels: int, kernel: int, dilation: int, *, causal: bool) -> None:
        super().__init__()
        reach = (kernel - 1) * dilation
        self.pad_left = reach if causal else (kernel - 1) // 2 * dilation
        self.pad_right = reach - self.pad_left
        self.conv = nn.Conv1d(channels, channels, kernel, dilation=dilation)

    def forward(
        self,
        x: Float[Tensor, "batch steps inputs"],
        *,
        padding: tuple[int, int] | None = None,
        dropout: Dropout | None = None,
    ) -> Float[Tensor, "batch pooled channels"]:
        """Compute the layer's output; see `Layer`."""
        before, after = (self.pad_left, self.pad_right) if padding is None else padding
        own = x[:, self.pad_left - before : x.shape[1] - (self.pad_right - after)]
        padded = nn.functional.pad(x, (0, 0, before, after))
        convolved: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
            padded, self.conv.weight, self.conv.bias, *self.conv.dilation
        )
        return own + drop(convolved.relu(), dropout)


class _Convolution(torch.autograd.Function):
    """A dilated convolution as one product of matrices: [B, T + (K - 1) dilation, inputs] -> [B, T, channels].

    The kernels are small, so that copying what each frame sees costs little; `conv1d` takes three times as long, since
    its frames are not contiguous.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        seen = _seen(x, weight.shape[2], dilation)
        return torch.addmm(bias, seen.flatten(0, 1), _rows(weight)).view(*seen.shape[:2], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        channels, inputs, kernel = weight.shape
        frames, grad = grad.shape[1], grad.reshape(-1, channels)
        d_weight = _seen(x, kernel, ctx.dilation).flatten(0, 1).T @ grad
        d_seen = (grad @ _rows(weight).T).view(len(x), frames, kernel, inputs)
        d_x = torch.zeros_like(x)
        for tap in range(kernel):
            d_x[:, tap * ctx.dilation : tap * ctx.dilation + frames] += d_seen[:, :, tap]
        return d_x, d_weight.view(kernel, inputs, channels).permute(2, 1, 0), grad.sum(0), None


def _seen(x: Tensor, kernel: int, dilation: int) -> Tensor:
    """Copy what each frame sees: [B, T + (K - 1) dilation, inputs] -> [B, T, K inputs]."""
    frames = x.shape[1] - (kernel - 1) * dilation
    return torch.cat([x[:, tap * dilation : tap * dilation + frames] for tap in range(kernel)], dim=2)


def _rows(weight: Tensor) -> Tensor:
    """Arrange weights [channels, inputs, K] as [K inputs, channels]."""
    return weight.permute(2, 1, 0).reshape(-1, len(weight))


def tcn_layers(
    channels_in: int, channels: int, kernel: int, dilations: tuple[int, ...], *, causal: bool
) -> list[Layer]:
    """Make the layers of a TCN: the entry, then one per dilation."""
    layers = [TcnLayer(channels, kernel, dilation, causal=causal) for dilation in dilations]
    return [TcnEntry(channels_in, channels), *layers]
