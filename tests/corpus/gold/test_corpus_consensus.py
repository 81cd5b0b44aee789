import audmetric
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ser_ray.corpus import gold_standard
from ser_ray.corpus.gold.consensus import METHODS, agreement, cronbach_alpha, ewe_weights, rater_weights
from ser_ray.errors import InputError


def _ratings(raters, frames, seed=0):
    rng = np.random.default_rng(seed)
    return 0.5 * np.cumsum(rng.normal(size=frames)) + rng.normal(size=(raters, frames)) + rng.normal(size=(raters, 1))


def _with_gaps(raters, frames, seed=0):
    """Ratings in which every rater is silent in some frames, and one rater of each frame is not."""
    rng = np.random.default_rng(seed + 100)
    x = _ratings(raters, frames, seed)
    silent = rng.random(x.shape) < 0.3
    silent[rng.integers(0, raters, frames), np.arange(frames)] = False
    silent[:, :3] = False
    return np.where(silent, np.nan, x)


def _literal_ccc(x, y):
    """CCC over the frames where both speak."""
    both = [(a, b) for a, b in zip(x, y, strict=True) if not (np.isnan(a) or np.isnan(b))]
    return audmetric.concordance_cc(*(np.array(side) for side in zip(*both, strict=True)))


def _literal_agreement(x):
    means = []
    for r in range(len(x)):
        others = [_literal_ccc(x[r], x[s]) for s in range(len(x)) if s != r]
        means.append(sum(others) / len(others))
    return means


def _literal_means(x):
    """Mean of the raters who speak, frame by frame."""
    means = []
    for frame in range(x.shape[1]):
        spoken = [row[frame] for row in x if not np.isnan(row[frame])]
        means.append(sum(spoken) / len(spoken))
    return means


def _literal_ewe_weights(x):
    means, weights = _literal_means(x), []
    for row in x:
        spoken = [(v, m) for v, m in zip(row, means, strict=True) if not np.isnan(v)]
        weights.append(max(0.0, np.corrcoef(*zip(*spoken, strict=True))[0, 1]))
    return weights


def _literal_ewe(x):
    weights, gold = _literal_ewe_weights(x), []
    for frame in range(x.shape[1]):
        spoken = [(w, row[frame]) for w, row in zip(weights, x, strict=True) if not np.isnan(row[frame])]
        gold.append(sum(w * v for w, v in spoken) / sum(w for w, _ in spoken))
    return gold


def _literal_ccc_centred(x):
    weights = _literal_agreement(x)
    means = [sum(v for v in row if not np.isnan(v)) / sum(1 for v in row if not np.isnan(v)) for row in x]
    level = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    centred = _literal_means(np.array([[v - m for v in row] for row, m in zip(x, means, strict=True)]))
    return [value + level for value in centred]


@pytest.mark.parametrize("make", [_ratings, _with_gaps])
@pytest.mark.parametrize("raters", [2, 3, 6])
@pytest.mark.parametrize("seed", range(3))
def test_against_literal_loops(make, raters, seed):
    x = make(raters, 80, seed)
    np.testing.assert_allclose(gold_standard(x, "mean"), _literal_means(x), rtol=1e-12)
    np.testing.assert_allclose(gold_standard(x), _literal_ewe(x), rtol=1e-10)
    np.testing.assert_allclose(gold_standard(x, method="ewe"), _literal_ewe(x), rtol=1e-10)
    np.testing.assert_allclose(gold_standard(x, "ccc_centred"), _literal_ccc_centred(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(agreement(x), _literal_agreement(x), rtol=1e-10)
    np.testing.assert_allclose(ewe_weights(x), _literal_ewe_weights(x), rtol=1e-10)


@pytest.mark.parametrize("make", [_ratings, _with_gaps])
def test_a_rater_against_all_others_weighs_nothing_in_ewe(make):
    x = make(4, 200)
    x[1] *= -1
    assert ewe_weights(x)[1] == 0
    np.testing.assert_allclose(gold_standard(x, "ewe"), _literal_ewe(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gold_standard(x, "ccc_centred"), _literal_ccc_centred(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(14))
def test_without_gaps_every_bit_is_as_in_the_plain_formulas(seed):
    """Synthetic corpora are known by their fingerprint: their gold must not move by a rounding."""
    x = _ratings(1 + seed, 997, seed).round(2)
    weights = ewe_weights(x)
    assert np.array_equal(gold_standard(x, "mean"), x.mean(axis=0))
    assert np.array_equal(gold_standard(x, "ewe"), weights @ x / weights.sum())
    means, weights = x.mean(axis=1), agreement(x)
    centred = (x - means[:, None]).mean(axis=0) + weights @ means[:, None] / weights.sum()
    assert np.array_equal(gold_standard(x, "ccc_centred"), centred)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, (3, 12), elements=st.floats(-1, 1).map(lambda v: round(v, 2))), st.permutations(range(3)))
def test_order_of_raters_does_not_matter(x, order):
    for method in ("mean", "ewe"):
        np.testing.assert_allclose(gold_standard(x[order], method), gold_standard(x, method), atol=1e-9)
    assert np.isfinite(gold_standard(x, "ewe")).all()


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.float64, (4, 15), elements=st.floats(-1, 1).map(lambda v: round(v, 2))),
    arrays(np.bool_, (4, 15)),
    st.integers(0, 3),
)
def test_gold_lies_between_the_raters_who_speak(x, silent, present):
    silent[present] = False  # one rater speaks throughout, and every rater somewhere
    silent[:, 7] = False
    x[silent] = np.nan
    for method in ("mean", "ewe"):
        gold = gold_standard(x, method)
        assert (gold >= np.nanmin(x, axis=0) - 1e-9).all()
        assert (gold <= np.nanmax(x, axis=0) + 1e-9).all()
    weights = rater_weights(x, "ewe")
    assert ((weights >= 0) & (weights <= 1 + 1e-12)).all()
    assert (np.abs(agreement(x)) <= 1 + 1e-12).all()


