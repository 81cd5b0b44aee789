import dataclasses

import pytest

from ser_ray.sweep.plan import make_plan
from ser_ray.sweep.quick import shrink


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
