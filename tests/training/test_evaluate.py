import numpy as np
import pytest
import torch

from ser_ray.metrics import ccc
from ser_ray.models import build
from ser_ray.training import evaluate
from ser_ray.training.evaluate import delay, gold_of, predict_recordings, score


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return build(tiny_config().model)


def test_recordings_are_predicted_whole_whatever_is_beside_them(model, tiny_corpus, monkeypatch):
    monkeypatch.setattr(evaluate, "CHUNK_FRAMES", 7)
    monkeypatch.setattr(evaluate, "RECORDINGS_AT_ONCE", 2)
    recordings = tiny_corpus.recordings("train")
    predictions = predict_recordings(model, tiny_corpus, recordings)
    model.eval()
    for recording, prediction in zip(recordings, predictions, strict=True):
        audio, _ = tiny_corpus.crop(recording, 0, recording.frames)
        with torch.no_grad():
            whole = model(torch.from_numpy(audio)[None])[0]
        assert prediction.shape == (recording.frames, 2)
        np.testing.assert_allclose(prediction, whole, atol=1e-6)


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
    shifted = predict_recordings(model, tiny_corpus, recordings, shift_frames=5)
    for p, s in zip(plain, shifted, strict=True):
        np.testing.assert_array_equal(s[5:], p[:-5])
        np.testing.assert_array_equal(s[:5], np.repeat(p[:1], 5, axis=0))


def test_a_delay_longer_than_the_trace_is_its_first_value():
    trace = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(delay(trace, 10), np.repeat(trace[:1], 3, axis=0))


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
