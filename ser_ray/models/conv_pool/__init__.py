"""One operation, convolution + bias + ReLU + max-pool + dropout, and its back ends.

- reference: plain PyTorch on any device, in any dtype; it defines the values.
- cpu: numba, one core; several times faster, since it computes and keeps only a fraction of the values.
- cuda: Triton.

All map [B, steps, channels] to [B, steps / pool, channels] with the same dropout masks; only rounding differs.
The fused back ends, cpu and cuda, have max-pooling alone; the reference has every `Pooling`.
"""

from typing import Protocol

import torch
from torch import Tensor

from ser_ray import triton_host
from ser_ray.models.config import Backend
from ser_ray.models.conv_pool import reference
from ser_ray.models.dropout import Dropout


class ConvPool(Protocol):
    """Signature of a back end; see `reference.conv_pool`."""

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor, *, pool: int, padding: tuple[int, int], dropout: Dropout | None
    ) -> Tensor:
        """Compute the block's output [B, steps / pool, channels]."""


def choose(backend: Backend, device: torch.device, dtype: torch.dtype) -> ConvPool:
    """Choose a back end for max-pooling; "auto" is the fused one on a CPU, the reference elsewhere, as measured.

    The fused ones compute in float32 (on a CPU also in float64); for other dtypes, and inside autocast, the reference
    is taken. Raises InputError if "fused" is requested on a GPU whose host lacks a requirement of Triton.
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
