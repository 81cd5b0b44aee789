"""Overlap rule of the paper (Eq. 2), and the kernels, pools and designs that follow from it, as pure functions.

Source of the rule: Tzirakis, Zhang, Schuller, "End-to-end speech emotion recognition using deep neural networks",
ICASSP 2018, Section 3. A convolution of kernel K followed by a pool of P sees windows of K + P - 1 inputs that
are P apart. Neighbouring windows share K - 1 inputs: R = (K - 1) / (K + P - 1).
"""

import math
from collections.abc import Iterator, Sequence

from ser_ray.errors import InputError


def overlap_ratio(kernel: int, pool: int) -> float:
    """Compute the share R = (K - 1) / (K + P - 1) of a window that its neighbour also sees (Eq. 2), in [0, 1).

    >>> overlap_ratio(kernel=6, pool=8)
    0.38461538461538464
    """
    _check_sizes(kernel=kernel, pool=pool)
    return (kernel - 1) / (kernel + pool - 1)


def kernel_size(pool: int, ratio: float) -> int:
    """Find the kernel whose overlap with a pool is closest to a ratio in [0, 1): K = 1 + P R / (1 - R), rounded.

    Halves are rounded up.

    >>> kernel_size(pool=8, ratio=0.4)
    6
    """
    _check_sizes(pool=pool)
    if not 0 <= ratio < 1:
        raise InputError(f"overlap ratio is {ratio}, but must be at least 0 and below 1 (the paper's is about 0.4)")
    return math.floor(1 + pool * ratio / (1 - ratio) + 0.5)


def pool_sizes(hop: int, layers: int, smallest: int = 2) -> list[tuple[int, ...]]:
    """List every ordered factorisation of a hop (in samples) into the pools of some layers, in ascending order.

    >>> pool_sizes(hop=12, layers=2)
    [(2, 6), (3, 4), (4, 3), (6, 2)]
    """
    _check_sizes(hop=hop, layers=layers, smallest=smallest)
    return list(_factorisations(hop, layers, smallest))


def _factorisations(product: int, parts: int, smallest: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        if product >= smallest:
            yield (product,)
        return
    for first in range(smallest, product // smallest ** (parts - 1) + 1):
        if product % first == 0:
            for rest in _factorisations(product // first, parts - 1, smallest):
                yield (first, *rest)


def receptive_field(kernels: Sequence[int], pools: Sequence[int], *, pooled: bool = True) -> int:
    """Count the samples that one output frame of a stack of convolutions and pools depends on.

    With pooled=False the pools are strides of the convolutions, which see only their kernel.

    >>> receptive_field(kernels=[8, 6, 6], pools=[10, 8, 8])  # the paper's network
    1097
    """
    if len(kernels) != len(pools):
        raise InputError(f"{len(kernels)} kernels {list(kernels)} for {len(pools)} pools {list(pools)}: need as many")
    field, hop = 1, 1
    for kernel, pool in zip(kernels, pools, strict=True):
        _check_sizes(kernel=kernel, pool=pool)
        field += (kernel - 1) * hop
        if pooled:
            field += (pool - 1) * hop
        hop *= pool
    return field


def nearest_pools(pools: Sequence[int], hop: int, count: int = 3) -> list[tuple[int, ...]]:
    """Find up to `count` pools whose product is a hop, the closest first: least sum of |log(pool / given pool)|."""
    candidates = pool_sizes(hop, len(pools), smallest=1)

    def distance(candidate: tuple[int, ...]) -> float:
        return sum(abs(math.log(new / old)) for new, old in zip(candidate, pools, strict=True))

    return sorted(candidates, key=lambda candidate: (distance(candidate), candidate))[:count]


def check_pools(pools: Sequence[int], hop: int) -> None:
    """Check that the pools multiply to the hop of a corpus; else raise InputError, which names the nearest that do."""
    product = math.prod(pools)
    if product != hop:
        near = ", ".join(str(list(candidate)) for candidate in nearest_pools(pools, hop))
        raise InputError(
            f"pools {list(pools)} multiply to {product}, but one frame of this corpus is {hop} samples; "
            f"nearest pools that fit: {near}"
        )


def designs(hop: int, layers: int, smallest_pool: int, ratio: float) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """List every design (kernels, pools) of the rule: pools that multiply to the hop, kernels closest to the ratio."""
    return [
        (tuple(kernel_size(pool, ratio) for pool in pools), pools) for pools in pool_sizes(hop, layers, smallest_pool)
    ]


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} is {size}, but must be at least 1")
