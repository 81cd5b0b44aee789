"""A temporal convolutional network: residual layers of dilated convolutions over the frames.

After Bai, Kolter, Koltun, "An empirical evaluation of generic convolutional and recurrent networks for sequence
modeling", 2018, with one convolution per residual layer.
"""

from jaxtyping import Float
from torch import Tensor, nn

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
        convolved = self.conv(nn.functional.pad(x.transpose(1, 2), (before, after)))
        return own + drop(convolved.relu().transpose(1, 2), dropout)


def tcn_layers(
    channels_in: int, channels: int, kernel: int, dilations: tuple[int, ...], *, causal: bool
) -> list[Layer]:
    """Make the layers of a TCN: the entry, then one per dilation."""
    layers = [TcnLayer(channels, kernel, dilation, causal=causal) for dilation in dilations]
    return [TcnEntry(channels_in, channels), *layers]
