import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocess_oracle import KINDS, medians, trace
from scipy.ndimage import median_filter

from ser_ray.postprocess import running_median
from ser_ray.postprocess.running_median import running_medians


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 200),
    st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True).map(sorted),
    st.integers(0, 2**32 - 1),
)
def test_medians_are_exact(kind, frames, halves, seed):
    x = trace(kind, frames, np.random.default_rng(seed))
    windows = [2 * half + 1 for half in halves]
    result = running_medians(np.pad(x, halves[-1], mode="edge"), windows)
    for row, window in zip(result, windows, strict=True):
        assert (row == medians(x, window)).all()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1e9]), min_size=1, max_size=90), st.integers(0, 30))
def test_ties_and_outliers_are_exact(values, half):
    x = np.array(values)
    windows = range(1, 2 * half + 2, 2)
    result = running_medians(np.pad(x, half, mode="edge"), windows)
    assert (result == [medians(x, w) for w in windows]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_range_of_windows_equals_scipy(kind):
    x = trace(kind, 1000, np.random.default_rng(3))
    windows = range(1, 502, 2)
    result = running_medians(np.pad(x, 250, mode="edge"), windows)
    for row in (0, 1, 2, 30, 125, 249, 250):
        assert (result[row] == median_filter(x, windows[row], mode="nearest")).all()


def test_writes_into_a_given_view():
    buffer = np.full((2, 10), -7.0)
    x = np.array([3.0, 1.0, 2.0, 5.0])
    result = running_medians(np.pad(x, 1, mode="edge"), (1, 3), out=buffer[:, :4])
    assert np.shares_memory(result, buffer)
    assert buffer[:, :4].tolist() == [[3, 1, 2, 5], [3, 2, 2, 5]]
    assert (buffer[:, 4:] == -7).all()


@pytest.mark.parametrize("failure", [RuntimeError("no locator available"), OSError("disk full")])
def test_without_a_cache_on_disk_the_kernel_is_compiled_anew(monkeypatch, failure):
    compile_really = numba.njit

    def njit(*args, cache=False):
        if cache:
            raise failure
        return compile_really(*args)

    monkeypatch.setattr(numba, "njit", njit)
    running_median._kernel.cache_clear()
    try:
        assert running_medians(np.array([3.0, 1.0, 2.0]), (3,)).tolist() == [[2.0]]
    finally:
        running_median._kernel.cache_clear()
