"""The items `random` and `guided` of a sweep file: what they may say, and what is said about a wrong one."""

import hashlib
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.sweep.spec.items import GuidedSearch, RandomSearch
from ser_ray.sweep.spec.space import Choices, Span

SPACE = """
    training.learning_rate: {low: 1e-5, high: 1e-2, log: true}
    training.label_shift_s: {low: 0, high: 4, step: 0.04}
    training.batch_size: {low: 2, high: 16}
    model.hidden: [64, 128, 256, 64]
    model.pools: [[10, 8, 8], [8, 8, 10]]
"""
READ = {
    "training.learning_rate": Span(low=1e-5, high=1e-2, log=True),
    "training.label_shift_s": Span(low=0.0, high=4.0, step=0.04),
    "training.batch_size": Span(low=2, high=16, whole=True),
    "model.hidden": Choices(values=(64, 128, 256)),
    "model.pools": Choices(values=((10, 8, 8), (8, 8, 10))),
}


def refusal(read, explore):
    with pytest.raises(InputError) as refused:
        read(f"name: x\nexplore:\n{explore}")
    return str(refused.value)


def test_a_random_search_is_read(read):
    sweep = read(f"name: x\nexplore:\n- random:\n    count: 20\n    seed: 3{SPACE}")
    assert sweep.explore == (RandomSearch(count=20, seed=3, space=READ),)
    assert sweep.guided is None


def test_a_guided_search_is_read(read):
    sweep = read(f"name: x\nreplicates: 3\nexplore:\n- guided:\n    count: 40\n    startup: 5{SPACE}")
    assert sweep.explore == (GuidedSearch(count=40, seed=0, startup=5, space=READ),)
    assert sweep.guided == sweep.explore[0]


def test_a_draw_follows_from_seed_number_and_field_alone(read):
    (search,) = read(
        "name: x\nexplore: [{random: {count: 9, seed: 7, training.batch_size: {low: 2, high: 16}}}]"
    ).explore
    for number, drawn in enumerate(search.draws()):
        digest = hashlib.sha256(f"7/{number}/training.batch_size".encode()).hexdigest()
        assert drawn == {"training.batch_size": 2 + int(Fraction(int(digest[:16], 16), 2**64) * 15)}


FIELDS = sorted(READ)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 9),
    st.integers(1, 30),
    st.integers(1, 30),
    st.lists(st.sampled_from(FIELDS), min_size=1, unique=True),
    st.lists(st.sampled_from(FIELDS), min_size=1, unique=True),
)
def test_more_draws_and_other_fields_leave_those_that_were_there(seed, count, other_count, fields, other_fields):
    one = list(RandomSearch(count=count, seed=seed, space={name: READ[name] for name in fields}).draws())
    other = list(RandomSearch(count=other_count, seed=seed, space={name: READ[name] for name in other_fields}).draws())
    assert len(one) == count
    for ours, theirs in zip(one, other, strict=False):
        common = ours.keys() & theirs.keys()
        assert {name: ours[name] for name in common} == {name: theirs[name] for name in common}


def test_another_seed_draws_other_values():
    first, second = (list(RandomSearch(count=20, seed=seed, space=READ).draws()) for seed in (0, 1))
    assert not any(one == other for one in first for other in second)


def test_fields_are_drawn_independently_of_one_another():
    space = {name: Span(low=0, high=1) for name in ("training.weight_decay", "training.momentum")}
    drawn = [tuple(one.values()) for one in RandomSearch(count=2000, space=space).draws()]
    mean = sum((a - 0.5) * (b - 0.5) for a, b in drawn) / len(drawn)
    assert abs(mean) * 12 < 0.07  # the correlation; three of its deviations


