"""What a search brings on recordings that it has not seen, held against searches of the other recordings alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocess_oracle import devel_sets, trace

from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess import PostProcessing, SearchResult, apply, search_exhaustive, search_greedy
from ser_ray.postprocess.devel import MAX_FOLDS, Devel, folds_of
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.search import StepGains, reliability_warning, search_targets
from ser_ray.postprocess.table import best_steps

BOTH = pytest.mark.parametrize("search", [search_greedy, search_exhaustive])
GRID = {"max_window_frames": 21, "max_shift_frames": 12}


def devel_of(lengths, seed=0, lag=7, offset=0.3):
    rng = np.random.default_rng(seed)
    gold = [trace("walk", n, rng) for n in lengths]
    predictions = [offset + 0.4 * np.roll(g, -lag) + 0.5 * rng.standard_normal(g.size) for g in gold]
    return predictions, gold


def estimate(chain_without, predictions, gold, folds):
    """The formula of ser_ray.postprocess.crossfit, written out; each fold's chain by a search of the others."""
    y, n = np.concatenate(gold), sum(g.size for g in gold)
    covariance = variance = bias = centred = 0.0
    residuals = {}
    for fold in folds_of([g.size for g in gold], folds):
        others = [r for r in range(len(gold)) if r not in fold]
        chain = chain_without(others)
        m = np.concatenate(apply(chain, predictions)).mean()
        for r in fold:
            (x,) = apply(chain, [predictions[r]])
            covariance += ((x - m) * (gold[r] - y.mean())).sum() / n
            variance += ((x - m) ** 2).sum() / n
            bias += x.size / n * (m - y.mean()) ** 2
            centred += x.size / n * chain.centre
            residuals[r] = (x - gold[r]).mean()
    weights = np.array([g.size / n for g in gold])
    means = np.array([residuals[r] for r in range(len(gold))])
    error = (weights**2 * (means - weights @ means) ** 2).sum() * len(gold) / (len(gold) - 1)
    return 2 * covariance / (variance + y.var() + bias + centred * error)


@BOTH
@pytest.mark.parametrize(
    ("lengths", "folds"),
    [((90, 120), 2), ((90, 40, 77, 120, 55), 5), ((60, 61, 62, 63, 64, 65, 66), 3), ((80,) * 4, 9)],
)
def test_equals_searches_of_the_other_recordings(search, lengths, folds):
    predictions, gold = devel_of(lengths)
    result = search(predictions, gold, **GRID, folds=folds)
    assert result.folds == min(folds, len(lengths))

    def without(others):
        return search([predictions[r] for r in others], [gold[r] for r in others], **GRID).chain

    assert result.crossfit_ccc == pytest.approx(estimate(without, predictions, gold, folds), abs=1e-9)
    alone = search(predictions, gold, **GRID)
    assert (result.chain, result.ccc, result.gains) == (alone.chain, pytest.approx(alone.ccc), alone.gains)
    assert (alone.folds, math.isnan(alone.crossfit_ccc)) == (1, True)


@BOTH
def test_float32_is_searched_like_the_same_numbers_in_float64(search):
    predictions, gold = ([x.astype(np.float32) for x in part] for part in devel_of((90, 40, 77)))
    wide = ([x.astype(np.float64) for x in part] for part in (predictions, gold))
    one, other = search(predictions, gold, **GRID, folds=3), search(*wide, **GRID, folds=3)
    assert (one.chain, one.ccc, one.crossfit_ccc) == (other.chain, other.ccc, other.crossfit_ccc)


@BOTH
def test_one_recording_tells_nothing_of_others(search):
    result = search(*devel_of((90,)), **GRID, folds=MAX_FOLDS)
    assert (result.folds, math.isnan(result.crossfit_ccc)) == (1, True)
    assert (
        reliability_warning(result, 1) == "devel has one recording, so nothing tells what the search brings on others"
    )


@settings(deadline=None, max_examples=80)
@given(devel_sets(max_frames=40), st.integers(0, 5), st.integers(0, 6))
def test_adversarial_traces_have_an_estimate_without_a_warning(devel, half, max_shift):
    """Folds in which all others are constant, spikes that a filter removes, a frame alone."""
    for search in (search_greedy, search_exhaustive):
        result = search(*devel, max_window_frames=2 * half + 1, max_shift_frames=max_shift, folds=4)
        assert len(devel[0]) == 1 or -1 - 1e-9 <= result.crossfit_ccc <= 1 + 1e-9


def test_a_fold_whose_others_are_constant_takes_no_step_that_would_divide_by_nothing():
    rng = np.random.default_rng(1)
    gold = [rng.standard_normal(30), np.full(30, 0.1), np.full(30, 0.1)]
    predictions = [rng.standard_normal(30), np.full(30, 0.7), np.full(30, 0.7)]
    for search in (search_greedy, search_exhaustive):
        assert np.isfinite(search(predictions, gold, **GRID, folds=3).crossfit_ccc)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=40), st.integers(1, 12))
def test_folds_hold_each_recording_once_and_are_about_equally_long(lengths, folds):
    found = folds_of(lengths, folds)
    assert len(found) == min(folds, len(lengths))
    assert sorted(r for fold in found for r in fold) == list(range(len(lengths)))
    frames = [sum(lengths[r] for r in fold) for fold in found]
    assert min(map(len, found)) >= 1
    assert max(frames) - min(frames) <= max(lengths)


