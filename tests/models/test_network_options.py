"""Networks other than the paper's: sizes, chunks of recordings, what counts in statistics, refusals."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ser_ray.models import ModelConfig, build
from ser_ray.models.dropout import Draw
from ser_ray.models.front_ends.front_end import FrontEndReader
from ser_ray.training.evaluate import WaveformSource, predict_waveforms

HEARS = {
    "front_end": "filterbank",
    "filters": 6,
    "width_ms": 4.0,
    "hop_ms": 1.0,
    "channels": (),
    "kernels": (),
    "pools": (),
    "average": 4,
    "compression": "log",
    "normalization": "recording",
    "dropout": 0.1,
    "temporal": "tcn",
    "hidden": 8,
    "dilations": (1, 2, 4),
}
BLOCKS = {"front_end": "conv", "channels": (5, 6), "kernels": (5, 3), "pools": (8, 8), "average": 1}
BLOCKS |= {"filters": 40, "width_ms": 25.0, "hop_ms": 10.0}
LSTM = {"temporal": "lstm", "dilations": (1, 2, 4, 8, 16)}
ABOVE = {"channels": (7,), "kernels": (3,), "pools": (2,), "average": 2}
OPTIONS = {
    "filterbank and TCN": {},
    "energies averaged": {"energy_steps": 2, "average": 2},
    "pcen": {"compression": "pcen"},
    "running": {"normalization": "running"},
    "mean alone": {"normalization": "recording_mean"},
    "plain": {"compression": "none", "normalization": "none"},
    "causal": {"causal": True, "normalization": "running"},
    "blocks above": ABOVE | {"dropouts": (0.1, 0.2), "dropout": 0.5},
    "LSTM": LSTM,
    "both directions": LSTM | {"temporal": "bilstm", "lstm_layers": 2},
    "paper's block": BLOCKS | LSTM,
    "paper's block, pcen": BLOCKS | LSTM | {"compression": "pcen", "normalization": "running"},
    "paper's blocks and TCN": BLOCKS | {"compression": "none", "normalization": "none"},
    "strides": BLOCKS | LSTM | {"pooling": "stride"},
}
HOP = 64


def made(name, backend="auto", **others):
    torch.manual_seed(0)
    return build(ModelConfig(**(HEARS | OPTIONS[name] | others)), backend)


def added_product(_total, left, right, **_):
    """Count the operations of a product that is added in place, which PyTorch's counter does not know."""
    return 2 * left[0] * left[1] * right[1]


# sums of statistics, which are products with weights, are not the network's
COUNTED = {torch.ops.aten.addmm_: added_product, torch.ops.aten.bmm: lambda *_, **__: 0}


@pytest.mark.parametrize("name", OPTIONS)
def test_sizes_are_those_that_pytorch_counts(name):
    model = made(name).eval()
    config = model.config
    assert config.hop == HOP
    assert sum(weight.numel() for weight in model.parameters()) == config.parameters
    convolutions = [*model.blocks.parameters(), *(model.front.parameters() if model.front else ())]
    assert sum(weight.numel() for weight in convolutions) == config.convolution_parameters
    frames = 16
    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter, torch.no_grad():
        made(name, backend="reference")(torch.randn(1, frames * HOP), Draw(0, 0))
    # the counter knows no LSTM: each of its weights, biases aside, is used once in a frame
    recurrent = sum(w.numel() for w in model.lstm.parameters() if w.ndim == 2) if model.lstm else 0
    assert config.multiply_adds == counter.get_total_flops() / 2 / frames + recurrent


@pytest.mark.parametrize("name", OPTIONS)
def test_a_recording_in_chunks_has_the_bits_of_one_pass(name):
    model = made(name).eval()
    for frames in (1, 2, 255, 700):
        waveform = torch.randn(frames * HOP, generator=torch.Generator().manual_seed(frames))
        waveform[100 * HOP : 130 * HOP] = 0.5  # silence
        with torch.no_grad():
            whole = model(waveform[None])[0].numpy()
        source = WaveformSource(frames, lambda start, stop, samples=waveform: samples[start:stop].numpy())
        for chunk in (16, 48, 512):
            (found,) = predict_waveforms(model, [source], chunk_frames=chunk)
            if model.config.temporal == "lstm":
                np.testing.assert_allclose(found, whole, rtol=2e-5, atol=2e-6)
            else:
                assert np.array_equal(found, whole), (frames, chunk)
        pieces = model.stream(lambda start, stop, samples=waveform: samples[None, start:stop], frames)
        with torch.no_grad():
            features = torch.cat([pieces.between(t, min(t + 7, frames)) for t in range(0, frames, 7)], dim=1)
            assert torch.equal(features, model.features(waveform[None]))


