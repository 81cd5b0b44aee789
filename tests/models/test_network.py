import math
import warnings
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from ser_ray.errors import InputError
from ser_ray.models import ModelConfig, build
from ser_ray.models.config import Pooling
from ser_ray.models.layers import Block
from ser_ray.overlap import receptive_field

POOLINGS = get_args(Pooling)
# channels, kernel and pool of each layer
small_layers = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 4)), min_size=1, max_size=3)
# the fused blocks are compiled for the sizes of their layers, so few of them; test_conv_pool holds them in others
few_layers = st.lists(st.sampled_from([(2, 4, 3), (3, 7, 2), (4, 1, 4), (1, 6, 1)]), min_size=1, max_size=3)


def small_networks(*poolings):
    """Layers, pooling and back end."""
    of_the_reference = st.tuples(small_layers, st.sampled_from(poolings), st.just("reference"))
    return st.one_of(st.tuples(few_layers, st.just("max"), st.just("fused")), of_the_reference)


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def small_network(layers, pooling, backend, seed=0, hidden=3):
    channels, kernels, pools = zip(*layers, strict=True)
    torch.manual_seed(seed)
    config = ModelConfig(channels=channels, kernels=kernels, pools=pools, pooling=pooling, hidden=hidden)
    return build(config, backend).double().eval()


def literal_block(block, x):
    """The block's formula, position by position, in numpy: conv ('same', odd pad right), ReLU, pool."""
    weight, bias = block.conv.weight.detach().numpy(), block.conv.bias.detach().numpy()
    kernel = weight.shape[2]
    left = (kernel - 1) // 2
    length = x.shape[1]
    conv = np.empty((weight.shape[0], length))
    for t in range(length):
        total = bias.copy()
        for k in range(kernel):
            if 0 <= t + k - left < length:
                total = total + weight[:, :, k] @ x[:, t + k - left]
        conv[:, t] = np.maximum(total, 0)
    windows = conv[:, : length // block.pool * block.pool].reshape(len(conv), -1, block.pool)
    match block.pooling:
        case "max":
            return windows.max(-1)
        case "average":
            return windows.mean(-1)
        case "stride":
            return windows[:, :, 0]
        case other:
            raise NotImplementedError(f"the formula of pooling {other}")


def test_the_papers_network():
    model = build(ModelConfig())
    assert model.training
    assert count_parameters(model) == 1_299_906 == ModelConfig().parameters
    assert [block.conv.out_channels for block in model.blocks] == [64, 128, 256]
    assert (model.lstm.num_layers, model.lstm.hidden_size, model.lstm.bidirectional) == (2, 256, False)
    assert isinstance(model.head, nn.Linear)
    assert (model.config.dropout, model.lstm.dropout) == (0.5, 0)


def test_20_s_are_500_frames():
    assert build(ModelConfig(channels=(2, 2, 2), hidden=4))(torch.zeros(1, 320_000)).shape == (1, 500, 2)


def test_300_s_are_7500_frames():
    model = build(ModelConfig(channels=(1, 1, 1), hidden=2)).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 4_800_000)).shape == (1, 7500, 2)


def test_even_kernels_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build(ModelConfig(channels=(2, 2, 2), hidden=2))(torch.zeros(1, 6400)).shape == (1, 10, 2)


def test_the_odd_padding_is_on_the_right():
    block = Block(1, 1, kernel=8, pool=1, pooling="max")
    assert (block.pad_left, block.pad_right) == (3, 4)
    with torch.no_grad():
        block.conv.weight.zero_()
        block.conv.bias.zero_()
        block.conv.weight[0, 0, 0] = 1  # looks pad_left steps back
    pulse = torch.zeros(1, 20, 1)
    pulse[0, 5] = 1
    assert block(pulse)[0, :, 0].nonzero().flatten().tolist() == [8]


@given(small_networks(*POOLINGS))
@settings(deadline=None, max_examples=50)
def test_blocks_compute_their_formula(network):
    model = small_network(*network)
    waveform = torch.randn(1, 5 * model.config.hop, dtype=torch.float64)
    x = waveform.numpy()
    for block in model.blocks:
        x = literal_block(block, x)
    with torch.no_grad():
        np.testing.assert_allclose(model.features(waveform)[0].numpy().T, x, atol=1e-12)