def test_a_long_recording_at_the_end_has_a_fold_of_its_own():
    assert folds_of([1] * 9 + [9], 2) == ((9,), tuple(range(9)))


def jointly(targets, grid, folds, method):
    devel = [Devel.of(*pair, folds) for pair in targets]
    sums = [[one.sums(grid, fold) for fold in range(len(one.folds))] for one in devel]
    return search_targets(devel, sums, grid, (method,), joint=True)[method]


def test_joint_steps_are_the_best_by_the_mean_of_the_targets():
    targets = [devel_of((90, 120, 70), seed=0, lag=9), devel_of((90, 120, 70), seed=1, lag=2)]
    grid = Grid(*GRID.values())
    found = jointly(targets, grid, 3, "exhaustive")
    tables = [search_exhaustive(*pair, **GRID).table for pair in targets]
    mean = (tables[0] + tables[1]) / 2
    steps = best_steps(mean, grid)
    for result, (predictions, gold) in zip(found, targets, strict=True):
        chain = result.chain
        assert (chain.median_window, chain.centre, chain.scale, chain.shift) == (
            steps.median_window,
            steps.centre,
            steps.scale,
            steps.shift,
        )
        np.testing.assert_allclose(result.table, mean, rtol=0, atol=1e-12)
        assert result.ccc == ccc_pooled(apply(chain, predictions), gold)
    assert np.mean([result.ccc for result in found]) == pytest.approx(mean.max(), abs=1e-9)
    alone = [search_exhaustive(*pair, **GRID) for pair in targets]
    assert alone[0].chain.shift != alone[1].chain.shift, "else this would show nothing"


@pytest.mark.parametrize("method", ["greedy", "exhaustive"])
def test_one_target_jointly_is_that_target_alone(method):
    pair = devel_of((90, 120, 70))
    (found,) = jointly([pair], Grid(*GRID.values()), 3, method)
    alone = (search_greedy if method == "greedy" else search_exhaustive)(*pair, **GRID, folds=3)
    assert (found.chain, found.ccc, found.crossfit_ccc) == (alone.chain, alone.ccc, alone.crossfit_ccc)


def test_joint_crossfit_is_that_of_joint_searches_of_the_other_recordings():
    lengths, grid = (90, 120, 70, 50), Grid(*GRID.values())
    targets = [devel_of(lengths, seed=0, lag=9), devel_of(lengths, seed=1, lag=2)]
    found = jointly(targets, grid, 4, "greedy")

    def chains_without(others):
        rest = [([p[r] for r in others], [g[r] for r in others]) for p, g in targets]
        return [result.chain for result in jointly(rest, grid, 1, "greedy")]

    for number, (result, pair) in enumerate(zip(found, targets, strict=True)):
        expected = estimate(lambda others, number=number: chains_without(others)[number], *pair, 4)
        assert result.crossfit_ccc == pytest.approx(expected, abs=1e-9)


@BOTH
def test_where_no_step_is_chosen_the_estimate_is_the_raw_ccc(search):
    gold = devel_of((90, 120, 70))[1]
    result = search(gold, gold, **GRID, folds=3)
    assert result.crossfit_ccc == pytest.approx(result.raw_ccc, abs=1e-12)


def test_a_constant_target_searched_jointly_is_not_scaled():
    lengths, grid = (90, 120, 70), Grid(*GRID.values())
    flat = [np.full(n, 0.1) for n in lengths]
    targets = [devel_of(lengths), (flat, devel_of(lengths, seed=5)[1])]
    varied, constant = jointly(targets, grid, 3, "exhaustive")
    assert varied.chain.scale
    assert not constant.chain.scale
    assert constant.ccc == constant.crossfit_ccc == 0.0


def result_with(raw, ccc, crossfit, folds=3):
    return SearchResult(
        chain=PostProcessing(), ccc=ccc, raw_ccc=raw, gains=StepGains(), crossfit_ccc=crossfit, folds=folds
    )


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((0.30, 0.40, 0.38), None),
        ((0.30, 0.30, 0.25), None),  # nothing was chosen
        ((0.30, 0.304, 0.300), None),  # too little to speak of
        ((float("nan"), float("nan"), float("nan")), None),
        (
            (0.30, 0.40, 0.34),
            "gains +0.100 on devel, but an estimated +0.040 on recordings that it has not seen: 3 recor",
        ),
        ((0.30, 0.33, 0.27), "gains +0.030 on devel, but an estimated -0.030 on recordings"),
    ],
)
def test_a_gain_that_does_not_hold_gets_a_reliability_warning(figures, expected):
    found = reliability_warning(result_with(*figures), 3)
    assert found is None if expected is None else expected in found


def test_noise_gets_a_reliability_warning_and_a_delay_does_not():
    rng = np.random.default_rng(3)
    gold = [trace("walk", 120, rng) for _ in range(3)]
    noise = [trace("walk", 120, rng) for _ in range(3)]
    assert reliability_warning(search_exhaustive(noise, gold, **GRID, folds=3), 3) is not None
    assert reliability_warning(search_exhaustive(*devel_of((120,) * 6), **GRID, folds=6), 6) is None
