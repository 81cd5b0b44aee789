"""Which share of a GPU the next trial gets, with Ray's way of packing in the place of Ray."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.sweep.nodes.trial_resources import GpuShares, slots


def fill(nodes, cpus, least, trials):
    """Return the shares of trials that come one after the other, those for which there is room."""
    shares = GpuShares(nodes, cpus, least)
    return [s for n in range(trials) if (s := shares.take(str(n), trials - n)) is not None], shares


def packed(gpus, shares):
    """Return what Ray puts on each GPU: each share where it fits best."""
    free = [1.0] * gpus
    for share in shares:
        best = min((n for n in range(gpus) if free[n] >= share - 1e-9), key=lambda n: free[n])
        free[best] -= share
    return [round(1 - one, 3) for one in free]


@pytest.mark.parametrize(
    ("nodes", "cpus", "least", "trials", "expected"),
    [
        ([(16, 4)], 1, 0.25, 6, [1, 1, 0.5, 0.5, 0.5, 0.5]),
        ([(16, 4)], 1, 0.25, 3, [1, 1, 1]),
        ([(16, 4)], 1, 0.25, 16, [0.25] * 16),
        ([(16, 4)], 1, 0.25, 99, [0.25] * 16),
        ([(8, 2), (8, 2)], 1, 0.25, 6, [1, 1, 0.5, 0.5, 0.5, 0.5]),
        ([(16, 1)], 1, 0.25, 3, [0.3333, 0.3333, 0.3334]),
        ([(16, 2)], 1, 1.0, 3, [1, 1]),
        ([(4, 4)], 2, 0.25, 6, [1, 1]),  # more do not find cores
        ([(4, 2), (16, 0)], 1, 0.5, 9, [0.5] * 4),
        ([(8, 4)], 1, 2.0, 3, [2.0, 2.0]),
    ],
)
def test_as_much_as_leaves_room_for_all_that_are_open(nodes, cpus, least, trials, expected):
    assert fill(nodes, cpus, least, trials)[0] == expected


@given(gpus=st.integers(1, 8), least=st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 1.0]), trials=st.integers(1, 40))
def test_no_gpu_idles_and_none_has_more_trials_than_the_least_share_allows(gpus, least, trials):
    given_out, _ = fill([(99, gpus)], 1, least, trials)
    assert len(given_out) == min(trials, slots([(99, gpus)], 1, least))
    assert all(share >= math.floor(least * 1e4) / 1e4 for share in given_out)
    used = packed(gpus, given_out)
    assert sum(one > 0 for one in used) == min(gpus, trials)


def test_what_becomes_free_is_given_to_who_waits(tmp_path):
    _, shares = fill([(16, 2)], 1, 0.25, 8)
    assert shares.take("waits", 1) is None
    shares.release("3")
    assert shares.take("waits", 5) == 0.25
    for key in "0124567":
        shares.release(key)
    assert shares.held == 1
    assert [shares.take(key, 2 - n) for n, key in enumerate("ab")] == [1.0, 0.75]


def test_a_gpu_that_is_set_aside_or_lost_counts_no_more_and_nodes_may_come():
    _, shares = fill([(16, 2)], 1, 0.5, 2)
    shares.set_aside()
    assert shares.take("more", 1) is None
    shares.update([(16, 2), (16, 2)])
    assert shares.take("more", 1) == 1.0
    shares.update([(16, 2)])
    assert shares.take("again", 1) is None
    whole = GpuShares([(8, 4)], 1, 2.0)
    whole.set_aside()
    assert [whole.take(key, 2) for key in "ab"] == [2.0, None]
