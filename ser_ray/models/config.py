"""Configuration of a network; its defaults are the paper's (1,299,906 parameters)."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal, assert_never

from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ser_ray.overlap import overlap_ratio, receptive_field

Count = Annotated[int, Strict(), Field(ge=1, le=10**9)]
Reach = Annotated[int, Strict(), Field(ge=1, le=1000)]
"""In frames; beyond it a layer would pad more than recordings have."""
Rate = Annotated[float, Strict(), Field(ge=0, lt=1)]
Milliseconds = Annotated[float, Strict(), Field(gt=0, le=1000)]
Pooling = Literal["max", "average", "stride"]
FrontEnd = Literal["conv", "filterbank"]
FilterStart = Literal["mel", "random"]
Compression = Literal["none", "log", "pcen"]
Normalization = Literal["none", "recording", "recording_mean", "running"]
Statistics = Literal["segment", "recording"]
Temporal = Literal["lstm", "bilstm", "tcn"]
Backend = Literal["auto", "reference", "fused"]
"""What computes the blocks: "auto" is the fastest of the device; no key depends on it."""
Target = Literal["arousal", "valence"]

SAMPLES_PER_MS = 16
"""Of the audio of every corpus, which has 16 kHz."""
PCEN_PARAMETERS = 3
"""Learned exponents and bias per channel."""

_OF_FILTERBANK = ("filters", "width_ms", "hop_ms", "energy_steps", "filter_start", "filter_rate")
_OF_TCN = ("dilations", "tcn_kernel", "causal", "temporal_dropout")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ModelConfig:
    """A network of a front end, convolutional blocks, a temporal part and one linear head.

    The paper's front end is its first block, its temporal part LSTM layers.

    Args:
        channels: filters of each block.
        kernels: kernel size of each block's convolution, in steps of its input.
        pools: pool size of each block.
        pooling: "max" as in the paper, "average", or "stride" for convolutions with that stride and no pool.
        dropout: probability of dropping a value after each pool, and after a filterbank.
        hidden: units of each layer of the temporal part.
        lstm_layers: number of LSTM layers.
        targets: predicted by the head, one output each.
        front_end: "conv" is the first block; "filterbank" has pairs of a cosine and a sine filter before the blocks,
            of which there may be none, and yields the energy of each pair: the sum of its two squared outputs.
        filters: pairs of a filterbank.
        width_ms: length of a filterbank's filters.
        hop_ms: step of a filterbank.
        energy_steps: number of a filterbank's steps whose energies are averaged to one, before the compression.
        filter_start: "mel" starts from windowed tones that are evenly spaced in mel; "random" from noise.
        filter_rate: learning rate of a filterbank, as a multiple of the training's; 0 keeps the filters as they start.
        compression: of the front end's output: "log", or "pcen" for per-channel energy normalisation with learned
            exponents (Wang et al. 2017).
        normalization: of the front end's output, after compression, per channel: "recording" subtracts the mean over
            the recording and divides by the deviation, "recording_mean" subtracts the mean alone, "running" is
            "recording" over what was heard so far, for streams.
        statistics: what a training segment is normalised by over the recording: its own statistics ("segment"), or
            those of its whole recording ("recording"), computed at the start of each epoch, as when predicting.
        average: number of steps of the blocks' output that are averaged to one frame.
        dropouts: probabilities for the front end and each further block, in place of `dropout`.
        temporal: "lstm" as in the paper, "bilstm" in both directions, "tcn" for residual dilated convolutions.
        dilations: of each layer of a TCN.
        tcn_kernel: kernel size of a TCN's layers, in frames.
        causal: whether a TCN sees no later frames.
        temporal_dropout: dropout in each layer of a TCN.
    """

    channels: tuple[Count, ...] = (64, 128, 256)
    kernels: tuple[Count, ...] = (8, 6, 6)
    pools: tuple[Count, ...] = (10, 8, 8)
    pooling: Pooling = "max"
    dropout: Rate = 0.5
    hidden: Count = 256
    lstm_layers: Annotated[int, Strict(), Field(ge=1, le=100)] = 2
    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = ("arousal", "valence")
    front_end: FrontEnd = "conv"
    filters: Count = 40
    width_ms: Milliseconds = 25.0
    hop_ms: Milliseconds = 10.0
    energy_steps: Count = 1
    filter_start: FilterStart = "mel"
    filter_rate: Annotated[float, Strict(), Field(ge=0, le=100)] = 0.1
    compression: Compression = "none"
    normalization: Normalization = "none"
    statistics: Statistics = "segment"
    average: Count = 1
    dropouts: tuple[Rate, ...] | None = None
    temporal: Temporal = "lstm"
    dilations: Annotated[tuple[Reach, ...], Field(min_length=1)] = (1, 2, 4, 8, 16)
    tcn_kernel: Reach = 5
    causal: Annotated[bool, Strict()] = False
    temporal_dropout: Rate = 0.3

    def __post_init__(self) -> None:
        """Refuse fields that contradict each other, or that the chosen parts do not have."""
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> Iterator[str]:
        if not len(self.channels) == len(self.kernels) == len(self.pools):
            yield (
                f"channels {list(self.channels)}, kernels {list(self.kernels)} and pools {list(self.pools)} describe "
                f"{len(self.channels)}, {len(self.kernels)} and {len(self.pools)} layers: need as many of each"
            )
        if len(set(self.targets)) != len(self.targets):
            yield f"targets {list(self.targets)} name one twice"
        if self.front_end == "conv" and not self.channels:
            yield "channels, kernels and pools are empty, but front_end conv is the first block: give at least one"
        # a field that has no effect would make two keys of one network
        for part, chosen, fields in (("front_end", "filterbank", _OF_FILTERBANK), ("temporal", "tcn", _OF_TCN)):
            for name in fields if getattr(self, part) != chosen else ():
                if getattr(self, name) != self.__dataclass_fields__[name].default:
                    given = getattr(self, part)
                    yield f"{name} is of {part} {chosen}, but {part} is {given}: set {part}, or leave {name} out"
        if self.temporal == "tcn" and self.lstm_layers != 2:
            yield "lstm_layers is of temporal lstm and bilstm; a tcn has a layer per dilation: set dilations"
        if self.statistics == "recording" and not self.normalizes_recordings:
            yield (
                "statistics recording is of normalization recording and recording_mean, but normalization is "
                f"{self.normalization}: set normalization, or leave statistics out"
            )
        if self.front_end == "filterbank":
            yield from self._filterbank_problems()
        if self.dropouts is not None and len(self.dropouts) != len(self.layers):
            yield (
                f"dropouts {list(self.dropouts)} are {len(self.dropouts)} probabilities for {len(self.layers)} parts: "
                "the front end and each further block"
            )
        if self.dropouts is not None and self.dropout != 0.5:
            yield f"dropout {self.dropout:g} and dropouts {list(self.dropouts)} are both set: keep one"

    def _filterbank_problems(self) -> Iterator[str]:
        for name in ("width_ms", "hop_ms"):
            samples = getattr(self, name) * SAMPLES_PER_MS
            if samples != round(samples):
                near = f"{math.floor(samples) / SAMPLES_PER_MS:g} and {math.ceil(samples) / SAMPLES_PER_MS:g}"
                yield f"{name} {getattr(self, name):g} is {samples:g} samples, which must be whole; nearest: {near}"
        if self.width_ms < self.hop_ms:
            yield f"width_ms {self.width_ms:g} is below hop_ms {self.hop_ms:g}: samples in between would be unheard"
        if self.filter_start == "random" and self.filter_rate == 0:
            yield "filter_rate 0 keeps filters as they start, but filter_start is random: take mel, or a rate above 0"

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(Kernel, pool) of the front end and each further block, as the overlap rule has them.

        A filterbank has windows of its width that are its hop apart, as a kernel of width - hop + 1 before a pool of
        hop times energy_steps.
        """
        blocks = tuple(zip(self.kernels, self.pools, strict=True))
        if self.front_end == "conv":
            return blocks
        return ((self.filter_samples - self.filter_hop + 1, self.filter_hop * self.energy_steps), *blocks)

    @property
    def filter_samples(self) -> int:
        """Length of a filterbank's filters."""
        return round(self.width_ms * SAMPLES_PER_MS)

    @property
    def filter_hop(self) -> int:
        """Samples between two outputs of a filterbank's filters."""
        return round(self.hop_ms * SAMPLES_PER_MS)

    @property
    def hop(self) -> int:
        """Samples of one output frame."""
        return math.prod(pool for _, pool in self.layers) * self.average

    @property
    def name(self) -> str:
        """Kind of network: front end and temporal part, such as "conv_lstm", the paper's."""
        return f"{self.front_end}_{self.temporal}"

    @property
    def design(self) -> str:
        """Kernel and pool of each block, such as "8/10 6/8 6/8", after the width and hop of a filterbank: "25/10ms"."""
        blocks = [f"{kernel}/{pool}" for kernel, pool in zip(self.kernels, self.pools, strict=True)]
        averaged = f"x{self.energy_steps}" if self.energy_steps > 1 else ""
        filterbank = [f"{self.width_ms:g}/{self.hop_ms:g}ms{averaged}"] if self.front_end == "filterbank" else []
        return " ".join([*filterbank, *blocks])

    @property
    def prepares(self) -> bool:
        """Whether the front end is more than a block: a filterbank, or followed by compression or normalisation."""
        return self.front_end != "conv" or self.compression != "none" or self.normalization != "none"

    @property
    def normalizes_recordings(self) -> bool:
        """Check whether the normalisation is by statistics of the whole recording."""
        return self.normalization in ("recording", "recording_mean")

    @property
    def fusible(self) -> bool:
        """Whether the fused back ends compute its blocks; they have max-pooling alone."""
        return self.pooling == "max" and bool(self.channels)

    @property
    def layer_dropouts(self) -> tuple[float, ...]:
        """Dropout after the front end and after each further block."""
        return self.dropouts or (self.dropout,) * len(self.layers)

    @property
    def overlap_ratios(self) -> tuple[float, ...]:
        """Overlap ratio (Eq. 2) of the front end and each further block."""
        return tuple(overlap_ratio(kernel, pool) for kernel, pool in self.layers)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame of the convolutional part depends on, apart from normalisation."""
        windows = [kernel + pool - 1 for kernel, pool in self.layers]
        if self.pooling == "stride":
            windows = [*windows[: len(self.layers) - len(self.kernels)], *self.kernels]
        hops = [pool for _, pool in self.layers]
        return receptive_field([*windows, self.average], [*hops, self.average], pooled=False)

    @property
    def features(self) -> int:
        """Channels that the temporal part is given."""
        return self.channels[-1] if self.channels else self.filters

    @property
    def front_end_channels(self) -> int:
        """Channels of the front end's output."""
        return self.filters if self.front_end == "filterbank" else self.channels[0]

    @property
    def convolution_parameters(self) -> int:
        """Weights and biases of the front end and the blocks."""
        total = 0
        first, channels = 1, self.filters
        if self.front_end == "filterbank":
            first = self.filters
            total += 2 * self.filters * self.filter_samples
        else:
            channels = self.channels[0]
        total += PCEN_PARAMETERS * channels if self.compression == "pcen" else 0
        layers = zip(self.kernels, (first, *self.channels)[: len(self.channels)], self.channels, strict=True)
        return total + sum(kernel * inputs * filters + filters for kernel, inputs, filters in layers)

    @property
    def parameters(self) -> int:
        """Weights and biases of the network: convolutions, temporal part (two biases per gate of an LSTM) and head."""
        total, inputs, outputs = self.convolution_parameters, self.features, self.hidden
        match self.temporal:
            case "tcn":
                total += (inputs + 1) * self.hidden
                total += len(self.dilations) * (self.tcn_kernel * self.hidden + 1) * self.hidden
            case "lstm" | "bilstm":
                directions = 2 if self.temporal == "bilstm" else 1
                outputs = directions * self.hidden
                for layer in range(self.lstm_layers):
                    inner = outputs if layer else inputs
                    total += directions * (4 * self.hidden * (inner + self.hidden) + 8 * self.hidden)
            case _:
                assert_never(self.temporal)
        return total + (outputs + 1) * len(self.targets)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one output frame in the forward pass; the duration of a step grows with them."""
        total, inputs, steps, outputs = 0, 1, self.hop, self.hidden
        if self.front_end == "filterbank":
            total += self.hop // self.filter_hop * 2 * self.filters * self.filter_samples
            inputs, steps = self.filters, self.hop // self.layers[0][1]
        for filters, kernel, pool in zip(self.channels, self.kernels, self.pools, strict=True):
            pooled = steps // pool
            total += (pooled if self.pooling == "stride" else steps) * kernel * inputs * filters
            inputs, steps = filters, pooled
        if self.temporal == "tcn":
            total += self.hidden * (inputs + len(self.dilations) * self.tcn_kernel * self.hidden)
        else:
            directions = 2 if self.temporal == "bilstm" else 1
            outputs = directions * self.hidden
            total += directions * 4 * self.hidden * (inputs + self.hidden)
            total += (self.lstm_layers - 1) * directions * 4 * self.hidden * (outputs + self.hidden)
        return total + outputs * len(self.targets)
