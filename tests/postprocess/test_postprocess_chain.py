import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocess_oracle import ccc, devel_sets, medians, processed

from ser_ray.errors import InputError
from ser_ray.metrics import pearson
from ser_ray.postprocess import PostProcessing, apply
from ser_ray.postprocess.chain import fitted


@settings(deadline=None, max_examples=150)
@given(devel_sets(), st.integers(0, 30), st.booleans(), st.booleans(), st.integers(-40, 40))
def test_apply_equals_the_steps_written_out(devel, half, centre, scale, shift):
    predictions, gold = devel
    window = 2 * half + 1
    filtered = [medians(p, window) for p in predictions]
    scale = scale and np.ptp(np.concatenate(filtered)) > 0
    steps = PostProcessing(median_window=window, centre=centre, shift=shift)
    chain = fitted(steps, filtered, gold)
    result = apply(PostProcessing(**{**vars(chain), "scale": scale}), predictions)
    expected = processed(filtered, gold, centre, scale, shift)
    for r, e in zip(result, expected, strict=True):
        assert r.dtype == np.float64
        np.testing.assert_allclose(r, e, rtol=1e-9, atol=1e-9)


def test_the_chain_without_steps_copies_bit_by_bit():
    trace = np.array([0.1, 0.7, 1e-9])
    chain = PostProcessing(prediction_mean=0.3, prediction_std=2.0, gold_mean=5.0, gold_std=7.0)
    (result,) = apply(chain, [trace])
    assert (result == trace).all()
    assert not np.shares_memory(result, trace)


def test_float32_input_gives_float64():
    (result,) = apply(PostProcessing(), [np.ones(3, np.float32)])
    assert result.dtype == np.float64


def test_median_and_shift_never_cross_a_border():
    a, b = np.zeros(6), np.full(9, 100.0)
    for chain in (PostProcessing(median_window=11), PostProcessing(shift=4), PostProcessing(shift=-4)):
        together = apply(chain, [a, b, a])
        for result, alone in zip(together, (a, b, a), strict=True):
            assert (result == alone).all()


def test_shift_moves_later_and_repeats_the_edge():
    trace = np.arange(5.0)
    assert apply(PostProcessing(shift=2), [trace])[0].tolist() == [0, 0, 0, 1, 2]
    assert apply(PostProcessing(shift=-2), [trace])[0].tolist() == [2, 3, 4, 4, 4]
    assert apply(PostProcessing(shift=5), [trace])[0].tolist() == [0] * 5
    assert apply(PostProcessing(shift=-900), [trace])[0].tolist() == [4] * 5


def test_enormous_windows_have_the_limit_of_long_ones():
    rng = np.random.default_rng(1)
    for frames in (1, 2, 3, 10):
        trace = rng.standard_normal(frames)
        (result,) = apply(PostProcessing(median_window=2_000_000_001), [trace])
        assert (result == medians(trace, 20 * frames + 101)).all()


def test_no_recordings_and_empty_recordings_stay_so():
    assert apply(PostProcessing(median_window=3, shift=2), []) == []
    assert apply(PostProcessing(median_window=3, centre=True, shift=2), [np.empty(0)])[0].shape == (0,)


def test_centring_and_scaling_reach_pearson(delayed_devel):
    predictions, gold = delayed_devel
    chain = fitted(PostProcessing(centre=True), predictions, gold)
    chain = PostProcessing(**{**vars(chain), "scale": True})
    reached = ccc(apply(chain, predictions), gold)
    assert reached == pytest.approx(pearson(np.concatenate(predictions), np.concatenate(gold)), abs=1e-12)


def test_constants_are_those_of_devel_whatever_it_is_applied_to():
    chain = PostProcessing(
        centre=True, scale=True, prediction_mean=1.0, prediction_std=2.0, gold_mean=-1.0, gold_std=6.0
    )
    (result,) = apply(chain, [np.array([1.0, 3.0, 100.0])])
    assert result.tolist() == [-1.0, 5.0, 296.0]


def test_constants_of_a_constant_are_exact():
    chain = fitted(PostProcessing(), [np.full(7, 0.1), np.full(4, 0.1)], [np.full(11, 0.3)])
    assert (chain.prediction_mean, chain.prediction_std) == (0.1, 0.0)
    assert (chain.gold_mean, chain.gold_std) == (0.3, 0.0)


def test_numbers_of_numpy_become_those_of_python():
    chain = PostProcessing(median_window=np.int64(3), centre=np.int64(1), shift=np.int32(-2), gold_std=np.float32(2))
    assert chain == PostProcessing(median_window=3, centre=True, shift=-2, gold_std=2.0)
    assert [type(v) for v in vars(chain).values()] == [int, bool, bool, int, float, float, float, float]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"median_window": 4}, "median_window is 4, but must be an odd number of frames"),
        ({"median_window": 0}, "median_window is 0, but must be an odd"),
        ({"median_window": -3}, "median_window is -3"),
        ({"median_window": 3.0}, "median_window is 3.0, but must be a whole number of frames"),
        ({"shift": 1.5}, "shift is 1.5, but must be a whole number"),
        ({"shift": True}, "shift is True, but must be a whole number"),
        ({"gold_mean": float("nan")}, "gold_mean is nan, but must be finite"),
        ({"prediction_std": float("inf")}, "prediction_std is inf, but must be finite and not negative"),
        ({"gold_std": -1.0}, "gold_std is -1.0, but must be finite and not negative"),
        ({"scale": True, "prediction_std": 0.0}, "prediction_std is 0, but scale is on"),
    ],
)
def test_illegal_chains_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        PostProcessing(**fields)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([np.zeros(3), np.array([1.0, np.nan, np.inf])], "recording 1 has 2 of 3 frames that are NaN or infinite"),
        (np.zeros(3), r"recording 0 has shape \(\), but predictions must be a list with one 1-D array"),
        ([np.zeros((3, 2))], r"recording 0 has shape \(3, 2\)"),
        ([np.array([1e60])], "recording 0 has values beyond 1e[+]50"),
    ],
)
def test_illegal_predictions_are_refused(predictions, message):
    with pytest.raises(InputError, match=message):
        apply(PostProcessing(), predictions)
