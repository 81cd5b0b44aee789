import math

import audmetric
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ser_ray.errors import InputError
from ser_ray.metrics import ccc, ccc_per_recording, ccc_pooled, pearson

values = st.floats(-3, 3, allow_nan=False, width=32)
pairs = st.integers(2, 60).flatmap(
    lambda n: st.tuples(arrays(np.float64, n, elements=values), arrays(np.float64, n, elements=values))
)


def literal_ccc(x, y):
    """Eq. 3, word by word."""
    n = len(x)
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    var_x = math.fsum((a - mean_x) ** 2 for a in x) / n
    var_y = math.fsum((b - mean_y) ** 2 for b in y) / n
    cov = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / n
    return 2 * cov / (var_x + var_y + (mean_x - mean_y) ** 2)


@given(pairs)
def test_ccc_is_equation_3(pair):
    x, y = pair
    if np.ptp(x) < 1e-3 or np.ptp(y) < 1e-3:
        return
    assert ccc(x, y) == pytest.approx(literal_ccc(x, y), abs=1e-12)


def test_ccc_agrees_with_audmetric():
    rng = np.random.default_rng(0)
    for n in (3, 50, 7500):
        x, y = rng.normal(size=n), rng.normal(size=n)
        y += 0.5 * x
        assert ccc(x, y) == pytest.approx(audmetric.concordance_cc(y, x), abs=1e-12)


@given(pairs)
def test_ccc_is_symmetric_and_bounded(pair):
    x, y = pair
    value = ccc(x, y)
    if math.isnan(value):
        assert np.ptp(x) == np.ptp(y) == 0
        assert x[0] == y[0]
        return
    assert ccc(y, x) == pytest.approx(value, abs=1e-12)
    assert abs(value) <= 1 + 1e-12


def test_ccc_of_equal_traces_is_one_also_in_two_dimensions():
    x = np.random.default_rng(1).normal(size=(16, 10))
    assert ccc(x, x) == pytest.approx(1, abs=1e-15)


levels = st.floats(-2, 2).map(lambda level: round(level, 9))  # squares of still smaller differences are no numbers


@given(levels, levels, st.integers(1, 50))
def test_constants_are_zero_or_undefined(level, other, n):
    x = np.full(n, level)
    assert math.isnan(ccc(x, x))
    if level != other:
        assert ccc(x, np.full(n, other)) == 0
    varied = np.linspace(-1, 1, n + 1)
    assert ccc(np.full(n + 1, level), varied) == pytest.approx(0, abs=1e-15)


def test_no_values_and_nan_are_nan():
    assert math.isnan(ccc([], []))
    assert math.isnan(ccc([1.0, math.nan], [1.0, 2.0]))
    assert math.isnan(ccc_pooled([], []))
    assert math.isnan(ccc_per_recording([], []))


def test_best_affine_map_reaches_pearsons_r():
    rng = np.random.default_rng(2)
    x, y = rng.normal(3, 0.2, 400), rng.normal(size=400)
    y += 2 * x
    mapped = (x - x.mean()) * y.std() / x.std() + y.mean()
    assert ccc(mapped, y) == pytest.approx(pearson(x, y), abs=1e-12)
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)


def test_far_from_zero_nothing_is_lost():
    rng = np.random.default_rng(3)
    x = rng.normal(size=1000)
    y = 0.7 * x + rng.normal(size=1000)
    assert ccc(x + 1e6, y + 1e6) == pytest.approx(ccc(x, y), abs=1e-8)


def test_avec_variant_divides_variances_by_n_minus_1():
    x = np.random.default_rng(4).normal(size=10)
    assert ccc(x, x, variant="avec") == pytest.approx(0.9)
    y = x + np.random.default_rng(5).normal(size=10)
    literal = (
        2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var(ddof=1) + y.var(ddof=1) + (x.mean() - y.mean()) ** 2)
    )
    assert ccc(x, y, variant="avec") == pytest.approx(literal, abs=1e-14)
    assert math.isnan(ccc([1.0], [1.0], variant="avec"))


def test_pooled_is_not_the_mean_over_recordings():
    rng = np.random.default_rng(6)
    gold = [rng.normal(level, 0.1, size) for level, size in ((-1, 100), (0, 300), (1, 50))]
    predictions = [np.full_like(g, g.mean()) + rng.normal(0, 0.1, g.size) for g in gold]
    pooled, mean = ccc_pooled(predictions, gold), ccc_per_recording(predictions, gold)
    assert pooled == pytest.approx(literal_ccc(np.concatenate(predictions), np.concatenate(gold)), abs=1e-12)
    assert mean == pytest.approx(
        np.mean([literal_ccc(p, g) for p, g in zip(predictions, gold, strict=True)]), abs=1e-12
    )
    assert pooled - mean > 0.5


def test_mismatches_are_named():
    with pytest.raises(InputError, match="prediction has 2 values and gold 3"):
        ccc([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="CCC variant is 'sample', but must be"):
        ccc([1, 2], [1, 2], variant="sample")
    with pytest.raises(InputError, match="predictions of 1 recordings, but gold of 2"):
        ccc_pooled([[1, 2]], [[1, 2], [3]])
    with pytest.raises(InputError, match="recording 1: 1 predicted frames, but 2 gold frames"):
        ccc_per_recording([[1, 2], [3]], [[1, 2], [3, 4]])
