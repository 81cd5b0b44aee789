import audmetric
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ser_ray.corpus import gold_standard
from ser_ray.errors import InputError


def _ratings(raters, frames, seed=0):
    rng = np.random.default_rng(seed)
    return 0.5 * np.cumsum(rng.normal(size=frames)) + rng.normal(size=(raters, frames)) + rng.normal(size=(raters, 1))


def _literal_ewe(x):
    raters, frames = x.shape
    mean = [sum(x[r, t] for r in range(raters)) / raters for t in range(frames)]
    weights = [max(0.0, np.corrcoef(x[r], mean)[0, 1]) for r in range(raters)]
    return [sum(w * x[r, t] for r, w in enumerate(weights)) / sum(weights) for t in range(frames)]


def _literal_ccc_centred(x):
    raters, frames = x.shape
    weights = []
    for r in range(raters):
        others = [audmetric.concordance_cc(x[r], x[s]) for s in range(raters) if s != r]
        weights.append(sum(others) / len(others))
    means = [sum(row) / frames for row in x]
    level = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    return [sum(x[r, t] - means[r] for r in range(raters)) / raters + level for t in range(frames)]


@pytest.mark.parametrize("raters", [2, 3, 6])
@pytest.mark.parametrize("seed", range(3))
def test_against_literal_loops(raters, seed):
    x = _ratings(raters, 80, seed)
    x[0] *= -1  # a rater against all others
    np.testing.assert_allclose(gold_standard(x, "mean"), x.sum(axis=0) / raters, rtol=1e-12)
    np.testing.assert_allclose(gold_standard(x), _literal_ewe(x), rtol=1e-10)
    np.testing.assert_allclose(gold_standard(x, method="ewe"), _literal_ewe(x), rtol=1e-10)
    np.testing.assert_allclose(gold_standard(x, "ccc_centred"), _literal_ccc_centred(x), rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, (3, 12), elements=st.floats(-1, 1).map(lambda v: round(v, 2))), st.permutations(range(3)))
def test_order_of_raters_does_not_matter(x, order):
    for method in ("mean", "ewe"):
        np.testing.assert_allclose(gold_standard(x[order], method), gold_standard(x, method), atol=1e-9)
    assert np.isfinite(gold_standard(x, "ewe")).all()


def test_one_rater_is_the_gold_standard():
    x = _ratings(1, 40)
    for method in ("mean", "ewe", "ccc_centred"):
        np.testing.assert_allclose(gold_standard(x, method), x[0], atol=1e-12)


def test_a_rater_without_movement_weighs_nothing():
    x = np.stack([_ratings(1, 40)[0], np.full(40, 0.3)])
    np.testing.assert_allclose(gold_standard(x, "ewe"), x[0], atol=1e-12)


def test_constant_raters_weigh_the_same():
    x = np.array([[0.25] * 5, [0.75] * 5])
    np.testing.assert_allclose(gold_standard(x, "ewe"), [0.5] * 5)
    np.testing.assert_allclose(gold_standard(x, "ccc_centred"), [0.5] * 5)


def test_mistakes():
    with pytest.raises(InputError, match=r"gold standard is 'median', but must be one of mean, ewe, ccc_centred"):
        gold_standard(np.zeros((2, 3)), "median")
    with pytest.raises(InputError, match=r"ratings have shape \(3,\), but must be \[raters, frames\]"):
        gold_standard(np.zeros(3))
    with pytest.raises(InputError, match=r"shape \(0, 4\)"):
        gold_standard(np.zeros((0, 4)))
    with pytest.raises(InputError, match="nan at rater 1, frame 2"):
        gold_standard([[0, 0, 0], [0, 0, np.nan]])
