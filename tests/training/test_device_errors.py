"""What is made of the words of CUDA and its libraries."""

import errno

import pytest
import torch

from ser_ray.training.device_errors import classify_error

ADVICE = "\nCUDA kernel errors might be asynchronously reported at some other API call.\nCompile with ..."


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of ..."),
        torch.AcceleratorError("CUDA error: out of memory" + ADVICE),
        RuntimeError("CUDA error: out of memory" + ADVICE),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=str,
)
def test_memory_that_could_not_be_had(error):
    assert classify_error(error) == "memory"


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: uncorrectable ECC error encountered" + ADVICE,
        "CUDA error: uncorrectable NVLink error detected during the execution",
        "CUDA error: an illegal memory access was encountered" + ADVICE,
        "CUDA error: an illegal instruction was encountered",
        "CUDA error: misaligned address",
        "CUDA error: unspecified launch failure" + ADVICE,
        "CUDA error: the launch timed out and was terminated",
        "CUDA error: all CUDA-capable devices are busy or unavailable" + ADVICE,
        "CUDA error: invalid device ordinal",
        "CUDA error: unknown error",
        "CUDA driver error: device lost",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
        "Triton Error [CUDA]: an illegal memory access was encountered",
        "No CUDA GPUs are available",
        "The NVIDIA driver on your system is too old (found version 11040).",
        "Found no NVIDIA driver on your system.",
        "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
    ],
    ids=lambda words: words[:50],
)
@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_faults_of_the_device(words, kind):
    assert classify_error(kind(words)) == "device"


def test_any_words_of_an_accelerator_are_of_the_device():
    assert classify_error(torch.AcceleratorError("something that this table does not know")) == "device"
    assert classify_error(AssertionError("Torch not compiled with CUDA enabled")) == "device"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("CUDA error: unspecified launch failure"),  # nothing that PyTorch raises
        OSError(errno.ENOENT, "No such file"),
        KeyError("weight"),
        AssertionError("shape"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
        RuntimeError("CUDA error: device-side assert triggered" + ADVICE),
        torch.AcceleratorError("CUDA error: device-side assert triggered" + ADVICE),
        RuntimeError("CUDA error: invalid configuration argument"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in ..."),
        RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"),
        RuntimeError("aten::foo does not have a deterministic implementation"),
    ],
    ids=str,
)
def test_mistakes_of_a_program_are_the_trials_own(error):
    assert classify_error(error) is None


def test_what_an_error_was_raised_from_counts():
    error = ValueError("cannot make the network")
    error.__cause__ = torch.AcceleratorError("CUDA error: out of memory")
    assert classify_error(error) == "memory"
