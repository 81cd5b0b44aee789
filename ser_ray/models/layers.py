"""Layers of the convolutional part: each maps [B, T, channels in] to [B, T / pool, channels out]."""

from jaxtyping import Float
from torch import Tensor, nn

from ser_ray.models.config import Backend, Pooling
from ser_ray.models.conv_pool import choose, reference
from ser_ray.models.dropout import Dropout


class Layer(nn.Module):
    """A layer whose step t depends on the steps t pool - pad_left to (t + 1) pool + pad_right - 1 of its input.

    `layer(x, padding=None, dropout=None)` computes its output. `padding` are the zeros before and after; None pads a
    whole input, so that the output has T / pool steps. Only layers that drop (`drops`) are given a dropout.
    """

    pool: int = 1
    pad_left: int = 0
    pad_right: int = 0
    drops: bool = False


class Block(Layer):
    """Convolution, ReLU, pool and dropout: [B, T, channels in] -> [B, T / pool, channels out].

    `pool` is the stride where pooling is "stride". Only "max" pooling has a fused back end.
    """

    drops = True

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
        """Compute the block's output; see `Layer`."""
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


class Average(Layer):
    """Mean over every `pool` steps: [B, T, channels] -> [B, T / pool, channels]."""

    def __init__(self, pool: int) -> None:
        super().__init__()
        self.pool = pool

    def forward(
        self,
        x: Float[Tensor, "batch steps inputs"],
        *,
        padding: tuple[int, int] | None = None,
        dropout: None = None,
    ) -> Float[Tensor, "batch pooled channels"]:
        """Compute the means; steps need no padding."""
        rows, steps, channels = x.shape
        return x.reshape(rows, steps // self.pool, self.pool, channels).mean(dim=2)