@pytest.mark.parametrize("compression", ["log", "pcen"])
def test_values_are_the_same_whether_they_are_kept_or_computed_twice(compression):
    front = made("filterbank and TCN", compression=compression).eval().front
    waveform, steps, block = torch.randn(1, 40 * front.hop), 40, 12
    read = {
        kept: FrontEndReader(front, lambda start, stop: waveform[:, start:stop], steps, block, kept)
        for kept in (0, 20 * 6, 10**6)
    }
    with torch.no_grad():
        blocks = {
            kept: torch.cat([reader.block(t, min(t + block, steps)) for t in range(0, steps, block)], dim=1)
            for kept, reader in read.items()
        }
    first, *others = blocks.values()
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("name", OPTIONS)
def test_one_step_reaches_every_weight_and_masks_follow_the_draw(name):
    model = made(name)
    waveform = torch.randn(2, 20 * HOP)
    model(waveform, Draw(1, 5)).square().mean().backward()
    assert all(weight.grad.abs().max() > 0 for weight in model.parameters())
    same, other = model(waveform, Draw(1, 5)), model(waveform, Draw(1, 6))
    assert torch.equal(model(waveform, Draw(1, 5)), same)
    assert not torch.equal(same, other)


@pytest.mark.parametrize("normalization", ["recording", "recording_mean", "running"])
def test_padding_and_frames_without_a_label_are_in_no_statistic(normalization):
    model = made("filterbank and TCN", normalization=normalization, dropout=0.0, temporal_dropout=0.0, dilations=(1,))
    waveform, mask = torch.randn(1, 40 * HOP), torch.ones(1, 40, dtype=torch.bool)
    mask[:, 30:] = False
    louder = waveform.clone()
    louder[:, 31 * HOP :] *= 30
    first = slice(0, 28)  # those before see nothing of the end but by a statistic
    assert torch.equal(model(louder, None, mask)[:, first], model(waveform, None, mask)[:, first])
    if normalization != "running":
        assert not torch.equal(model(louder)[:, first], model(waveform)[:, first])
    padded = waveform.clone()
    padded[:, 30 * HOP :] = 0
    short = model(waveform[:, : 30 * HOP])[:, first]
    torch.testing.assert_close(model(padded)[:, first], short, rtol=1e-4, atol=1e-5)


def test_a_causal_network_with_running_statistics_does_not_hear_the_future():
    model = made("causal").eval()
    waveform = torch.randn(1, 100 * HOP)
    changed = waveform.clone()
    changed[:, 60 * HOP + 24 :] = torch.randn(40 * HOP - 24)  # half a filter past the frame
    with torch.no_grad():
        assert torch.equal(model(changed)[:, :60], model(waveform)[:, :60])
        assert not torch.equal(model(changed)[:, 60:], model(waveform)[:, 60:])


def test_silence_all_along_gives_finite_predictions():
    for name in OPTIONS:
        model = made(name)
        assert model(torch.zeros(1, 20 * HOP), Draw(0, 0)).isfinite().all()
        assert model.eval()(torch.zeros(1, 20 * HOP)).isfinite().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"filters": 64},
            "filters is of front_end filterbank, but front_end is conv: set front_end, or leave",
        ),
        ({"causal": True}, "causal is of temporal tcn, but temporal is lstm"),
        ({"channels": (), "kernels": (), "pools": ()}, "front_end conv is the first block: give at least one"),
        ({"front_end": "filterbank", "width_ms": 25.01}, "width_ms 25.01 is 400.16 samples, which must be whole"),
        ({"front_end": "filterbank", "width_ms": 5.0}, "width_ms 5 is below hop_ms 10"),
        ({"front_end": "filterbank", "filter_start": "random", "filter_rate": 0.0}, "take mel, or a rate above 0"),
        ({"temporal": "tcn", "lstm_layers": 3}, "a tcn has a layer per dilation: set dilations"),
        ({"dropouts": (0.1, 0.2)}, r"dropouts \[0.1, 0.2\] are 2 probabilities for 3 parts"),
        ({"dropouts": (0.1, 0.2, 0.3), "dropout": 0.1}, "are both set: keep one"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)


def test_a_filterbank_is_a_layer_of_the_overlap_rule():
    config = ModelConfig(front_end="filterbank", channels=(8,), kernels=(3,), pools=(4,))
    assert config.layers == ((241, 160), (3, 4))
    assert config.overlap_ratios == (pytest.approx((400 - 160) / 400), pytest.approx(2 / 6))
    assert config.receptive_field == 400 + (3 - 1 + 4 - 1) * 160
    assert (config.hop, config.design, config.name) == (640, "25/10ms 3/4", "filterbank_lstm")


def test_the_weights_of_filters_learn_at_their_own_rate_and_do_not_decay():
    model = made("filterbank and TCN", filter_rate=0.25)
    rest, filters = model.parameter_groups(0.1)
    assert filters == {"params": [model.front.analysis.weight], "lr": pytest.approx(0.025), "weight_decay": 0.0}
    assert len(rest["params"]) == len(list(model.parameters())) - 1
    frozen = made("filterbank and TCN", filter_rate=0.0)
    (rest,) = frozen.parameter_groups(0.1)
    assert not frozen.front.analysis.weight.requires_grad
    assert all(weight is not frozen.front.analysis.weight for weight in rest["params"])


def test_every_field_has_the_papers_value_by_default():
    paper = ModelConfig()
    assert not paper.prepares
    assert (paper.name, paper.parameters, paper.layer_dropouts) == ("conv_lstm", 1_299_906, (0.5, 0.5, 0.5))
    assert {f.name for f in dataclasses.fields(paper)} >= set(itertools.chain(HEARS, BLOCKS, ["dropouts", "causal"]))
