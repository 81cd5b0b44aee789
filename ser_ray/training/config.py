"""Configuration of a training; its defaults are the paper's."""

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Strict, ValidationError
from pydantic.dataclasses import dataclass

from ser_ray.errors import InputError
from ser_ray.models.config import Count, ModelConfig

_Seconds = Annotated[float, Strict(), Field(ge=0, le=86_400)]
Number = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
LARGEST_SEED = 9 * 10**18
"""Keeps a seed, and those of its replicates, within 64 bits, as in the tables."""
LONGEST_DELAY_S, DELAY_WINDOW_S = 10.0, 2.0
"""Of an estimated delay: the longest, and the length of the windows whose energies are compared with the labels."""
LEAST_DELAY_S = LONGEST_DELAY_S + DELAY_WINDOW_S
"""Length of a recording from which a delay can be estimated."""
Loss = Literal["ccc", "mse"]
Optimizer = Literal["rmsprop", "rmsprop_tf", "adam", "adamw"]
Segments = Literal["grid", "random"]
Precision = Literal["float32", "tf32", "bf16", "float64"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainingConfig:
    """Settings of a network's training.

    Args:
        epochs: the largest number of epochs.
        patience: epochs without a better devel CCC after which training stops early; None disables early stopping.
        batch_size: segments in a batch.
        sequence_s: length of a training segment in seconds; a whole number of frames.
        loss: "ccc" for 1 - CCC pooled over the batch, "mse" for the mean squared error.
        optimizer: "rmsprop" as in PyTorch, "rmsprop_tf" as in the paper's framework (mean square starting at one,
            epsilon inside the root), "adam", or "adamw".
        decay: decay rate of RMSprop's mean square.
        momentum: of RMSprop.
        weight_decay: this share of each weight is added to its gradient. With "adamw" each step shrinks the weight
            itself by this times the learning rate. 0 is the paper's setting.
        segments: "grid" cuts each recording at the same places in every epoch; "random" takes as many segments, each
            beginning at a frame that is drawn again in every epoch.
        label_shift_s: annotation delay to compensate: labels are moved earlier by this in training, and predictions
            moved back later by it. A whole number of frames; 0 is the paper's setting.
        estimate_delay: estimate the annotation delay of each target from the train partition (training/delay.py), and
            compensate it as label_shift_s does, which is then left at 0.
        precision: of the network, in training and in evaluation. "tf32" rounds products on GPUs that have it (elsewhere
            it is float32). "bf16" is bfloat16 up to the LSTM's output (float32 on CPUs without AVX-512). "float64" is
            slow and serves to compare kinds of CPU, since it makes their rounding differences negligible. The loss is
            float32, with "float64" float64.
        deterministic: on a GPU, use only algorithms that give the same bits each time; False lets cuDNN choose by
            timing. A CPU is always deterministic.
        clip_norm: largest norm of a step's gradients, over all weights; larger gradients are scaled down to it. None,
            the paper's setting, disables clipping.
        seed: of the weights, the segments and their order, and the dropout.
        limit_recordings: use at most this many recordings of each partition.
        limit_s: use only this many seconds from the start of each recording.
    """

    epochs: Count = 100
    patience: Count | None = None
    batch_size: Count = 5
    sequence_s: Annotated[float, Strict(), Field(gt=0, le=86_400)] = 20.0
    loss: Loss = "ccc"
    optimizer: Optimizer = "rmsprop"
    learning_rate: Positive = 1e-4
    decay: Annotated[float, Strict(), Field(ge=0, lt=1)] = 0.9
    momentum: Annotated[float, Strict(), Field(ge=0, lt=1)] = 0.1
    weight_decay: Number = 0.0
    segments: Segments = "grid"
    label_shift_s: _Seconds = 0.0
    precision: Precision = "float32"
    deterministic: Annotated[bool, Strict()] = True
    seed: Annotated[int, Strict(), Field(ge=0, le=LARGEST_SEED)] = 0
    limit_recordings: Count | None = None
    limit_s: Positive | None = None
    clip_norm: Positive | None = None
    estimate_delay: Annotated[bool, Strict()] = False

    def __post_init__(self) -> None:
        """Refuse fields that contradict each other."""
        if self.estimate_delay and self.label_shift_s:
            raise ValueError(f"label_shift_s {self.label_shift_s:g} and estimate_delay true are both set: keep one")


def whole_frames(seconds: float, label_rate: float, name: str) -> int:
    """Convert a duration to frames; raise InputError with the nearest valid durations if the number is not whole.

    `name` is the setting's name in the error.
    """
    frames = seconds * label_rate
    if abs(frames - round(frames)) > 1e-6:
        below, above = math.floor(frames) / label_rate, math.ceil(frames) / label_rate
        raise InputError(
            f"{name} is {seconds} s, which is {frames:g} frames of {1 / label_rate:g} s; "
            f"the nearest whole numbers of frames are {below:g} s and {above:g} s"
        )
    return round(frames)


def first_problem(error: ValidationError, *place: str) -> str:
    """Format the first validation error: its location below a place, and its message."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, (*place, *first['loc'])))}: {first['msg']}"


def weights_bytes(model: ModelConfig) -> int:
    """Compute the least memory that training a network takes for its weights, on any device.

    Weights, gradients, one state of the optimiser and the best weights so far, in float32.
    """
    return 4 * 4 * model.parameters


def segment_bytes(model: ModelConfig, samples: int) -> int:
    """Compute the least memory that training takes for one segment, with any back end.

    The audio and the output of each block, which the backward pass needs, in float32.
    """
    values = steps = samples
    filterbank = [model.filters] if model.front_end == "filterbank" else []
    for filters, (_, pool) in zip([*filterbank, *model.channels], model.layers, strict=True):
        steps //= pool
        values += steps * filters
    return 4 * values
