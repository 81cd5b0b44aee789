"""The block in plain PyTorch: the reference that the other back ends are tested against."""

from typing import assert_never

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ser_ray.models.config import Pooling
from ser_ray.models.dropout import Dropout, drop


def conv_pool(
    x: Float[Tensor, "batch steps inputs"],
    weight: Float[Tensor, "channels inputs kernel"],
    bias: Float[Tensor, " channels"],
    *,
    pool: int,
    padding: tuple[int, int],
    dropout: Dropout | None,
    pooling: Pooling = "max",
) -> Float[Tensor, "batch pooled channels"]:
    """Compute a block's output in any floating dtype; its steps are (steps + padding - kernel + 1) / pool.

    Args:
        x: the block's input.
        weight: of the convolution.
        bias: of the convolution.
        pool: pool size, or the stride of the convolution; steps that do not fill a pool are left out.
        padding: zeros before and after the steps.
        dropout: None drops nothing.
        pooling: "max", "average" or "stride".
    """
    x = F.pad(x.transpose(1, 2), padding)
    x = F.conv1d(x, weight, bias, stride=pool if pooling == "stride" else 1)
    match pooling:
        case "max":
            # the same values as pooling after the ReLU, which is monotone, at a fraction of the memory traffic
            x = F.relu(F.max_pool1d(x, pool))
        case "average":
            x = F.avg_pool1d(F.relu(x), pool)
        case "stride":
            x = F.relu(x)
        case _:
            assert_never(pooling)
    return drop(x.transpose(1, 2), dropout)
