"""Settings of a training process that would otherwise depend on its host: threads, precision, algorithms on a GPU."""

import os

import torch

from ser_ray.training.allocator import CUBLAS_WORKSPACE, keep_buffers
from ser_ray.training.config import Precision

FIRST_WITH_TF32 = (8, 0)
"""Compute capability of the first GPUs that have TF32."""


def prepare_process(precision: Precision = "float32", *, deterministic: bool = True) -> None:
    """Set this process to one thread, a precision, and an allocator that keeps buffers from step to step.

    Sums in another number of threads are rounded differently, and a trial's numbers must not depend on the number of
    its host's cores. One trial per core is also the fastest way to use a CPU. "tf32" lets a GPU round the factors of
    float32 products to TF32; all others forbid it. If deterministic, every operation on a GPU gives the same bits each
    time, or raises; if not, cuDNN times its algorithms and takes the fastest.
    """
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    _choose_algorithms(deterministic)
    keep_buffers()


def _choose_algorithms(deterministic: bool) -> None:
    # No operation of our networks in plain PyTorch 2.11 raises in deterministic mode. This is known from its
    # documentation, its source and the names of refused operations in its CUDA library; it has not been tried on a GPU.
    # - conv1d takes cuDNN's deterministic algorithms, in both directions.
    # - max_pool1d and avg_pool1d run as two-dimensional pools, whose backward passes are not refused. Our windows do
    #   not overlap, so no input gets a second gradient to be added.
    # - nn.LSTM is cuDNN's. It is not refused, but not deterministic if cuBLAS may choose between buffers of several
    #   sizes. Hence CUBLAS_WORKSPACE_CONFIG with one size, which counts only if it is set before CUDA is first used.
    # - the losses sum, compare and select, none of which adds to the same place twice.
    if deterministic:
        os.environ.setdefault(*CUBLAS_WORKSPACE)
    # the same as use_deterministic_algorithms, which would take seconds to load a compiler that we do not use
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # no new buffer is read before it is written, so that filling them would only cost time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def weights_dtype(precision: Precision) -> torch.dtype:
    """Return the dtype of a network's weights, and so of everything outside autocast: float32 except for "float64"."""
    return torch.float64 if precision == "float64" else torch.float32


def in_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """Return a context in which a network computes in a precision, in a process that was prepared for it.

    "bf16" computes convolutions and LSTM layers in bfloat16; for the others `prepare_process` has set all.
    """
    enabled = effective_precision(precision, device) == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def effective_precision(precision: Precision, device: torch.device) -> Precision:
    """Return the precision in which a device computes: the requested one, or "float32" if the device lacks it."""
    if precision == "tf32":
        has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= FIRST_WITH_TF32
        return "tf32" if has_tf32 else "float32"
    if precision == "bf16":
        # oneDNN, which computes LSTM layers on a CPU, refuses bfloat16 there without AVX-512
        has_bf16 = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return "bf16" if has_bf16 else "float32"
    return precision
