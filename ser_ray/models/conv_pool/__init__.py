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

AUTO_ON_A_GPU: Backend = "reference"
"""What "auto" wants there: the fused one has not been timed on a GPU yet."""


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
    if _wants_fused_on_gpu(backend, device, dtype) and triton_host.missing_for_launchers() is None:
        from ser_ray.models.conv_pool import cuda

        return cuda.conv_pool
    return reference.conv_pool


def avoided(backend: Backend, device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why "auto" takes the reference where it would take the fused back end; None where it does not.

    Args:
        backend: what was asked for.
        device: where the tensors are.
        dtype: of the tensors.
    """
    if backend != "auto" or torch.is_autocast_enabled(device.type) or not _wants_fused_on_gpu(backend, device, dtype):
        return None
    return triton_host.missing_for_launchers()


def _wants_fused_on_gpu(backend: Backend, device: torch.device, dtype: torch.dtype) -> bool:
    wanted = AUTO_ON_A_GPU if backend == "auto" else backend
    return wanted == "fused" and device.type == "cuda" and dtype == torch.float32