@pytest.mark.parametrize("kind", ["random", "guided"])
@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("3", "s.yaml:3:4: explore[0].KIND is 3, but must be a mapping of count and dotted keys with lists or ranges, "
         "such as {count: 20,"),
        ("{model.hidden: [8]}", "s.yaml:3:4: explore[0].KIND.count is missing, but must be a whole "
         "number of at least 1 and at most 100000"),
        ("{count: 3}", "s.yaml:3:4: explore[0].KIND has no field; add one, such as model.hidden: [64, 128, 256]"),
        ("{count: 0, model.hidden: [8]}", "s.yaml:3:13: explore[0].KIND.count is 0, but must be a whole number of at "
         "least 1 and at most 100000"),
        ("{count: 1e6, model.hidden: [8]}", "explore[0].KIND.count is 1000000.0, but must be a whole number of at"),
        ("{count: 2, seed: -1, model.hidden: [8]}", "explore[0].KIND.seed is -1, but must be a whole number of at"),
        ("{cuont: 2, model.hidden: [8]}", "s.yaml:3:13: unknown key cuont in explore[0].KIND; did you mean count?"),
        ("{count: 2, training.lr: [8]}", "unknown key training.lr in explore[0].KIND (known: count, seed"),
        ("{count: 2, hidden: [8]}", "unknown key hidden in explore[0].KIND; did you mean model.hidden?"),
        ("{count: 2, search.methods: [[greedy]]}", "search.methods in explore[0].KIND cannot be explored"),
        ("{count: 2, model: [8]}", "model in explore[0].KIND is a section; explore one of its keys, such as model.ch"),
        ("{count: 2, model.hidden: 8}", "explore[0].KIND.model.hidden is 8, but must be a list of at least one value "
         "or a range {low: ..., high: ..., step: ...}"),
        ("{count: 2, model.hidden: [8, x]}", 's.yaml:3:41: explore[0].KIND.model.hidden[1] is "x", but must be a whole '
         "number of at least 1"),
        ("{count: 2, model.pools: [10, 8, 8]}", "but each value of model.pools is a list itself; write [[10, 8, 8]]"),
        ("{count: 2, training.loss: [cc]}", 'is "cc", but must be one of ccc, mse; did you mean ccc?'),
        ("{count: 2, training.loss: {low: 1, high: 2}}", "s.yaml:3:23: explore[0].KIND.training.loss is {low: 1, high: "
         "2}, but must be a list of at least one, each one of ccc, mse"),
        ("{count: 2, training.deterministic: {low: 0, high: 1}}", "but must be a list of at least one, each "
         "true or false"),
        ("{count: 2, training.decay: {from: 0, to: 1}}", "unknown key from in explore[0].KIND.training.decay"),
        ("{count: 2, training.decay: {hihg: 0.5, low: 0}}", "unknown key hihg in explore[0].KIND.training.decay; did "
         "you mean high?"),
        ("{count: 2, training.decay: {low: 0}}", "KIND.training.decay.high is missing, but must be a number"),
        ("{count: 2, training.decay: {low: 0, high: x}}", 'KIND.training.decay.high is "x", but must be a number'),
        ("{count: 2, training.decay: {low: 0, high: .inf}}", "KIND.training.decay.high is inf, but must be a number"),
        ("{count: 2, training.decay: {low: 0, high: 1}}", "s.yaml:3:48: explore[0].KIND.training.decay.high is 1, but "
         "must be a number of at least 0 and below 1"),
        ("{count: 2, training.learning_rate: {low: 0, high: 1}}", "rate.low is 0, but must be a number above 0"),
        ("{count: 2, training.batch_size: {low: 1, high: 2.5}}", "batch_size.high is 2.5, but must be a whole number"),
        ("{count: 2, training.patience: {low: null, high: 2}}", "training.patience.low is null, but must be a whole "
         "number of at least 1"),
        ("{count: 2, training.decay: {low: 0.5, high: 0.2}}", "low 0.5 is not below high 0.2; a single value is a"),
        ("{count: 2, training.decay: {low: 0, high: 0.5, log: 1}}", "decay.log is 1, but must be true or false"),
        ("{count: 2, training.decay: {low: 0, high: 0.5, log: true}}", "low is 0.0, but with log it must be above 0"),
        ("{count: 2, training.decay: {low: 0.1, high: 0.5, log: true, step: 0.1}}", "log and step cannot be combined"),
        ("{count: 2, training.decay: {low: 0, high: 0.5, step: 0}}", "decay.step is 0, but must be a number above 0"),
        ("{count: 2, training.decay: {low: 0, high: 0.5, step: 0.2}}", "s.yaml:3:23: explore[0].KIND.training.decay: "
         "its high 0.5 is not reached from 0.0 in steps of 0.2; end at 0.4 or 0.6"),
        ("{count: 2, training.sequence_s: {low: 2, high: 20}}", "explore[0].KIND.training.sequence_s has no step, but "
         "training.sequence_s must be whole frames of the corpus; give it a step, such as step: 0.04, or a list"),
        ("{count: 2, training.label_shift_s: {low: 1, high: 20, log: true}}", "label_shift_s has no step, but"),
    ],
)  # fmt: skip
def test_search_mistake_reports_place_value_and_what_is_allowed(read, kind, inner, message):
    said = refusal(read, f"- {{{kind}: {inner}}}")
    assert message.replace("KIND", kind) in said
    assert said.startswith("s.yaml:3:")
    for inside in ("pydantic", "http", "Config", "Span", "Choices", "Traceback", "Input should"):
        assert inside not in said


def test_startup_is_the_guided_search_s_alone(read):
    assert "unknown key startup in explore[0].random" in refusal(
        read, "- random: {count: 2, startup: 3, model.hidden: [8]}"
    )
    assert "explore[0].guided.startup is 0, but must be a whole number of at least 1" in refusal(
        read, "- guided: {count: 2, startup: 0, model.hidden: [8]}"
    )


def test_a_search_stands_alone_in_its_item(read):
    said = refusal(read, "- random: {count: 2, model.hidden: [8]}\n  model.dropout: [0.1]")
    assert said == (
        "s.yaml:4:3: explore[0] has both model.dropout and random; random must be the only key of its item, so move "
        "the rest to another item"
    )


def test_a_guided_search_stands_alone_under_explore(read):
    said = refusal(read, "- model.dropout: [0, 0.5]\n- guided: {count: 2, model.hidden: [8]}")
    assert said == (
        "s.yaml:4:3: explore[1].guided proposes whole configurations and must be the only item of explore; "
        "move the other keys into it, or use random, which combines with other items"
    )


def test_a_field_is_explored_once(read):
    said = refusal(read, "- model.hidden: [8, 9]\n- random: {count: 2, model.hidden: [8]}")
    assert said == "s.yaml:4:22: model.hidden is already explored by explore[0]; explore each key once"


def test_seeds_are_not_searched_beside_replicates(read):
    with pytest.raises(InputError, match=r"^s\.yaml:3:32: training\.seed is explored although replicates is 2"):
        read("name: x\nreplicates: 2\nexplore: [{random: {count: 2,  training.seed: [1, 2]}}]")
