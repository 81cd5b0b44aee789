"""Allocator settings and environment of a training process; without PyTorch, so that its parent can set them, too.

A step of the paper's network allocates and frees about 2 GB of buffers. By default glibc returns them to the kernel
and has them faulted in again in the next step, which takes half of the step's time (benchmarks/bench_step.py).
"""

import ctypes

# parameters of glibc's mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER, _LARGEST, _TOP_PAD_BYTES = -1, 2**31 - 1, 2**28

CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Gives cuBLAS buffers of one size; if it may choose between sizes, results can differ from run to run."""

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(_LARGEST),
    # more than any process frees: a step in plain PyTorch frees over 2 GB
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(_TOP_PAD_BYTES),
    # Ray runs a trial in a thread, and the heaps of threads are too small for a step's buffers: one heap for all
    "MALLOC_ARENA_MAX": "1",
    **dict([CUBLAS_WORKSPACE]),
}
"""Environment variables that a process which trains in a thread needs at its start."""


def keep_buffers() -> None:
    """Make this process keep freed buffers for its next step; sufficient if its main thread trains.

    With another C library than glibc nothing is set.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_TOP_PAD, _TOP_PAD_BYTES)
