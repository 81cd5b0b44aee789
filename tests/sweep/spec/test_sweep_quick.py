import dataclasses

import pytest
from plans import make_plan

from ser_ray.sweep.spec.items import GuidedSearch, RandomSearch
from ser_ray.sweep.spec.quick import shrink
from ser_ray.sweep.spec.space import Choices, Span


def trainings(sweep, corpus):
    return [trial.config.training for trial in make_plan(sweep, corpus).trials]


def test_the_paper_s_sweep_becomes_one_short_trial(read, corpus):
    small, said = shrink(read("name: x\nreplicates: 5"))
    (training,) = trainings(small, corpus)
    assert (training.epochs, training.limit_recordings, training.limit_s) == (2, 2, 40)
    assert (training.sequence_s, training.batch_size, training.seed) == (20, 5, 0)
    assert small.corpus == "synthetic-demo"
    assert said == (
        "training.epochs: 100 -> 2",
        "training.limit_recordings: null -> 2",
        "training.limit_s: null -> 40.0",
        "replicates: 5 -> 1",
        "corpus: synthetic -> synthetic-demo",
    )


def test_configurations_are_four_spread_over_all(read, corpus):
    sweep = read("name: x\nexplore: [{training.batch_size: {from: 1, to: 10, step: 1}}]\nreplicates: 3")
    small, said = shrink(sweep)
    assert [training.batch_size for training in trainings(small, corpus)] == [1, 4, 7, 10]
    assert "configurations: at most 4, evenly spread over those explored" in said


def test_stopping_and_patience_are_switched_off(read):
    small, said = shrink(read("name: x\ntrial: {training: {patience: 9}}\nschedule: {early_stopping: asha}"))
    assert small.given("training.patience") is None
    assert small.schedule.early_stopping == "none"
    assert "training.patience: 9 -> null" in said
    assert "schedule.early_stopping: asha -> none" in said


def test_explored_values_are_capped_too(read, corpus):
    sweep = read("""
name: x
explore:
  - training.sequence_s: [10, 30, 60]
    training.label_shift_s: [0, 6, 50]
    training.epochs: [1, 5, 9]
""")
    small, said = shrink(sweep)
    found = [(one.sequence_s, one.label_shift_s, one.epochs) for one in trainings(small, corpus)]
    assert found == [(10, 0, 1), (20, 6, 2), (20, 20, 2)]
    assert "training.sequence_s: [10.0, 30.0, 60.0] -> [10.0, 20.0, 20.0]" in said
    assert "training.epochs: [1, 5, 9] -> [1, 2, 2]" in said


@pytest.mark.parametrize(("limit_s", "sequence_s", "shift_s"), [(10, 10, 5), (25, 20, 12), (39, 20, 24)])
def test_a_shorter_limit_is_kept_and_holds_for_sequences_and_shifts(read, corpus, limit_s, sequence_s, shift_s):
    sweep = read(f"name: x\ntrial: {{training: {{limit_s: {limit_s}, limit_recordings: 1, label_shift_s: 24}}}}")
    small, _ = shrink(sweep)
    expected_shift = 24 if limit_s > 24 else shift_s
    (training,) = trainings(small, corpus)
    assert (training.limit_s, training.limit_recordings) == (limit_s, 1)
    assert (training.sequence_s, training.label_shift_s) == (sequence_s, expected_shift)


def test_null_limits_among_explored_ones_become_the_quick_ones(read, corpus):
    small, _ = shrink(read("name: x\nexplore: [{training.limit_s: [null, 30], training.limit_recordings: [null, 9]}]"))
    assert [(one.limit_s, one.limit_recordings) for one in trainings(small, corpus)] == [(40, 2), (30, 2)]


def test_a_corpus_of_one_s_own_is_kept(read):
    small, said = shrink(read("name: x\ncorpus: /data/mine"))
    assert small.corpus == "/data/mine"
    assert not any(line.startswith("corpus") for line in said)


def test_shrinking_twice_is_shrinking_once(read):
    once, _ = shrink(read("name: x\nexplore: [{training.sequence_s: [6, 60]}]\nreplicates: 3"))
    again, said = shrink(once)
    assert again == once
    assert said == ("configurations: at most 4, evenly spread over those explored",)


def test_quick_trials_have_keys_of_their_own(read, corpus):
    sweep = read("name: x\nexplore: [{training.sequence_s: [6, 20]}]")
    small, _ = shrink(sweep)
    full = {trial.key for trial in make_plan(sweep, corpus).trials}
    assert not full & {trial.key for trial in make_plan(small, corpus).trials}


def test_models_stay_as_they_are(read, corpus):
    sweep = read("name: x\nexplore: [{model.hidden: [8, 16]}]")
    small, _ = shrink(sweep)
    assert [t.config.model for t in make_plan(small, corpus).trials] == [
        t.config.model for t in make_plan(sweep, corpus).trials
    ]
    assert dataclasses.replace(small, name="y").schedule.max_configurations == 4


def test_searches_shrink_to_four_configurations_of_capped_values(read, corpus):
    inner = """
      count: 20
      training.epochs: {low: 1, high: 90}
      training.sequence_s: {low: 5, high: 61, step: 7}
      training.patience: {low: 3, high: 9}
      training.label_shift_s: [0, 4, 50, 60]
      model.hidden: {low: 8, high: 64, log: true}
"""
    small, said = shrink(read(f"name: x\nreplicates: 2\nexplore:\n  - random:{inner}"))
    (search,) = small.explore
    assert search == RandomSearch(
        count=4,
        space={
            "training.epochs": Span(low=1, high=2, whole=True),
            "training.sequence_s": Span(low=5, high=19, step=7),
            "training.patience": Choices(values=(None,)),
            "training.label_shift_s": Choices(values=(0, 4, 20)),
            "model.hidden": Span(low=8, high=64, log=True, whole=True),
        },
    )
    assert len(trainings(small, corpus)) == 4
    assert {"random.count: 20 -> 4", "training.epochs: [1, 90] -> [1, 2]", "replicates: 2 -> 1"} <= set(said)
    guided, said = shrink(read(f"name: x\nreplicates: 2\nexplore:\n  - guided:{inner}"))
    assert guided.guided == GuidedSearch(count=4, space=search.space)
    assert "guided.count: 20 -> 4" in said
    assert shrink(guided)[0] == guided


def test_draws_beside_designs_are_four_configurations_in_all(read, corpus):
    text = "name: x\nexplore: [{design: {smallest_pool: 4}}, {random: {count: 9, training.decay: {low: 0, high: 0.9}}}]"
    assert len(trainings(shrink(read(text))[0], corpus)) == 4


def test_ranges_above_a_cap_become_the_cap(read):
    text = "name: x\nexplore: [{random: {count: 2, training.limit_s: {low: 50, high: 90}, training.epochs: [7, 9]}}]"
    (search,) = shrink(read(text))[0].explore
    assert search.space == {"training.limit_s": Choices(values=(40,)), "training.epochs": Choices(values=(2,))}


def test_the_shortest_limit_of_a_search_holds_for_sequences(read):
    text = "name: x\nexplore: [{random: {count: 2, training.limit_s: {low: 10, high: 90}}}]"
    assert shrink(read(text))[0].given("training.sequence_s") == 10
