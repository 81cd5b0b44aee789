"""What the host would otherwise choose for a training process: threads and precision."""

import torch

from ser_ray.training.allocator import keep_buffers


def prepare_process() -> None:
    """Fix the numbers and the speed of this process: one thread, float32 in full, and buffers kept from step to step.

    Sums in another number of threads are rounded otherwise, and a trial's numbers must not depend on how many cores
    its host has; one trial per core is also the fastest way to fill a CPU with them.
    """
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    keep_buffers()
