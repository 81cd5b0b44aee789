"""What the host would otherwise choose for a training process: threads, precision, and when memory goes back."""

import ctypes

import torch

# parameters of glibc's mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER, _TOP_PAD_BYTES = 2**31 - 1, 2**28


def prepare_process() -> None:
    """Fix the numbers and the speed of this process: one thread, float32 in full, and buffers kept from step to step.

    Sums in another number of threads are rounded otherwise, and a trial's numbers must not depend on how many cores
    its host has; one trial per core is also the fastest way to fill a CPU with them. glibc by itself returns the
    buffers of a step to the kernel and faults them in again in the next: half of the step's time. Where another C
    library allocates, nothing is set.
    """
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _NEVER)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_TOP_PAD, _TOP_PAD_BYTES)
