import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocess_oracle import devel_sets, naive_table, trace

from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess import PostProcessing, apply, sums
from ser_ray.postprocess.chain import fitted
from ser_ray.postprocess.sums import added, grid_sums, references_of
from ser_ray.postprocess.table import ccc_table, moments


def summed(predictions, gold, windows, max_shift, parts=None):
    """The sums of all recordings, or of each part of them, relative to the same references."""
    references = references_of(predictions[0], float(np.concatenate(gold).mean()), windows)
    members = [range(len(gold))] if parts is None else parts
    found = [
        grid_sums([predictions[r] for r in part], [gold[r] for r in part], windows, max_shift, references)
        for part in members
    ]
    return found[0] if parts is None else found


def table_of(predictions, gold, windows, max_shift):
    return ccc_table(summed(predictions, gold, windows, max_shift))


@settings(deadline=None, max_examples=120)
@given(devel_sets(), st.integers(0, 8), st.integers(0, 10), st.sampled_from([1, 5, 1500]))
def test_each_entry_is_the_ccc_of_its_chain(devel, half, max_shift, piece_frames):
    predictions, gold = devel
    windows, shifts = range(1, 2 * half + 2, 2), range(-max_shift, max_shift + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "_PIECE_FRAMES", piece_frames)
        table = table_of(predictions, gold, windows, max_shift)
    np.testing.assert_allclose(table, naive_table(predictions, gold, windows, shifts), rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(devel_sets(), st.integers(0, 5), st.integers(0, 6), st.randoms(use_true_random=False))
def test_sums_of_parts_are_those_of_the_whole_and_of_each_part_alone(devel, half, max_shift, random):
    predictions, gold = devel
    windows, shifts = range(1, 2 * half + 2, 2), range(-max_shift, max_shift + 1)
    recordings = list(range(len(gold)))
    random.shuffle(recordings)
    cut = random.randint(0, len(recordings))
    parts = [part for part in (recordings[:cut], recordings[cut:]) if part]
    found = summed(predictions, gold, windows, max_shift, parts)
    together = added(found)
    np.testing.assert_allclose(ccc_table(together), naive_table(predictions, gold, windows, shifts), rtol=0, atol=1e-9)
    assert together.frames == sum(g.size for g in gold)
    for part, sums_of_part in zip(parts, found, strict=True):
        own = [predictions[r] for r in part], [gold[r] for r in part]
        if np.ptp(np.concatenate(own[1])) == 0:
            assert (ccc_table(sums_of_part) == 0).all()
            continue
        np.testing.assert_allclose(
            ccc_table(sums_of_part), naive_table(*own, windows, shifts), rtol=0, atol=1e-7
        )  # references are those of other recordings


def test_a_part_whose_constant_is_not_the_reference_has_nothing_to_scale():
    rng = np.random.default_rng(4)
    gold = [rng.standard_normal(30) for _ in range(3)]
    predictions = [rng.standard_normal(30), np.full(30, 0.7), np.full(30, 0.7)]
    part = summed(predictions, gold, (1, 3), 4, [[1, 2]])[0]
    assert (ccc_table(part) == 0).all()
    assert (moments(part).prediction_std == 0).all()
    assert moments(part).prediction_mean == pytest.approx([0.7, 0.7])


@settings(deadline=None, max_examples=60)
@given(devel_sets(), st.integers(0, 5))
def test_moments_are_those_of_the_filtered_predictions(devel, half):
    predictions, gold = devel
    windows = range(1, 2 * half + 2, 2)
    found = moments(summed(predictions, gold, windows, 2))
    for row, window in enumerate(windows):
        x = np.concatenate(apply(PostProcessing(median_window=window), predictions))
        assert found.prediction_mean[row] == pytest.approx(x.mean(), abs=1e-9)
        assert found.prediction_std[row] == pytest.approx(x.std(), abs=1e-6)
    y = np.concatenate(gold)
    assert found.gold_mean == pytest.approx(y.mean(), abs=1e-9)
    assert found.gold_std == pytest.approx(y.std(), abs=1e-9)


def test_windows_and_shifts_far_beyond_the_recordings():
    rng = np.random.default_rng(5)
    gold = [rng.standard_normal(n) for n in (1, 2, 5, 9)]
    predictions = [g + rng.standard_normal(g.size) for g in gold]
    windows = (1, 3, 21, 101)
    table = table_of(predictions, gold, windows, 30)
    np.testing.assert_allclose(table, naive_table(predictions, gold, windows, range(-30, 31)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_the_paper_grid_at_random_chains(offset):
    """Recordings longer than a piece; offsets that would cancel in one-pass moments."""
    rng = np.random.default_rng(6)
    gold = [trace("walk", n, rng) for n in (1700, 3200, 400)]
    predictions = [offset + 0.3 * np.roll(g, -40) + trace("spikes", g.size, rng) for g in gold]
    windows = range(1, 502, 2)
    table = table_of(predictions, gold, windows, 250)
    for _ in range(40):
        row, centre, scale, column = rng.integers(table.shape)
        steps = PostProcessing(median_window=windows[row], centre=centre, scale=scale, shift=column - 250)
        filtered = apply(PostProcessing(median_window=windows[row]), predictions)
        value = ccc_pooled(apply(fitted(steps, filtered, gold), predictions), gold)
        assert table[row, centre, scale, column] == pytest.approx(value, abs=1e-9)


def test_a_filter_that_leaves_a_constant_leaves_nothing_to_scale():
    spikes = np.full(40, 0.1)
    spikes[[5, 20, 33]] = 1e6
    gold = np.random.default_rng(7).standard_normal(40)
    table = table_of([spikes], [gold], (1, 3, 5), 4)
    assert (table[1:] == 0).all()
    assert (table[0] != 0).all()


def test_memory_stays_within_bounds_whatever_the_length():
    rng = np.random.default_rng(8)
    gold = [trace("walk", 7500, rng) for _ in range(3)] + [trace("walk", 60_000, rng)]
    predictions = [g + rng.standard_normal(g.size) for g in gold]
    windows = range(1, 502, 50)
    table_of([p[:600] for p in predictions], [g[:600] for g in gold], (1, 3), 2)  # imports and compiles
    tracemalloc.start()
    table_of(predictions, gold, windows, 250)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # the filtered traces alone would be 7.5 MB, the spectra of whole recordings 10 MB
