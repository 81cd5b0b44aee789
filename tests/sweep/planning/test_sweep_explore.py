import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.sweep.planning.explore import Setting, configurations, evenly_spread
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.sweep.spec.items import Design, Together
from ser_ray.trial import TrialConfig


def designed(**fields):
    """Kernels and pools of a sweep over one design, at a hop of 640."""
    sweep = SweepConfig(name="x", explore=(Design(**fields),))
    return [(found.trial.model.kernels, found.trial.model.pools) for found in configurations(sweep, 640)]


def nearest_kernel(pool, ratio):
    """Eq. 2 solved for the kernel in exact arithmetic; halves go up."""
    ratio = Fraction(str(ratio))
    return math.floor(1 + pool * ratio / (1 - ratio) + Fraction(1, 2))


def test_a_sweep_that_explores_nothing_is_one_trial():
    (only,) = configurations(SweepConfig(name="x"), 640)
    assert only.trial == TrialConfig()
    assert only.settings == ()


def test_items_multiply_and_the_last_varies_fastest(read):
    sweep = read("""
name: x
explore:
  - training.sequence_s: [6, 20]
    training.batch_size: [10, 3]
  - training.loss: [ccc, mse]
""")
    found = [configuration.trial.training for configuration in configurations(sweep, 640)]
    assert [(one.sequence_s, one.batch_size, one.loss) for one in found] == [
        (6, 10, "ccc"),
        (6, 10, "mse"),
        (20, 3, "ccc"),
        (20, 3, "mse"),
    ]


def test_what_is_given_in_trial_holds_for_every_configuration(read):
    sweep = read("""
name: x
trial: {model: {hidden: 8}, training: {epochs: 3, sequence_s: 10}, search: {methods: [greedy]}}
explore: [{training.sequence_s: [6, 20]}, {model.dropout: [0, 0.5]}]
""")
    found = [configuration.trial for configuration in configurations(sweep, 640)]
    assert {one.model.hidden for one in found} == {8}
    assert {one.training.epochs for one in found} == {3}
    assert {one.search.methods for one in found} == {("greedy",)}
    assert [one.training.sequence_s for one in found] == [6, 6, 20, 20]


def test_designs_are_all_pools_of_the_hop_with_the_kernels_of_the_ratio():
    pools = [p for p in itertools.product(range(4, 41), repeat=3) if math.prod(p) == 640]
    expected = [(tuple(nearest_kernel(p, 0.4) for p in triple), triple) for triple in sorted(pools)]
    assert len(expected) == 30
    assert designed(smallest_pool=4, overlap_ratio=0.4) == expected
    assert ((8, 6, 6), (10, 8, 8)) in expected


def test_ratios_multiply_with_pools_ratio_by_ratio():
    both = designed(smallest_pool=4, overlap_ratio=[0.4, 0.2])
    assert both == designed(smallest_pool=4, overlap_ratio=0.4) + designed(smallest_pool=4, overlap_ratio=0.2)


def test_designs_that_rounding_makes_equal_are_made_once():
    assert designed(smallest_pool=8, overlap_ratio=[0.4, 0.401, 0.4]) == designed(smallest_pool=8, overlap_ratio=0.4)


def test_the_largest_pool_is_a_bound():
    narrow = designed(smallest_pool=4, largest_pool=16)
    assert narrow == [one for one in designed(smallest_pool=4) if max(one[1]) <= 16]
    assert len(narrow) == 15


def test_a_count_spreads_over_the_pools_and_every_ratio_gets_the_same():
    every = [pools for _, pools in designed(smallest_pool=4)]
    few = [pools for _, pools in designed(smallest_pool=4, count=4)]
    assert few == [every[0], every[10], every[19], every[29]]
    assert [pools for _, pools in designed(smallest_pool=4, count=4, overlap_ratio=[0.2, 0.6])] == few + few
    assert designed(smallest_pool=4, count=31) == designed(smallest_pool=4)