def test_one_rater_is_the_gold_standard():
    x = _ratings(1, 40)
    for method in METHODS:
        np.testing.assert_allclose(gold_standard(x, method), x[0], atol=1e-12)


def test_where_one_rater_is_alone_its_rating_is_gold():
    x = _ratings(3, 40)
    x[:2, 10:20] = np.nan
    for method in ("mean", "ewe"):
        np.testing.assert_allclose(gold_standard(x, method)[10:20], x[2, 10:20], atol=1e-12)


def test_a_rater_without_movement_weighs_nothing():
    x = np.stack([_ratings(1, 40)[0], np.full(40, 0.3)])
    np.testing.assert_allclose(gold_standard(x, "ewe"), x[0], atol=1e-12)
    x[0, 5:8] = np.nan  # but where it is alone it is all there is
    np.testing.assert_allclose(gold_standard(x, "ewe"), np.where(np.isnan(x[0]), 0.3, x[0]), atol=1e-12)


def test_constant_raters_weigh_the_same():
    x = np.array([[0.25] * 5, [0.75] * 5])
    np.testing.assert_allclose(gold_standard(x, "ewe"), [0.5] * 5)
    np.testing.assert_allclose(gold_standard(x, "ccc_centred"), [0.5] * 5)


def test_raters_who_never_meet_are_not_compared():
    x = _ratings(3, 60)
    x[0, 30:] = np.nan
    x[1, :30] = np.nan
    expected = [_literal_ccc(x[0], x[2]), _literal_ccc(x[1], x[2])]
    np.testing.assert_allclose(agreement(x), [*expected, np.mean(expected)], rtol=1e-12)
    assert list(agreement(x[:2])) == [0, 0]


def test_weights_are_those_of_the_method():
    x = _with_gaps(4, 90)
    assert list(rater_weights(x, "mean")) == [1, 1, 1, 1]
    assert np.array_equal(rater_weights(x, "ewe"), ewe_weights(x))
    assert np.array_equal(rater_weights(x, "ccc_centred"), agreement(x))


@pytest.mark.parametrize("raters", [2, 5])
def test_alpha_against_the_literal_formula(raters):
    def variance(values):
        mean = sum(values) / len(values)
        return sum((v - mean) ** 2 for v in values) / (len(values) - 1)

    x = _ratings(raters, 70, raters)
    total = [sum(column) for column in x.T]
    expected = raters / (raters - 1) * (1 - sum(variance(list(row)) for row in x) / variance(total))
    assert cronbach_alpha(x) == pytest.approx(expected, rel=1e-12)
    gaps = x.copy()
    gaps[0, 5], gaps[1, 9] = np.nan, np.nan  # frames that not all have rated do not count
    assert cronbach_alpha(gaps) == pytest.approx(cronbach_alpha(np.delete(x, [5, 9], axis=1)), rel=1e-12)


def test_alpha_at_its_ends():
    x = _ratings(1, 30)
    assert cronbach_alpha(np.repeat(x, 3, axis=0)) == pytest.approx(1)
    assert np.isnan(cronbach_alpha(x))
    assert np.isnan(cronbach_alpha(np.full((2, 9), 0.1)))
    assert np.isnan(cronbach_alpha(np.array([[1, np.nan, 2], [np.nan, 1, 2]])))


def test_mistakes():
    with pytest.raises(InputError, match=r"gold standard is 'median', but must be one of mean, ewe, ccc_centred"):
        gold_standard(np.zeros((2, 3)), "median")
    with pytest.raises(InputError, match=r"gold standard is 'median', but must be one of mean, ewe, ccc_centred"):
        rater_weights(np.zeros((2, 3)), "median")
    with pytest.raises(InputError, match=r"ratings have shape \(3,\), but must be \[raters, frames\]"):
        gold_standard(np.zeros(3))
    with pytest.raises(InputError, match=r"shape \(0, 4\)"):
        gold_standard(np.zeros((0, 4)))


@pytest.mark.parametrize("method", METHODS)
def test_ratings_of_which_no_gold_can_be_made(method):
    x = _ratings(3, 8)
    x[1, 2] = np.inf
    with pytest.raises(InputError, match="inf at rater 1, frame 2, but must be finite"):
        gold_standard(x, method)
    x = _ratings(3, 8)
    x[:, 4:6] = np.nan
    with pytest.raises(InputError, match=r"no rater has a rating at frame 4 \(2 such frames; all NaN\): every frame"):
        gold_standard(x, method)
    x = _ratings(3, 8)
    x[2] = np.nan
    with pytest.raises(InputError, match="rater 2 has no rating in any of 8 frames"):
        rater_weights(x, method)
