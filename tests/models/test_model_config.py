"""What follows from a network's configuration alone."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ser_ray.models import ModelConfig, build


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(channels=(4, 8), kernels=(3, 5), pools=(4, 2), pooling="stride", hidden=6, lstm_layers=1),
        ModelConfig(channels=(5,), kernels=(7,), pools=(6,), pooling="average", hidden=3, targets=("valence",)),
        ModelConfig(channels=(4, 2, 3), kernels=(1, 2, 9), pools=(2, 1, 3), hidden=7, lstm_layers=3),
    ],
    ids=["paper", "stride", "average", "deep"],
)
def test_multiply_adds_are_those_that_pytorch_counts(config):
    frames, batch = 3, 2
    model = build(config, "reference").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(batch, frames * config.hop))
    counted = counter.get_total_flops() / 2 / (frames * batch)
    # the counter knows no LSTM: each of its weights, biases aside, is used once in a frame
    recurrent = sum(weight.numel() for weight in model.lstm.parameters() if weight.ndim == 2)
    assert config.multiply_adds == counted + recurrent


def test_the_papers_network_by_hand():
    convolutions = 640 * 8 * 1 * 64 + 64 * 6 * 64 * 128 + 8 * 6 * 128 * 256
    lstm = 2 * 4 * 256 * (256 + 256)
    assert ModelConfig().multiply_adds == convolutions + lstm + 256 * 2