def test_a_design_takes_the_corpus_s_hop_unless_it_names_one():
    def hops(design):
        return {found.trial.model.hop for found in configurations(SweepConfig(name="x", explore=(design,)), 1600)}

    assert hops(Design()) == {1600}
    assert hops(Design(hop=640)) == {640}


def test_a_design_of_other_depth_needs_channels_to_match(read):
    text = "name: x\ntrial: {model: {channels: %s}}\nexplore:\n  - design: {layers: 4}"
    assert {len(found.trial.model.pools) for found in configurations(read(text % "[8, 8, 8, 8]"), 640)} == {4}
    with pytest.raises(InputError) as refused:
        configurations(read(text % "[8, 8]"), 640)
    assert str(refused.value) == (
        "s.yaml:4:5: explore[0].design has 4 layers, but trial.model.channels [8, 8] has 2; "
        "give trial.model.channels 4 numbers"
    )
    explored = read("name: x\nexplore: [{design: {layers: 2}}, {model.channels: [[8, 8], [16, 16]]}]")
    assert {found.trial.model.channels for found in configurations(explored, 640)} == {(8, 8), (16, 16)}


def test_lists_of_different_depth_are_refused_where_they_are_given(read):
    said = r"model: channels \[64, 128, 256\], kernels \[8, 6\] and pools \[10, 8, 8\] describe 3, 2 and 3 layers"
    with pytest.raises(InputError, match=r"^s\.yaml:2:17: " + said):
        configurations(read("name: x\ntrial: {model: {kernels: [8, 6]}}"), 640)
    with pytest.raises(InputError, match=r"^s\.yaml:4:7: " + said):
        configurations(read("name: x\nexplore:\n- model.kernels:\n    - [8, 6]"), 640)


def test_the_field_that_is_wrong_is_blamed_not_the_one_explored(read):
    text = "name: x\ntrial: {model: {targets: [valence, valence]}}\nexplore: [{model.hidden: [8]}]"
    with pytest.raises(InputError, match=r"^s\.yaml:2:17: model: targets .* name one twice"):
        configurations(read(text), 640)


def test_a_design_without_pools_says_what_there_is(read):
    with pytest.raises(InputError) as refused:
        configurations(read("name: x\nexplore: [{design: {smallest_pool: 20}}]"), 640)
    assert str(refused.value) == (
        "s.yaml:2:12: explore[0].design: no 3 pools of 20 or more multiply to the hop of 640 samples; examples of "
        "pools that do: [8, 8, 10], [8, 10, 8], [10, 8, 8]"
    )
    with pytest.raises(InputError, match="no 3 pools of 4 to 7 multiply to the hop of 640"):
        configurations(read("name: x\nexplore: [{design: {smallest_pool: 4, largest_pool: 7}}]"), 640)


def test_a_runaway_product_is_refused_before_it_is_made(read):
    text = """
name: x
replicates: 2
explore:
  - training.epochs: {from: 1, to: 1000, step: 1}
  - training.batch_size: {from: 1, to: 1000, step: 1}
"""
    said = "1000 x 1000 configurations with 2 seeds each are 2000000 trials; at most 100000 are allowed"
    with pytest.raises(InputError, match=said):
        configurations(read(text), 640)


def test_seeds_count_towards_the_most_trials(read):
    text = "name: x\nreplicates: 2\nexplore: [{training.epochs: {from: 1, to: 50001, step: 1}}]"
    with pytest.raises(InputError, match="50001 configurations with 2 seeds each are 100002 trials"):
        configurations(read(text), 640)


def test_settings_tell_what_distinguishes_a_configuration_and_from_where(read):
    text = "name: x\nexplore:\n  - training.sequence_s:\n      - 6\n      - 20\n    training.batch_size: [5, 2]"
    last = configurations(read(text), 640)[-1]
    assert [(one.path, one.value, one.place) for one in last.settings] == [
        ("training.sequence_s", 20.0, "s.yaml:5:9"),
        ("training.batch_size", 2, "s.yaml:6:30"),
    ]


