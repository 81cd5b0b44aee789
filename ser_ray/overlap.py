"""The overlap rule of the paper (Eq. 2) and everything that follows from it, as pure integer functions.

Source of the rule: Tzirakis, Zhang, Schuller, "End-to-end speech emotion recognition using deep neural networks",
ICASSP 2018, Section 3. A convolution of kernel K followed by a pool of P looks at windows of K + P - 1 inputs that
are P apart, so that K - 1 of them are shared by neighbours: R = (K - 1) / (K + P - 1).
"""

import math
from collections.abc import Iterator, Sequence

from ser_ray.errors import InputError


def overlap_ratio(kernel: int, pool: int) -> float:
    """Return the share of a window of kernel and pool that its neighbour also sees (Eq. 2).

    Args:
        kernel: kernel size K of the convolution, at least 1.
        pool: pool size P after it (its stride too), at least 1.

    Returns:
        R = (K - 1) / (K + P - 1), in [0, 1).

    Raises:
        InputError: if a size is below 1.
    """
    _check_sizes(kernel=kernel, pool=pool)
    return (kernel - 1) / (kernel + pool - 1)


def kernel_size(pool: int, ratio: float) -> int:
    """Return the kernel whose overlap with a pool comes closest to a ratio, from Eq. 2 solved for K.

    Args:
        pool: pool size P, at least 1.
        ratio: overlap ratio R wanted, in [0, 1).

    Returns:
        K = 1 + P R / (1 - R), rounded to the nearest integer, halves upwards; at least 1.

    Raises:
        InputError: if the pool is below 1 or the ratio is outside [0, 1).
    """
    _check_sizes(pool=pool)
    if not 0 <= ratio < 1:
        raise InputError(f"overlap ratio is {ratio}, but must be at least 0 and below 1 (the paper's is about 0.4)")
    return math.floor(1 + pool * ratio / (1 - ratio) + 0.5)


def pool_sizes(hop: int, layers: int, smallest: int = 2) -> list[tuple[int, ...]]:
    """Return every ordered way to reach a hop by the pools of some layers.

    Args:
        hop: samples between two labels, the product that the pools must have (640 for 40 ms at 16 kHz).
        layers: number of pools, at least 1.
        smallest: the smallest pool allowed, at least 1.

    Returns:
        All tuples of `layers` integers of at least `smallest` whose product is `hop`, in ascending order. Empty if
        there is none.

    Raises:
        InputError: if an argument is below 1.
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
    """Return how many samples one output frame of a stack of convolutions and pools depends on.

    Args:
        kernels: kernel size of each layer.
        pools: pool size of each layer, of the same length.
        pooled: False if the pools are strides of the convolutions, which look at nothing beside their kernel.

    Returns:
        The receptive field in samples; 1097 for the paper's 8/10, 6/8, 6/8.

    Raises:
        InputError: if the lengths differ or a size is below 1.
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
    """Return the pools closest to given ones whose product is a hop.

    Args:
        pools: the pools to stay close to.
        hop: the product wanted, in samples.
        count: how many to return at most.

    Returns:
        Up to `count` tuples, the closest first: least sum of |log(pool / wanted pool)| over the layers.
    """
    candidates = pool_sizes(hop, len(pools), smallest=1)

    def distance(candidate: tuple[int, ...]) -> float:
        return sum(abs(math.log(new / old)) for new, old in zip(candidate, pools, strict=True))

    return sorted(candidates, key=lambda candidate: (distance(candidate), candidate))[:count]


def check_pools(pools: Sequence[int], hop: int) -> None:
    """Refuse pools that do not multiply to the hop.

    Args:
        pools: pool size of each layer.
        hop: samples between two labels of the corpus.

    Raises:
        InputError: naming the nearest pools that do multiply to the hop.
    """
    product = math.prod(pools)
    if product != hop:
        near = ", ".join(str(list(candidate)) for candidate in nearest_pools(pools, hop))
        raise InputError(
            f"pools {list(pools)} multiply to {product}, but one frame of this corpus is {hop} samples; "
            f"nearest pools that fit: {near}"
        )


def designs(hop: int, layers: int, smallest_pool: int, ratio: float) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return every design of a network under the rule: all pools that make the hop, kernels from the ratio.

    Args:
        hop: samples between two labels.
        layers: number of convolutions.
        smallest_pool: the smallest pool allowed.
        ratio: the overlap ratio that each layer's kernel should come closest to, in [0, 1).

    Returns:
        Pairs (kernels, pools), in the order of `pool_sizes`.
    """
    return [
        (tuple(kernel_size(pool, ratio) for pool in pools), pools) for pools in pool_sizes(hop, layers, smallest_pool)
    ]


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} is {size}, but must be at least 1")
