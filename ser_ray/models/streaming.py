"""Features of one recording, computed in pieces from its start to its end, in bounded memory.

Every layer computes its output in blocks at fixed places, each of them once, from the blocks of the layer below. So the
values do not depend on the pieces that are asked for, to the bit: each operation has the same operands.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ser_ray.models.layers import Layer

BLOCK_FRAMES = 256
"""Frames of the network in a block of any layer: about 10 s."""

Compute = Callable[[int, int], Tensor]
"""Computes the steps [1, stop - start, channels] of a block."""


class Steps:
    """The output of one layer over a recording, computed block by block and kept as long as it may be asked for."""

    def __init__(self, compute: Compute, block: int, total: int) -> None:
        self._compute, self._block, self.total = compute, block, total
        self._begin = self._end = 0
        self._kept: Tensor | None = None

    def between(self, start: int, stop: int) -> Float[Tensor, "1 {stop-start} channels"]:
        """Return the steps from a start, which never goes back, to a stop, both within the recording."""
        assert self._begin <= start <= stop <= self.total
        while self._end < stop or self._kept is None:
            end = min(self._end + self._block, self.total)
            block = self._compute(self._end, end)
            self._kept = block if self._kept is None else torch.cat([self._kept, block], dim=1)
            self._end = end
        self._kept = self._kept[:, start - self._begin :]
        self._begin = start
        return self._kept[:, : stop - start]


def layered(below: Steps, layers: Sequence[Layer], block_steps: int) -> Steps:
    """Stack layers on the steps of the one below them, whose blocks have `block_steps` steps."""
    for layer in layers:
        block_steps //= layer.pool
        below = _above(below, layer, block_steps)
    return below


def _above(below: Steps, layer: Layer, block_steps: int) -> Steps:
    def compute(start: int, stop: int) -> Tensor:
        first, last = start * layer.pool - layer.pad_left, stop * layer.pool + layer.pad_right
        # cloned, so that the rows of every operand are aligned in the same way
        x = below.between(max(first, 0), min(last, below.total)).clone()
        output: Tensor = layer(x, padding=(max(-first, 0), max(last - below.total, 0)))
        return output

    return Steps(compute, block_steps, below.total // layer.pool)
