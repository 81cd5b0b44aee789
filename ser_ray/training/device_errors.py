"""Classification of training errors: too little memory, or a fault of the device itself."""

import errno
import re
from typing import Literal

import torch

ErrorKind = Literal["memory", "device"]

_MEMORY = re.compile(
    r"out of memory"  # CUDA error: ..., also of torch.AcceleratorError, and cudaErrorMemoryAllocation
    r"|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY"
    r"|CUDNN_STATUS_ALLOC_FAILED|CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"
    r"|CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED|CUSOLVER_STATUS_ALLOC_FAILED"
    r"|DefaultCPUAllocator",  # PyTorch has no exception of its own for a CPU's memory
    re.IGNORECASE,
)
_DEVICE = re.compile(
    r"CUDA error|CUDA driver error|CUDA_ERROR_|cudaError[A-Z]|HIP error"
    r"|uncorrectable (?:ECC|NVLink)"
    r"|illegal (?:memory access|address|instruction)|misaligned address|unspecified launch failure"
    r"|busy or unavailable|device(?: is)? lost|GPU is lost|fallen off the bus|no CUDA-capable device"
    r"|No CUDA GPUs are available|CUDA unknown error|Unexpected error from cuda\w+"
    r"|NVIDIA driver|not compiled with CUDA|CUDA driver (?:version is insufficient|initialization failed)"
    r"|CUDNN_STATUS_\w+|cuDNN error|CUBLAS_STATUS_\w+|NVML_\w+|nvml\w+ error",
    re.IGNORECASE,
)
_OWN = re.compile(
    # mistakes of the program, which would fail on any other device as well
    r"CUDNN_STATUS_(?:BAD_PARAM|NOT_SUPPORTED)\w*|CUBLAS_STATUS_(?:INVALID_VALUE|NOT_SUPPORTED)"
    r"|device-side assert|invalid (?:argument|configuration argument|resource handle|device function)"
    r"|no kernel image is available|too many resources requested",
    re.IGNORECASE,
)


def classify_error(error: BaseException) -> ErrorKind | None:
    """Classify an error as too little memory ("memory") or a fault of the device ("device"); None for all others.

    The causes of an error (`raise ... from`) are checked, too. On another device a fault of the device would not recur;
    any other error, such as a bug, would. PyTorch raises most CUDA errors as a plain RuntimeError, so the message
    decides; this file alone has the patterns. "CUDA error: out of memory" counts as memory.
    """
    found = _classify_one(error)
    while found is None and error.__cause__ is not None:
        error = error.__cause__
        found = _classify_one(error)
    return found


def _classify_one(error: BaseException) -> ErrorKind | None:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    if isinstance(error, OSError):
        return "memory" if error.errno == errno.ENOMEM else None
    if not isinstance(error, RuntimeError | AssertionError):  # the latter from a PyTorch that was built without CUDA
        return None
    text = str(error)
    if _MEMORY.search(text):
        return "memory"
    if _OWN.search(text):
        return None
    return "device" if isinstance(error, torch.AcceleratorError) or _DEVICE.search(text) else None
