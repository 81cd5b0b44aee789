import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocess_oracle import devel_sets, naive_greedy

from ser_ray.errors import InputError
from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess import PostProcessing, apply, search_exhaustive, search_greedy

BOTH = pytest.mark.parametrize("search", [search_greedy, search_exhaustive])
NO_GAINS = {"median": 0.0, "centre": 0.0, "scale": 0.0, "shift": 0.0}


@settings(deadline=None, max_examples=120)
@given(devel_sets(), st.integers(0, 6), st.integers(0, 8))
def test_greedy_equals_the_steps_written_out(devel, half, max_shift):
    predictions, gold = devel
    result = search_greedy(predictions, gold, max_window_frames=2 * half + 1, max_shift_frames=max_shift)
    window, centre, scale, shift, value = naive_greedy(predictions, gold, range(1, 2 * half + 2, 2), max_shift)
    chain = result.chain
    assert (chain.median_window, chain.centre, chain.scale, chain.shift) == (window, centre, scale, shift)
    assert result.ccc == pytest.approx(value, abs=1e-9)
    assert result.table is result.windows is result.shifts is None


@BOTH
def test_the_papers_grid_needs_no_argument(search):
    defaults = {name: p.default for name, p in inspect.signature(search).parameters.items()}
    assert defaults["max_window_frames"] == 501  # 20 s
    assert defaults["max_shift_frames"] == 250  # 10 s


def test_greedy_shifts_forward_only():
    gold = np.cumsum(np.random.default_rng(0).standard_normal(900))
    options = {"max_window_frames": 1, "max_shift_frames": 30}
    assert search_greedy([np.roll(gold, -30)], [gold], **options).chain.shift == 30
    assert search_greedy([np.roll(gold, 30)], [gold], **options).chain.shift == 0


@BOTH
def test_the_delay_of_the_gold_is_recovered(search, delayed_devel):
    predictions, gold = delayed_devel
    result = search(predictions, gold, max_window_frames=41, max_shift_frames=20)
    assert abs(result.chain.shift - 7) <= 1
    assert result.chain.centre
    assert result.chain.scale
    assert result.raw_ccc < 0.5 < 0.9 < result.ccc


@BOTH
def test_ccc_and_gains_are_those_a_user_gets(search, delayed_devel):
    predictions, gold = delayed_devel
    result = search(predictions, gold, max_window_frames=41, max_shift_frames=20)
    assert result.ccc == ccc_pooled(apply(result.chain, predictions), gold)
    assert result.raw_ccc == ccc_pooled(predictions, gold)
    gains = vars(result.gains)
    assert result.raw_ccc + sum(gains.values()) == pytest.approx(result.ccc, abs=1e-12)
    filtered = apply(PostProcessing(median_window=result.chain.median_window), predictions)
    assert gains["median"] == ccc_pooled(filtered, gold) - result.raw_ccc
    assert result.chain.prediction_mean == pytest.approx(np.concatenate(filtered).mean(), abs=1e-14)
    assert result.chain.prediction_std == pytest.approx(np.concatenate(filtered).std(), abs=1e-14)
    assert result.chain.gold_mean == pytest.approx(np.concatenate(gold).mean(), abs=1e-14)
    assert result.chain.gold_std == pytest.approx(np.concatenate(gold).std(), abs=1e-14)


@BOTH
def test_perfect_predictions_take_no_step(search, delayed_devel):
    gold = delayed_devel[1]
    result = search(gold, gold, max_window_frames=5, max_shift_frames=3)
    chain = result.chain
    assert (chain.median_window, chain.centre, chain.scale, chain.shift) == (1, False, False, 0)
    assert result.ccc == pytest.approx(1.0, abs=1e-15)
    assert vars(result.gains) == NO_GAINS


@BOTH
@pytest.mark.parametrize(
    ("predictions", "gold", "value"),
    [
        ([np.full(9, 0.1), np.full(5, 0.1)], [np.arange(9.0), np.arange(5.0)], 0.0),
        ([np.arange(9.0)], [np.full(9, 0.1)], 0.0),
        ([np.arange(9.0) * 1e-170], [np.full(9, 0.1)], 0.0),
        ([np.full(9, 0.2)], [np.full(9, 0.1)], 0.0),
        ([np.full(9, 0.1)], [np.full(9, 0.1)], np.nan),
        ([np.array([2.0])], [np.array([1.0])], 0.0),
    ],
)
def test_constants_leave_the_chain_without_steps(search, predictions, gold, value):
    result = search(predictions, gold, max_window_frames=5, max_shift_frames=3)
    chain = result.chain
    assert (chain.median_window, chain.centre, chain.scale, chain.shift) == (1, False, False, 0)
    assert np.array_equal([result.ccc, result.raw_ccc], [value, value], equal_nan=True)
    assert vars(result.gains) == NO_GAINS
    if result.table is not None:
        assert (result.table == 0).all()


@BOTH
def test_inputs_stay_as_they_were(search, delayed_devel):
    predictions, gold = ([x.copy() for x in part] for part in delayed_devel)
    for array in predictions + gold:
        array.flags.writeable = False
    found = search(predictions, gold, max_window_frames=5, max_shift_frames=3)
    assert found.ccc >= found.raw_ccc


@BOTH
@pytest.mark.parametrize(
    ("predictions", "gold", "message"),
    [
        ([np.ones(3)], [], "predictions of 1 recordings, but gold of 0"),
        ([], [], "predictions hold no recordings"),
        ([np.ones(3), np.ones(4)], [np.ones(3), np.ones(5)], "recording 1 has 4 predicted frames, but 5 gold frames"),
        ([np.ones(3), np.ones(0)], [np.ones(3), np.ones(0)], "recording 1 is empty"),
        ([np.array([0.0, np.nan])], [np.ones(2)], "predictions: recording 0 has 1 of 2 frames that are NaN"),
        ([np.ones(2)], [np.array([np.inf, -np.inf])], "gold: recording 0 has 2 of 2 frames that are NaN or infinite"),
    ],
)
def test_unusable_data_are_refused(search, predictions, gold, message):
    with pytest.raises(InputError, match=message):
        search(predictions, gold)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_window_frames": 4}, "max_window_frames is 4, but must be odd and within 1 to 10001"),
        ({"max_window_frames": -1}, "max_window_frames is -1"),
        ({"max_window_frames": 20_001}, "max_window_frames is 20001"),
        ({"max_window_frames": 5.0}, "max_window_frames is 5.0, but must be a whole number"),
        ({"max_shift_frames": -1}, "max_shift_frames is -1, but must be within 0 to 10001"),
        ({"folds": 0}, "folds is 0, but must be at least 1"),
        ({"folds": 2.0}, "folds is 2.0, but must be a whole number$"),
        ({"max_window_frames": 9999, "max_shift_frames": 9999}, "399,980,000 chains, but at most 20,000,000"),
    ],
)
def test_illegal_grids_are_refused(search, options, message):
    with pytest.raises(InputError, match=message):
        search([np.arange(5.0)], [np.arange(5.0)], **options)