VALUES = {
    "model.hidden": st.integers(1, 5),
    "model.dropout": st.sampled_from([0.0, 0.25, 0.5]),
    "training.batch_size": st.integers(1, 5),
    "training.sequence_s": st.sampled_from([6.0, 10.0, 20.0]),
    "training.loss": st.sampled_from(["ccc", "mse"]),
    "training.seed": st.integers(0, 3),
}


@st.composite
def explorations(draw):
    """Items over disjoint fields, each with one to four values per field."""
    fields = draw(st.permutations(sorted(VALUES)))
    items = []
    while fields and draw(st.booleans()):
        count = draw(st.integers(1, min(3, len(fields))))
        rows = draw(st.integers(1, 4))
        columns = {
            field: tuple(draw(st.lists(VALUES[field], min_size=rows, max_size=rows))) for field in fields[:count]
        }
        items.append(Together(values=columns))
        fields = fields[count:]
    return tuple(items)


@settings(deadline=None, max_examples=150)
@given(explorations())
def test_the_size_is_the_product_of_the_items_less_what_is_equal(items):
    found = configurations(SweepConfig(name="x", explore=items), 640)
    rows = [list(zip(*item.values.values(), strict=True)) for item in items]
    assert len(found) == math.prod(len(item) for item in rows)
    assert len({one.trial for one in found}) == math.prod(len(set(item)) for item in rows)
    for configuration in found:
        for setting in configuration.settings:
            section, field = setting.path.split(".")
            assert getattr(getattr(configuration.trial, section), field) == setting.value


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.integers(1, 300))
def test_evenly_spread_keeps_order_ends_and_even_gaps(size, count):
    chosen = evenly_spread(range(size), count)
    assert len(chosen) == min(size, count)
    assert chosen[0] == 0
    gaps = {later - earlier for earlier, later in itertools.pairwise(chosen)}
    if len(chosen) > 1:
        assert chosen[-1] == size - 1
        assert min(gaps) >= 1
        assert max(gaps) - min(gaps) <= 1


def test_each_design_gets_all_draws(read):
    text = """
name: x
explore:
  - design: {smallest_pool: 8}
  - random: {count: 5, seed: 2, training.batch_size: {low: 1, high: 9}, model.dropout: {low: 0, high: 0.9}}
"""
    sweep = read(text)
    found = configurations(sweep, 640)
    expected = [(one["training.batch_size"], one["model.dropout"]) for one in sweep.explore[1].draws()]
    assert len(set(expected)) == 5
    by_pools = {}
    for one in found:
        by_pools.setdefault(one.trial.model.pools, []).append((one.trial.training.batch_size, one.trial.model.dropout))
    assert set(by_pools) == {pools for _, pools in designed(smallest_pool=8)}
    assert all(drawn == expected for drawn in by_pools.values())
    assert found[0].settings[2:] == (
        Setting("training.batch_size", expected[0][0], "s.yaml:5:33"),
        Setting("model.dropout", expected[0][1], "s.yaml:5:73"),
    )


def test_the_draws_count_towards_the_most_trials(read):
    text = "name: x\nreplicates: 2\nexplore: [{random: {count: 50001, model.dropout: {low: 0, high: 0.9}}}]"
    with pytest.raises(InputError, match="50001 configurations with 2 seeds each are 100002 trials"):
        configurations(read(text), 640)


def test_a_misfit_among_draws_is_placed(read):
    text = "name: x\nexplore: [{random: {count: 9, model.kernels: [[8, 6], [8, 6, 6]]}}]"
    with pytest.raises(InputError, match=r"^s\.yaml:2:31: model: channels .* describe 3, 2 and 3 layers"):
        configurations(read(text), 640)
