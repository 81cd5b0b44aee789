import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocess_oracle import devel_sets
from pydantic import ValidationError

from ser_ray.errors import InputError
from ser_ray.postprocess import SearchConfig, search_exhaustive
from ser_ray.postprocess.grid import Grid

LONG = 7500


def test_the_default_grid_is_the_papers_at_25_hz():
    assert SearchConfig().grid(25.0, LONG) == Grid() == Grid(501, 250, forward_only=False)
    assert (Grid().chains, len(Grid().windows), len(Grid().shifts)) == (503_004, 251, 501)
    forward = SearchConfig(forward_only=True).grid(25.0, LONG)
    assert (list(forward.shifts), forward.chains) == (list(range(251)), 251 * 4 * 251)


@pytest.mark.parametrize(
    ("rate", "window_s", "shift_s", "expected"),
    [
        (10.0, 20.0, 10.0, (201, 100)),
        (50.0, 20.0, 10.0, (1001, 500)),
        (25.0, 0.04, 0.04, (1, 1)),
        (25.0, 0.08, 0.0, (3, 0)),
        (25.0, 0.0, 0.0, (1, 0)),
        (12.5, 4.0, 1.6, (51, 20)),
        (float("nan"), 20.0, 10.0, (1, 0)),
    ],
)
def test_seconds_become_frames(rate, window_s, shift_s, expected):
    grid = SearchConfig(max_window_s=window_s, max_shift_s=shift_s).grid(rate, LONG)
    assert (grid.max_window_frames, grid.max_shift_frames) == expected


@settings(deadline=None, max_examples=60)
@given(devel_sets(max_frames=12), st.integers(0, 30), st.integers(0, 30))
def test_what_is_beyond_the_recordings_is_left_out_without_a_loss(devel, half, max_shift):
    predictions, gold = devel
    longest = max(g.size for g in gold)
    near = Grid.of_seconds(2 * half, max_shift, 1.0, longest)
    assert near.max_window_frames == 2 * min(half, longest) + 1
    assert near.max_shift_frames == min(max_shift, longest)
    whole = search_exhaustive(predictions, gold, max_window_frames=2 * half + 1, max_shift_frames=max_shift)
    part = search_exhaustive(
        predictions, gold, max_window_frames=near.max_window_frames, max_shift_frames=near.max_shift_frames
    )
    assert part.chain == whole.chain
    assert part.table.max() == pytest.approx(whole.table.max(), abs=1e-12)
    rows, shifts = len(near.windows), near.max_shift_frames
    middle = whole.table[:rows, :, :, max_shift - shifts : max_shift + shifts + 1]
    np.testing.assert_allclose(part.table, middle, rtol=0, atol=1e-9)


def test_windows_matter_up_to_twice_a_recording():
    """Nine in the middle of five frames: the median of three frames to either side is another than that of two."""
    gold, prediction = np.array([0.0, 1.0, 1.0, 1.0, 0.0]), np.array([0.0, 9.0, 9.0, 9.0, 1.0])
    table = search_exhaustive([prediction], [gold], max_window_frames=21, max_shift_frames=0).table[..., 0]
    assert (table[2] != table[3]).any()
    np.testing.assert_allclose(table[6:], table[5:-1], rtol=0, atol=1e-12)


def test_a_grid_too_large_names_seconds_rate_and_frames():
    with pytest.raises(InputError) as raised:
        SearchConfig(max_window_s=200, max_shift_s=100).grid(25.0, LONG)
    assert str(raised.value) == (
        "max_window_s 200 and max_shift_s 100 at 25 frames a second: max_window_frames 5001 and max_shift_frames 2500"
        " make a grid of 50,030,004 chains, but at most 20,000,000 are searched: lower one of them"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"methods": ()},
        {"methods": ("best",)},
        {"choice": "both"},
        {"max_window_s": -1},
        {"max_shift_s": float("inf")},
        {"max_shift_s": float("nan")},
        {"forward_only": 1},
        {"shift": 3},
    ],
)
def test_what_is_no_search_is_refused(fields):
    with pytest.raises(ValidationError):
        SearchConfig(**fields)
