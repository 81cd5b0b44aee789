import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.overlap import (
    check_pools,
    designs,
    kernel_size,
    nearest_pools,
    overlap_ratio,
    pool_sizes,
    receptive_field,
)

sizes = st.integers(1, 500)


def test_ratios_of_the_papers_layers():
    assert overlap_ratio(8, 10) == pytest.approx(7 / 17)
    assert overlap_ratio(6, 8) == pytest.approx(5 / 13)


@given(sizes, sizes)
def test_ratio_is_the_share_of_a_window_that_its_neighbour_sees(kernel, pool):
    window = set(range(kernel + pool - 1))
    neighbour = {position + pool for position in window}
    assert overlap_ratio(kernel, pool) == pytest.approx(len(window & neighbour) / len(window))


@pytest.mark.parametrize(
    ("pool", "kernel"),
    [(2, 2), (4, 4), (5, 4), (8, 6), (10, 8), (16, 12), (20, 14), (32, 22), (40, 28), (64, 44), (80, 54)],
)
def test_nearest_kernels_at_the_papers_ratio(pool, kernel):
    assert kernel_size(pool, 0.4) == kernel


@given(sizes, st.floats(0, 0.95))
def test_nearest_kernel_solves_equation_2_to_half_a_step(pool, ratio):
    exact = 1 + pool * ratio / (1 - ratio)
    assert abs(kernel_size(pool, ratio) - exact) <= 0.5 + 1e-9


@given(sizes, sizes)
def test_kernel_size_inverts_the_ratio(kernel, pool):
    assert kernel_size(pool, overlap_ratio(kernel, pool)) == kernel


def test_pool_sizes_of_40_ms():
    triples = pool_sizes(640, 3)
    assert len(triples) == 63
    assert (10, 8, 8) in triples
    assert triples == sorted(triples)


@given(st.integers(1, 400), st.integers(1, 4), st.integers(1, 5))
def test_pool_sizes_are_all_ordered_factorisations(hop, layers, smallest):
    divisors = [d for d in range(smallest, hop + 1) if hop % d == 0]
    expected = [p for p in itertools.product(divisors, repeat=layers) if math.prod(p) == hop]
    assert pool_sizes(hop, layers, smallest) == expected


def test_receptive_field_of_the_paper():
    assert receptive_field((8, 6, 6), (10, 8, 8)) == 1097


def test_receptive_field_of_strides_sees_kernels_alone():
    assert receptive_field((8, 6), (10, 8), pooled=False) == 1 + 7 + 5 * 10


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=3))
def test_receptive_field_counts_the_samples_that_reach_one_frame(layers):
    kernels, pools = zip(*layers, strict=True)
    first, last = 0, 0
    for kernel, pool in reversed(layers):
        first, last = first * pool, (last + 1) * pool - 1 + kernel - 1
    assert receptive_field(kernels, pools) == last - first + 1


def test_designs_follow_the_rule():
    found = designs(640, 3, 2, 0.4)
    assert ((8, 6, 6), (10, 8, 8)) in found
    assert [pools for _, pools in found] == pool_sizes(640, 3, 2)


def test_pools_that_miss_the_hop_are_refused_with_the_nearest():
    with pytest.raises(
        InputError, match=r"pools \[10, 8, 7\] multiply to 560, but one frame .* 640 samples.*\[10, 8, 8\]"
    ):
        check_pools((10, 8, 7), 640)
    check_pools((10, 8, 8), 640)


def test_nearest_pools_of_fitting_pools_are_themselves():
    assert nearest_pools((4, 10, 16), 640)[0] == (4, 10, 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: overlap_ratio(0, 3), "kernel is 0, but must be at least 1"),
        (lambda: overlap_ratio(3, -1), "pool is -1"),
        (lambda: kernel_size(8, 1.0), "overlap ratio is 1.0, but must be at least 0 and below 1"),
        (lambda: kernel_size(8, math.nan), "overlap ratio is nan"),
        (lambda: pool_sizes(0, 3), "hop is 0"),
        (lambda: receptive_field((8, 6), (10,)), "2 kernels"),
    ],
)
def test_sizes_out_of_range_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