@given(small_networks(*POOLINGS))
@settings(deadline=None, max_examples=30)
def test_receptive_field_is_what_the_gradient_sees(network):
    model, (layers, pooling, _) = small_network(*network), network
    with torch.no_grad():  # all weights positive and alike, so that no ReLU hides an input
        for block in model.blocks:
            block.conv.weight.fill_(0.1)
            block.conv.bias.zero_()
    _, kernels, pools = zip(*layers, strict=True)
    field = receptive_field(kernels, pools, pooled=pooling != "stride")
    assert field == model.config.receptive_field
    frames = 2 * (field // model.config.hop + 2) + 1
    rows = 40 if pooling == "max" else 1  # a max shows one input at a time
    waveform = torch.rand(rows, frames * model.config.hop, dtype=torch.float64, requires_grad=True)
    model.features(waveform)[:, frames // 2].sum().backward()
    reached = waveform.grad.ne(0).any(0).nonzero().flatten().tolist()
    assert max(reached) - min(reached) + 1 <= field
    if pooling != "max":
        assert max(reached) - min(reached) + 1 == field


def reader(waveform):
    """Samples of a waveform as features_between asks for them, and what it asked for."""
    asked = []

    def read(start, stop):
        assert 0 <= start < stop <= waveform.shape[1]
        asked.append((start, stop))
        return waveform[:, start:stop]

    return read, asked


@given(small_networks(*POOLINGS), st.integers(1, 9), st.integers(1, 12))
@settings(deadline=None, max_examples=50)
def test_chunks_equal_the_whole_pass(network, chunk, frames):
    model = small_network(*network)
    waveform = torch.randn(2, frames * model.config.hop, dtype=torch.float64)
    read, _ = reader(waveform)
    with torch.no_grad():
        whole = model.features(waveform)
        parts = [model.features_between(read, frames, a, min(a + chunk, frames)) for a in range(0, frames, chunk)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-15)


@given(small_networks(*(pooling for pooling in POOLINGS if pooling != "stride")), st.integers(0, 8), st.integers(1, 4))
@settings(deadline=None, max_examples=50)
def test_only_the_samples_that_the_frames_depend_on_are_asked_for(network, start, n):
    model, (layers, _, _) = small_network(*network), network
    _, kernels, pools = zip(*layers, strict=True)
    hop, frames = model.config.hop, start + n + 8
    read, asked = reader(torch.randn(1, frames * hop, dtype=torch.float64))
    with torch.no_grad():
        model.features_between(read, frames, start, start + n)
    # the first sample that a frame sees: each layer's left padding, in samples
    left = sum((kernel - 1) // 2 * math.prod(pools[:layer]) for layer, kernel in enumerate(kernels))
    first = start * hop - left
    last = first + receptive_field(kernels, pools) + (n - 1) * hop
    assert asked == [(max(0, first), min(last, frames * hop))]


@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"), [("fused", torch.float32, 0), ("reference", torch.float64, 1e-14)]
)
def test_chunks_of_the_papers_network_equal_the_whole_pass(backend, dtype, tolerance):
    """Bit for bit where the blocks are fused; plain PyTorch takes other algorithms for other lengths on some CPUs."""
    torch.manual_seed(0)
    model = build(ModelConfig(), backend).eval().to(dtype)
    waveform = torch.randn(1, 130 * 640)
    read, _ = reader(waveform)
    with torch.no_grad():
        whole, _ = model.recur(model.features(waveform))
        state, outputs = None, []
        for start in range(0, 130, 47):
            output, state = model.recur(model.features_between(read, 130, start, min(start + 47, 130)), state)
            outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, rtol=0, atol=tolerance)


def test_pooling_before_the_relu_has_the_same_values_and_gradients():
    torch.manual_seed(0)
    block = Block(2, 3, kernel=4, pool=5, pooling="max", backend="reference").double()
    x = torch.randn(2, 50, 2, dtype=torch.float64, requires_grad=True)
    y = torch.relu(block.conv(nn.functional.pad(x.transpose(1, 2), (1, 2))))
    after = nn.functional.max_pool1d(y, 5).transpose(1, 2)
    torch.testing.assert_close(block(x), after, rtol=0, atol=0)
    (mine,) = torch.autograd.grad(block(x).square().sum(), x)
    (theirs,) = torch.autograd.grad(after.square().sum(), x)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14)


def test_dropout_is_off_in_evaluation_and_on_in_training():
    model = build(ModelConfig(channels=(8, 8), kernels=(4, 4), pools=(4, 4), hidden=4))
    waveform = torch.randn(1, 160)
    assert not torch.equal(model(waveform), model(waveform))
    model.eval()
    assert torch.equal(model(waveform), model(waveform))


@pytest.mark.parametrize("lstm_layers", [1, 3])
def test_other_numbers_of_lstm_layers_and_single_targets(lstm_layers):
    model = build(
        ModelConfig(channels=(2,), kernels=(3,), pools=(4,), lstm_layers=lstm_layers, targets=("valence",), hidden=5)
    )
    assert model(torch.zeros(2, 40)).shape == (2, 10, 1)
    assert count_parameters(model) == model.config.parameters


@given(small_layers, st.integers(1, 9), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_the_closed_formula_counts_the_parameters(layers, hidden, lstm_layers):
    channels, kernels, pools = zip(*layers, strict=True)
    config = ModelConfig(channels=channels, kernels=kernels, pools=pools, hidden=hidden, lstm_layers=lstm_layers)
    assert config.parameters == count_parameters(build(config))


def test_part_frames_are_refused():
    with pytest.raises(InputError, match="641 samples are no whole number of frames of 640 samples"):
        build(ModelConfig(channels=(2, 2, 2), hidden=2))(torch.zeros(1, 641))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": (1, 2)}, "2, 3 and 3 layers: need as many of each"),
        ({"targets": ("arousal", "arousal")}, "name one twice"),
        ({"dropout": 1.0}, "less than 1"),
        ({"kernels": (8, 6, 0)}, "greater than or equal to 1"),
        ({"hidden": "256"}, "valid integer"),
        ({"pooling": "median"}, f"{', '.join(map(repr, POOLINGS[:-1]))} or {POOLINGS[-1]!r}"),
    ],
)
def test_configurations_that_make_no_network_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**fields)
