"""One operation: convolution + bias + ReLU + max-pool + dropout, and the back ends that compute it.

- reference: plain PyTorch on any device, in any dtype; it defines the values.
- cpu: numba, one core; several times faster, since it computes and keeps a fraction of it.
- cuda: Triton.

All take and give [B, steps, channels] and the same dropout masks; their sums are rounded in another order.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor

from ser_ray import triton_host
from ser_ray.models.conv_pool import reference
from ser_ray.models.dropout import Dropout

Backend = Literal["auto", "reference", "fused"]


class ConvPool(Protocol):
    """What a back end is; see `reference.conv_pool`."""

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor, *, pool: int, padding: tuple[int, int], dropout: Dropout | None
    ) -> Tensor:
        """Return the block's output [B, steps / pool, channels]."""
        ...


def choose(backend: Backend, device: torch.device, dtype: torch.dtype) -> ConvPool:
    """Return a back end for max-pooling.

    Args:
        backend: "reference", "fused", or "auto" for the fastest that has been measured: the fused one on a CPU, the
            reference elsewhere.
        device: where the tensors are.
        dtype: of the tensors. The fused ones compute in float32 (on a CPU also in float64); for all others, and
            inside autocast, the reference is taken.

    Returns:
        The back end, imported.

    Raises:
        InputError: if "fused" is asked for on a GPU whose host lacks what Triton needs.
    """
    if backend == "reference" or torch.is_autocast_enabled(device.type):
        return reference.conv_pool
    if device.type == "cpu" and dtype in (torch.float32, torch.float64):
        from ser_ray.models.conv_pool import cpu

        return cpu.conv_pool
    if backend == "fused" and device.type == "cuda" and dtype == torch.float32:
        triton_host.refuse_fused()
        from ser_ray.models.conv_pool import cuda

        return cuda.conv_pool
    return reference.conv_pool
