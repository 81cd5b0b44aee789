"""Trainings of networks other than the paper's: resumed to the bit, filters at their own rate, clipped gradients."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from training_cases import run, stop_after

from ser_ray import predict
from ser_ray.models import ModelConfig
from ser_ray.models.front_ends.normalization import EPSILON
from ser_ray.models.network import build
from ser_ray.training.checkpoint import load_checkpoint
from ser_ray.training.evaluate import predict_recordings
from ser_ray.training.segments import Segment
from ser_ray.training.statistics import RecordingStatistics
from ser_ray.training.supervision import TrainingInterruptedError

FILTERBANK = {
    "front_end": "filterbank",
    "filters": 5,
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
    "hidden": 6,
    "dilations": (1, 2),
}
MODELS = {
    "filterbank and TCN": ModelConfig(**FILTERBANK),
    "statistics of recordings": ModelConfig(**FILTERBANK | {"statistics": "recording", "compression": "pcen"}),
    "pcen, running, frozen filters": ModelConfig(
        **FILTERBANK | {"compression": "pcen", "normalization": "running", "filter_rate": 0.0, "causal": True}
    ),
    "normalised blocks, both directions": ModelConfig(
        channels=(3, 4), kernels=(4, 6), pools=(8, 8), hidden=5, compression="log", normalization="recording",
        temporal="bilstm", lstm_layers=1, dropouts=(0.1, 0.3),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def config(request, tiny_config):
    training = {
        "segments": "random",
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "learning_rate": 1e-2,
        "clip_norm": 0.3,
    }
    return dataclasses.replace(tiny_config(epochs=2, **training), model=MODELS[request.param])


def test_a_training_asked_to_end_anywhere_ends_as_an_undisturbed_one(tiny_corpus, config, tmp_path):
    run(tiny_corpus, config, tmp_path / "whole")
    for blocks in (2, 3, 5):
        with contextlib.suppress(TrainingInterruptedError):
            run(tiny_corpus, config, tmp_path / "cut", stop_after(blocks))
    run(tiny_corpus, config, tmp_path / "cut")
    for name in ("last.pt", "best.pt"):
        one, other = (load_checkpoint(tmp_path / folder / name)["model"] for folder in ("whole", "cut"))
        assert all(torch.equal(one[weight], other[weight]) for weight in one)


def test_a_trained_model_predicts_audio_as_in_evaluation(tiny_corpus, config, tmp_path):
    trained = run(tiny_corpus, config, tmp_path)
    loaded = predict.load_model(tmp_path / "best.pt")
    assert loaded.config == config.model
    recording = tiny_corpus.recordings("devel")[0]
    (expected,) = predict_recordings(trained.model, tiny_corpus, [recording])
    np.testing.assert_array_equal(predict.predict_audio(loaded, tiny_corpus.audio(recording)), expected)


@pytest.mark.parametrize("normalization", ["recording", "recording_mean"])
def test_a_segment_is_normalised_by_all_of_its_recording(tiny_corpus, normalization):
    torch.manual_seed(0)
    model = build(
        ModelConfig(**FILTERBANK | {"statistics": "recording", "normalization": normalization, "dropout": 0.0})
    )
    recordings = tiny_corpus.recordings("train")
    statistics = RecordingStatistics(model, tiny_corpus, recordings)
    assert statistics.of([Segment(recordings[0], 0, 4)]) is None
    statistics.begin_epoch(lambda: None)
    front, hop, start, length = model.front, model.config.hop, 5, 12
    for recording in recordings:
        samples = torch.from_numpy(tiny_corpus.waveform(recording, 0, recording.samples))[None]
        with torch.no_grad():
            whole = front.compression(front.analysis(samples[..., None]))[0]
            own = samples[:, start * hop : (start + length) * hop]
            found = front(own, None, None, statistics.of([Segment(recording, start, length)]))[0]
        scale = (whole.var(dim=0, correction=0) + EPSILON).sqrt() if normalization == "recording" else 1.0
        steps = hop // front.hop
        expected = ((whole - whole.mean(dim=0)) / scale)[start * steps : (start + length) * steps]
        inner = slice(2, -2)  # at its ends a filter sees what is before and after the segment
        torch.testing.assert_close(found[inner], expected[inner], rtol=1e-4, atol=1e-4)
    statistics.end_epoch()
    assert statistics.of([Segment(recordings[0], 0, 4)]) is None


def test_filters_move_by_their_rate_and_frozen_ones_stay(tiny_corpus, tiny_config, tmp_path):
    moved = {}
    for rate in (0.0, 0.01, 1.0):
        model = ModelConfig(**FILTERBANK | {"filter_rate": rate})
        config = dataclasses.replace(tiny_config(epochs=1, optimizer="adam"), model=model)
        torch.manual_seed(config.training.seed)
        start = build(model).front.analysis.weight.detach()
        trained = run(tiny_corpus, config, tmp_path / f"{rate}")
        moved[rate] = (trained.model.front.analysis.weight.detach() - start).abs().max().item()
    assert moved[0.0] == 0
    # Adam's steps are about the learning rate each, whatever the gradient
    assert moved[1.0] > 30 * moved[0.01] > 0


def test_a_clipped_step_is_no_longer_than_its_bound(tiny_corpus, tiny_config, tmp_path):
    """With plain RMSprop of decay 0 steps do not depend on the gradient's length; a bound far below still acts."""
    start, ends = {}, {}
    for clip in (None, 1e-12, 1e6):
        config = tiny_config(epochs=1, optimizer="rmsprop_tf", learning_rate=1.0, momentum=0.0, clip_norm=clip)
        torch.manual_seed(config.training.seed)
        start = build(config.model).state_dict()
        ends[clip] = run(tiny_corpus, config, tmp_path / f"{clip}").model.state_dict()
    # the mean square begins at one: a step is the learning rate times the gradient
    assert all((ends[1e-12][name] - start[name]).abs().max() < 1e-11 for name in start)
    assert all(torch.equal(ends[1e6][name], ends[None][name]) for name in start)
    assert any(not torch.equal(ends[None][name], start[name]) for name in start)
