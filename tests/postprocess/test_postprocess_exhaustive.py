import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocess_oracle import devel_sets, naive_table

from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess import apply, search_exhaustive, search_greedy
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.table import best_steps


def complexity(window, centre, scale, shift):
    """Steps, window, shift, direction, then centring before scaling."""
    steps = int(window > 1) + int(centre) + int(scale) + int(shift != 0)
    return steps, window, abs(shift), shift < 0, bool(scale)


@settings(deadline=None, max_examples=120)
@given(devel_sets(), st.integers(0, 6), st.integers(0, 8), st.booleans())
def test_the_chain_is_the_simplest_optimum_of_the_loop(devel, half, max_shift, forward_only):
    predictions, gold = devel
    result = search_exhaustive(
        predictions,
        gold,
        max_window_frames=2 * half + 1,
        max_shift_frames=max_shift,
        forward_only=forward_only,
    )
    windows = list(range(1, 2 * half + 2, 2))
    shifts = list(range(0 if forward_only else -max_shift, max_shift + 1))
    assert result.windows.tolist() == windows
    assert result.shifts.tolist() == shifts
    table = naive_table(predictions, gold, windows, shifts)
    assert result.table.dtype == np.float64
    np.testing.assert_allclose(result.table, table, rtol=0, atol=1e-9)
    assert result.ccc == pytest.approx(table.max(), abs=1e-9)
    assert result.ccc == ccc_pooled(apply(result.chain, predictions), gold)
    chain = result.chain
    found = complexity(chain.median_window, chain.centre, chain.scale, chain.shift)
    equals = np.argwhere(table >= table.max() - 1e-13)
    assert found <= min(complexity(windows[i], c, s, shifts[j]) for i, c, s, j in equals)


@settings(deadline=None, max_examples=100)
@given(devel_sets(max_frames=60))
def test_never_worse_than_greedy(devel):
    options = {"max_window_frames": 31, "max_shift_frames": 12}
    greedy = search_greedy(*devel, **options)
    assert search_exhaustive(*devel, **options).ccc >= greedy.ccc - 2e-12
    assert search_exhaustive(*devel, **options, forward_only=True).ccc >= greedy.ccc - 2e-12


def test_the_papers_grid_without_arguments(delayed_devel):
    result = search_exhaustive(*delayed_devel)
    assert result.windows.tolist() == list(range(1, 502, 2))
    assert result.shifts.tolist() == list(range(-250, 251))
    assert result.table.shape == (251, 2, 2, 501)
    assert result.table.size == 503_004
    assert result.ccc == pytest.approx(result.table.max(), abs=1e-12)
    again = search_exhaustive(*delayed_devel)
    assert again.chain == result.chain
    assert (again.table == result.table).all()


def test_backward_shifts_are_found():
    gold = np.random.default_rng(2).standard_normal(500)
    chain = search_exhaustive([np.roll(gold, 9)], [gold], max_window_frames=3, max_shift_frames=12).chain
    assert (chain.median_window, chain.shift) == (1, -9)


def test_of_equal_chains_the_simplest_is_taken():
    """A symmetric gold makes shifts in both directions equal; forward is the simpler one."""
    gold = np.zeros(41)
    gold[[15, 25]] = 1.0
    prediction = np.zeros(41)
    prediction[20] = 1.0
    chain = search_exhaustive([prediction], [gold], max_window_frames=1, max_shift_frames=8).chain
    assert chain.shift == 5


@pytest.mark.parametrize(
    ("equals", "simplest"),
    [
        ([(0, 1, 1, 2), (2, 0, 0, 2)], (5, False, False, 0)),  # one step before two, whatever its window
        ([(2, 0, 0, 2), (1, 0, 0, 2)], (3, False, False, 0)),
        ([(1, 0, 0, 2), (0, 0, 0, 4)], (1, False, False, 2)),  # of one step, the smaller window
        ([(0, 0, 0, 4), (0, 0, 0, 1)], (1, False, False, -1)),
        ([(0, 0, 0, 1), (0, 0, 0, 3)], (1, False, False, 1)),
        ([(0, 0, 1, 2), (0, 1, 0, 2)], (1, True, False, 0)),
        ([(0, 1, 0, 1), (0, 0, 1, 3)], (1, False, True, 1)),  # the shift's direction before the kind of step
        ([(0, 0, 0, 2), (2, 1, 1, 4)], (1, False, False, 0)),
    ],
)
def test_the_order_of_simplicity(equals, simplest):
    table = np.zeros((3, 2, 2, 5))
    for number, index in enumerate(equals):
        table[index] = 0.5 + number * 1e-13
    chain = best_steps(table, Grid(5, 2))
    assert (chain.median_window, chain.centre, chain.scale, chain.shift) == simplest
