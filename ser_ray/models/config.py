"""Configuration of a network; its defaults are the paper's (1,299,906 parameters)."""

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ser_ray.overlap import overlap_ratio, receptive_field

Count = Annotated[int, Strict(), Field(ge=1, le=10**9)]
Pooling = Literal["max", "average", "stride"]
Backend = Literal["auto", "reference", "fused"]
"""What computes the blocks: "auto" is the fastest of the device; no key depends on it."""
Target = Literal["arousal", "valence"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ModelConfig:
    """A network of convolutional blocks, unidirectional LSTM layers and one linear head.

    Args:
        kernels: kernel size of each convolution, in steps of its input.
        pools: pool size of each block; their product is the hop, the samples of one output frame.
        pooling: "max" as in the paper, "average", or "stride" for convolutions with that stride and no pool.
        dropout: probability of dropping a value after each pool.
        hidden: units of each LSTM layer.
        targets: predicted by the head, one output each.
    """

    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 128, 256)
    kernels: Annotated[tuple[Count, ...], Field(min_length=1)] = (8, 6, 6)
    pools: Annotated[tuple[Count, ...], Field(min_length=1)] = (10, 8, 8)
    pooling: Pooling = "max"
    dropout: Annotated[float, Strict(), Field(ge=0, lt=1)] = 0.5
    hidden: Count = 256
    lstm_layers: Annotated[int, Strict(), Field(ge=1, le=100)] = 2
    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = ("arousal", "valence")

    def __post_init__(self) -> None:
        """Refuse lists of different lengths and duplicate targets."""
        if not len(self.channels) == len(self.kernels) == len(self.pools):
            raise ValueError(
                f"channels {list(self.channels)}, kernels {list(self.kernels)} and pools {list(self.pools)} describe "
                f"{len(self.channels)}, {len(self.kernels)} and {len(self.pools)} layers: need as many of each"
            )
        if len(set(self.targets)) != len(self.targets):
            raise ValueError(f"targets {list(self.targets)} name one twice")

    @property
    def hop(self) -> int:
        """Samples of one output frame."""
        return math.prod(self.pools)

    @property
    def fusible(self) -> bool:
        """Whether the fused back ends compute its blocks; they have max-pooling alone."""
        return self.pooling == "max"

    @property
    def overlap_ratios(self) -> tuple[float, ...]:
        """Overlap ratio (Eq. 2) of each layer."""
        return tuple(overlap_ratio(k, p) for k, p in zip(self.kernels, self.pools, strict=True))

    @property
    def receptive_field(self) -> int:
        """Samples that one frame of the convolutional part depends on."""
        return receptive_field(self.kernels, self.pools, pooled=self.pooling != "stride")

    @property
    def convolution_parameters(self) -> int:
        """Weights and biases of the convolutions."""
        layers = zip(self.kernels, (1, *self.channels[:-1]), self.channels, strict=True)
        return sum(kernel * inputs * filters + filters for kernel, inputs, filters in layers)

    @property
    def parameters(self) -> int:
        """Weights and biases of the network: convolutions, LSTM layers (two biases per gate) and head."""
        total, inputs = self.convolution_parameters, self.channels[-1]
        total += 4 * self.hidden * (inputs + self.hidden) + 8 * self.hidden
        total += (self.lstm_layers - 1) * (8 * self.hidden**2 + 8 * self.hidden)
        return total + (self.hidden + 1) * len(self.targets)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one output frame in the forward pass; the duration of a step grows with them."""
        total, inputs, steps = 0, 1, self.hop
        for filters, kernel, pool in zip(self.channels, self.kernels, self.pools, strict=True):
            pooled = steps // pool
            total += (pooled if self.pooling == "stride" else steps) * kernel * inputs * filters
            inputs, steps = filters, pooled
        total += 4 * self.hidden * (inputs + self.hidden) + (self.lstm_layers - 1) * 8 * self.hidden**2
        return total + self.hidden * len(self.targets)
