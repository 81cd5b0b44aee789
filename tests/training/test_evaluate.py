import dataclasses
import weakref
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.metrics import ccc
from ser_ray.models import ModelConfig, build
from ser_ray.models.config import Pooling
from ser_ray.training import evaluate
from ser_ray.training.evaluate import WaveformSource, delay, gold_of, predict_recordings, predict_waveforms, score
from ser_ray.training.numerics import effective_precision, in_precision

needs_bf16 = pytest.mark.skipif(
    effective_precision("bf16", torch.device("cpu")) != "bf16", reason="this CPU's LSTM has no bfloat16"
)

LENGTHS = (45, 1, 60, 2, 37, 16, 15, 33, 17, 100)
DEEP = ModelConfig(channels=(2, 3, 2), kernels=(8, 6, 6), pools=(4, 4, 4), hidden=16)
WIDE = ModelConfig(channels=(8, 16), kernels=(12, 9), pools=(16, 4), hidden=5, lstm_layers=1)


@pytest.fixture(autouse=True)
def one_thread():
    """As in training; threads that wait for each other at every small product take minutes on shared cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return build(tiny_config().model)


def network(config, backend="auto"):
    torch.manual_seed(0)
    return build(config, backend).eval()


def noise(frames, hop=64):
    return np.random.default_rng(frames).normal(size=frames * hop).astype(np.float32)


def source(waveform, hop=64):
    return WaveformSource(len(waveform) // hop, lambda start, stop: waveform[start:stop].copy())


@torch.no_grad()
def one_pass(model, waveform):
    return model(torch.from_numpy(waveform)[None])[0].numpy()


# one pass


@pytest.mark.parametrize("config", [DEEP, WIDE], ids=["deep", "wide"])
@pytest.mark.parametrize("chunk_frames", [7, 47, 500, None])
def test_small_networks_in_chunks_have_the_values_of_one_pass(config, chunk_frames):
    model = network(config)
    # around whole numbers of chunks, where a last frame could be left alone
    for frames in (1, 2, 7, 8, 15, 47, 48, 95, 501, 5121 if chunk_frames is None else 1001):
        waveform = noise(frames)
        (prediction,) = predict_waveforms(model, [source(waveform)], chunk_frames=chunk_frames)
        assert prediction.dtype == np.float32
        np.testing.assert_array_equal(prediction, one_pass(model, waveform))


@pytest.mark.parametrize("chunk_frames", [7, 47, 500, None])
def test_the_papers_network_in_chunks_has_the_values_of_one_pass(chunk_frames):
    model, waveform = network(ModelConfig()), noise(1049, hop=640)
    (prediction,) = predict_waveforms(model, [source(waveform, hop=640)], chunk_frames=chunk_frames)
    np.testing.assert_array_equal(prediction, one_pass(model, waveform))


@given(
    st.integers(1, 60),
    st.integers(1, 3),
    st.sampled_from([("arousal", "valence"), ("valence",)]),
    st.integers(1, 3).map(lambda n: n * evaluate.ALIGNED_FRAMES),
    st.integers(1, 150),
)
@settings(deadline=None, max_examples=50)
def test_any_lstm_in_aligned_chunks_has_the_values_of_one_pass(hidden, layers, targets, chunk_frames, frames):
    model = network(dataclasses.replace(DEEP, hidden=hidden, lstm_layers=layers, targets=targets))
    waveform = noise(frames)
    (prediction,) = predict_waveforms(model, [source(waveform)], chunk_frames=chunk_frames)
    np.testing.assert_array_equal(prediction, one_pass(model, waveform))


@pytest.mark.parametrize("pooling", get_args(Pooling))
@pytest.mark.parametrize("chunk_frames", [7, 47, None])
def test_plain_pytorch_in_chunks_has_the_values_of_one_pass_but_for_rounding(pooling, chunk_frames):
    config = ModelConfig(channels=(3, 4), kernels=(4, 6), pools=(8, 8), hidden=9, pooling=pooling)
    model, waveform = network(config, "reference"), noise(501)
    (prediction,) = predict_waveforms(model, [source(waveform)], chunk_frames=chunk_frames)
    np.testing.assert_allclose(prediction, one_pass(model, waveform), rtol=0, atol=5e-7)


# beside others


def test_recordings_of_a_corpus_have_the_values_of_one_pass_whatever_is_beside_them(model, tiny_corpus):
    recordings = tiny_corpus.recordings("train")
    predictions = predict_recordings(model, tiny_corpus, recordings)
    model.eval()
    for recording, prediction in zip(recordings, predictions, strict=True):
        audio, _ = tiny_corpus.crop(recording, 0, recording.frames)
        assert prediction.shape == (recording.frames, 2)
        np.testing.assert_array_equal(prediction, one_pass(model, audio))


@pytest.mark.parametrize("chunk_frames", [7, 16, 47])
def test_rows_have_the_same_values_whatever_is_beside_them(chunk_frames):
    model = network(DEEP)
    waveforms = [noise(frames) for frames in LENGTHS]
    alone = [predict_waveforms(model, [source(w)], chunk_frames=chunk_frames, rows=2)[0] for w in waveforms]
    for rows in (2, 3, 5, 16):
        together = predict_waveforms(model, map_sources(waveforms), chunk_frames=chunk_frames, rows=rows)
        backwards = predict_waveforms(model, map_sources(waveforms[::-1]), chunk_frames=chunk_frames, rows=rows)[::-1]
        for own, one, other, waveform in zip(alone, together, backwards, waveforms, strict=True):
            np.testing.assert_array_equal(one, own)
            np.testing.assert_array_equal(other, own)
            np.testing.assert_allclose(own, one_pass(model, waveform), rtol=0, atol=5e-7)


def map_sources(waveforms):
    return [source(waveform) for waveform in waveforms]


def test_nothing_to_predict(model):
    assert predict_waveforms(model, []) == []


@needs_bf16
def test_prediction_in_bfloat16_is_given_in_float32():
    model, waveform = network(DEEP), noise(100)
    expected = one_pass(model, waveform)
    with in_precision("bf16", torch.device("cpu")):
        predictions = predict_waveforms(model, [source(waveform)] * 3, chunk_frames=16, rows=2)
    for prediction in predictions:
        assert prediction.dtype == np.float32
        np.testing.assert_allclose(prediction, expected, rtol=0, atol=5e-3)
    assert not np.array_equal(predictions[0], expected)


# what it costs


def test_chunks_are_read_one_after_the_other_and_not_kept():
    model = network(DEEP)
    frames, hop, asked, kept = 200, 64, [], []
    waveform = noise(frames)

    def read(start, stop):
        assert not any(piece() is not None for piece in kept)  # what was read before is gone
        asked.append((start, stop))
        piece = waveform[start:stop].copy()
        kept.append(weakref.ref(piece))
        return piece

    predict_waveforms(model, [WaveformSource(frames, read)] * 2, chunk_frames=16)
    field = model.config.receptive_field
    assert len(asked) == 2 * 13
    assert asked[0][0] == 0
    assert asked[12][1] == frames * hop
    assert all(start < stop for start, stop in asked)
    assert max(stop - start for start, stop in asked) <= 15 * hop + field


def test_the_lstm_runs_over_no_frame_in_vain_on_a_cpu(model, tiny_corpus, monkeypatch):
    steps = count_steps(model, monkeypatch)
    recordings = tiny_corpus.recordings("train")
    predict_recordings(model, tiny_corpus, recordings)
    assert steps == [(1, recording.frames) for recording in recordings]


def test_a_row_takes_the_next_recording_when_one_has_ended(monkeypatch):
    model = network(DEEP)
    steps = count_steps(model, monkeypatch)
    waveforms = [noise(frames) for frames in (100, 10, 10, 10, 10, 10, 7)]
    predict_waveforms(model, map_sources(waveforms), chunk_frames=16, rows=2)
    assert steps == [(2, 16)] * 6 + [(2, 4)]


def count_steps(model, monkeypatch):
    """Rows and frames of each call of the LSTM."""
    recur, steps = model.recur, []

    def counted(features, state):
        assert not model.training
        steps.append(features.shape[:2])
        return recur(features, state)

    monkeypatch.setattr(model, "recur", counted)
    return steps


@pytest.mark.parametrize(("hop", "frames"), [(64, 5120), (640, 512), (1600, 192), (16000, 16), (160_000, 16)])
def test_chunks_are_about_20_s_of_whole_alignments_at_any_label_rate(monkeypatch, hop, frames):
    model = network(ModelConfig(channels=(1,), kernels=(1,), pools=(hop,), hidden=1))
    steps = count_steps(model, monkeypatch)
    read = lambda start, stop: np.zeros(stop - start, np.float32)  # noqa: E731
    predict_waveforms(model, [WaveformSource(frames + 2, read)])
    assert steps == [(1, frames), (1, 2)]


def test_prediction_leaves_the_model_in_its_mode_and_draws_nothing(model, tiny_corpus):
    state = torch.get_rng_state()
    predict_recordings(model, tiny_corpus, tiny_corpus.recordings("devel"))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    model.eval()
    predict_recordings(model, tiny_corpus, tiny_corpus.recordings("devel"))
    assert not model.training


def test_predictions_are_moved_later_by_the_label_shift(model, tiny_corpus):
    recordings = tiny_corpus.recordings("devel")
    plain = predict_recordings(model, tiny_corpus, recordings)
    shifted = predict_recordings(model, tiny_corpus, recordings, shift_frames=(5, 2))
    for p, s in zip(plain, shifted, strict=True):
        for target, frames in enumerate((5, 2)):
            np.testing.assert_array_equal(s[frames:, target], p[:-frames, target])
            assert (s[:frames, target] == p[0, target]).all()


def test_a_delay_longer_than_the_trace_is_its_first_value():
    trace = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(delay(trace, (10, 3)), np.repeat(trace[:1], 3, axis=0))


def test_scores_are_pooled_and_per_recording():
    rng = np.random.default_rng(0)
    gold = [rng.normal(size=(n, 2)) + n / 20 for n in (30, 10)]
    predictions = [g + rng.normal(size=g.shape) for g in gold]
    scores = score(predictions, gold, ("arousal", "valence"))
    for column, target in enumerate(("arousal", "valence")):
        together = ccc(np.concatenate(predictions)[:, column], np.concatenate(gold)[:, column])
        single = np.mean([ccc(p[:, column], g[:, column]) for p, g in zip(predictions, gold, strict=True)])
        assert scores.pooled[target] == pytest.approx(together, abs=1e-12)
        assert scores.per_recording[target] == pytest.approx(single, abs=1e-12)
    assert scores.pooled["mean"] == pytest.approx((scores.pooled["arousal"] + scores.pooled["valence"]) / 2)


def test_frames_without_gold_are_left_out():
    rng = np.random.default_rng(1)
    gold, predictions = [rng.normal(size=(20, 1)) for _ in range(2)], [rng.normal(size=(20, 1)) for _ in range(2)]
    gold[0][5:9] = np.nan
    gold[1][:] = np.nan
    known = np.r_[0:5, 9:20]
    scores = score(predictions, gold, ("valence",))
    assert scores.pooled["valence"] == pytest.approx(ccc(predictions[0][known], gold[0][known]))
    nothing = score(predictions[1:], gold[1:], ("valence",))
    assert np.isnan(nothing.pooled["mean"])


def test_gold_of_picks_the_targets(tiny_corpus):
    recordings = tiny_corpus.recordings("devel")
    (both, _), (valence, _) = (
        gold_of(tiny_corpus, recordings, ("arousal", "valence")),
        gold_of(tiny_corpus, recordings, ("valence",)),
    )
    np.testing.assert_array_equal(both[:, 1:], valence)
