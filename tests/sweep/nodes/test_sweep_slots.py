"""How many trials fit on nodes, against packing them one by one."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.sweep.nodes.trial_resources import slots, taken
from ser_ray.sweep.spec.config import Resources


def packed(nodes, cpus, gpus):
    """Trials put on nodes one by one: a share of a GPU lies on one GPU, whole GPUs are whole."""
    count = 0
    for free_cpus, there in nodes:
        left, on_gpus = free_cpus, [Fraction(1)] * there
        while left >= cpus:
            whole = [n for n, free in enumerate(on_gpus) if free >= min(gpus, 1)]
            need = 0 if not gpus else max(1, int(gpus))
            if len(whole) < need:
                break
            for n in whole[:need]:
                on_gpus[n] -= min(gpus, 1)
            left -= cpus
            count += 1
    return count


@given(
    nodes=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 8)), min_size=1, max_size=4),
    cpus=st.integers(1, 12),
    gpus=st.one_of(st.just(0), st.integers(1, 5), st.integers(2, 99).map(lambda n: Fraction(n, 100))),
)
def test_slots_are_those_of_packing_trials_one_by_one(nodes, cpus, gpus):
    assert slots(nodes, cpus, float(gpus)) == packed(nodes, cpus, Fraction(gpus))


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([(8, 0)], 1, 0, 8),
        ([(8, 2), (8, 2)], 4, 1.0, 4),
        ([(8, 2)], 2, 0.25, 4),
        ([(8, 2)], 1, 0.3, 6),
        ([(8, 1)], 9, 1.0, 0),
        ([(8, 2)], 1, 3.0, 0),
        ([(8, 2), (4, 4)], 2, 2.0, 3),
        ([(16, 4), (16, 0)], 1, 0.25, 16),
        ([(2.5, 0)], 1, 0, 2),
        ([], 1, 0, 0),
    ],
)
def test_trials_fit_into_nodes_each_by_itself(nodes, cpus, gpus, expected):
    assert slots(nodes, cpus, gpus) == expected


@pytest.mark.parametrize(
    ("cpus", "share", "gpus", "expected"),
    [
        (2, 0.25, 4, (2.0, 0.25)),
        (2, 0.25, 0, (1.0, 0.0)),
        (2, 0, 4, (1.0, 0.0)),
        (3, 2, 2, (3.0, 2.0)),
    ],
)
def test_without_a_gpu_a_trial_takes_one_core(cpus, share, gpus, expected):
    assert taken(Resources(cpus=cpus, gpus=share), gpus) == expected
