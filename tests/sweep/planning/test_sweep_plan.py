import dataclasses
import json
import math
from unittest.mock import Mock

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_fields import NEEDS, OTHER_MODEL, OTHER_TRAINING, TOGETHER, TRAINING_TOGETHER
from plans import make_plan

from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.sweep.planning.explore import configurations
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import TrialConfig, trial_key

KNOWN = ["aee5000c05bc", "721cbdf5fd9d", "5049f66c0251", "46b657ed3881"]


def key(model=None, training=None, search=None, fingerprint="f"):
    config = TrialConfig(
        model=ModelConfig(**(model or {})),
        training=TrainingConfig(**(training or {})),
        search=SearchConfig(**(search or {})),
    )
    return trial_key(config, fingerprint)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ModelConfig)])
def test_the_key_depends_on_every_field_of_the_model(field):
    part = NEEDS.get(field, {})
    assert key(model=part | {field: OTHER_MODEL[field]}) != key(model=part)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrainingConfig)])
def test_the_key_depends_on_every_field_of_the_training(field):
    assert key(training={field: OTHER_TRAINING[field]}) != key()


def test_the_key_depends_on_the_corpus_and_not_on_the_search():
    assert key(fingerprint="g") != key(fingerprint="f")
    assert key(search={"methods": ("greedy",)}) == key()


@settings(deadline=None, max_examples=30)
@given(st.permutations(TRAINING_TOGETHER), st.permutations(TOGETHER))
def test_the_key_is_blind_to_the_order_of_keys(training, model):
    shuffled = key({name: OTHER_MODEL[name] for name in model}, {name: OTHER_TRAINING[name] for name in training})
    assert shuffled == key(
        {name: OTHER_MODEL[name] for name in TOGETHER}, {name: OTHER_TRAINING[name] for name in TRAINING_TOGETHER}
    )


def test_the_file_s_order_of_keys_and_way_of_writing_numbers_do_not_matter(read, corpus):
    one = read("name: x\ntrial: {training: {epochs: 3, sequence_s: 6}, model: {hidden: 8}}")
    two = read("trial:\n  model: {hidden: 8}\n  training: {sequence_s: 6.0, epochs: 3}\nname: y\nreplicates: 1")
    assert [(trial.key, trial.config) for trial in make_plan(one, corpus).trials] == [
        (trial.key, trial.config) for trial in make_plan(two, corpus).trials
    ]


def test_the_first_seed_of_every_configuration_comes_before_the_second(read, corpus):
    text = """
name: x
trial: {training: {seed: 5}}
explore: [{training.sequence_s: [6, 20]}]
replicates: 3
"""
    plan = make_plan(read(text), corpus)
    found = [(trial.config.training.seed, trial.config.training.sequence_s) for trial in plan.trials]
    assert found == [(5, 6), (5, 20), (6, 6), (6, 20), (7, 6), (7, 20)]
    assert (plan.configurations, plan.collapsed, plan.left_out) == (2, 0, 0)
    assert plan.corpus is corpus


def test_keys_are_those_of_the_configurations_and_distinct(read, corpus):
    plan = make_plan(read("name: x\nexplore: [{training.sequence_s: [6, 20]}]\nreplicates: 2"), corpus)
    keys = [trial.key for trial in plan.trials]
    assert keys == [trial_key(trial.config, corpus.fingerprint) for trial in plan.trials]
    assert len(set(keys)) == 4


def test_equal_configurations_are_planned_once_and_counted(read, corpus):
    plan = make_plan(read("name: x\nexplore: [{training.sequence_s: [6, 20, 6.0]}]\nreplicates: 2"), corpus)
    assert [trial.config.training.sequence_s for trial in plan.trials] == [6, 20, 6, 20]
    assert (plan.configurations, plan.collapsed) == (2, 1)


def test_explored_seeds_are_configurations(read, corpus):
    plan = make_plan(read("name: x\nexplore: [{training.seed: {from: 3, to: 5, step: 1}}]"), corpus)
    assert [trial.config.training.seed for trial in plan.trials] == [3, 4, 5]


def test_most_configurations_are_spread_over_the_distinct_ones(read, corpus):
    text = """
name: x
explore: [{training.sequence_s: [2, 2, 4, 6, 8, 10, 12]}]
replicates: 2
schedule: {max_configurations: 3}
"""
    plan = make_plan(read(text), corpus)
    assert [trial.config.training.sequence_s for trial in plan.trials] == [2, 8, 12, 2, 8, 12]
    assert (plan.configurations, plan.collapsed, plan.left_out) == (3, 1, 3)


def test_a_planned_trial_tells_what_a_listing_shows(read, corpus):
    plan = make_plan(read("name: x\nexplore: [{design: {smallest_pool: 8}}]"), corpus)
    trial = next(trial for trial in plan.trials if trial.config.model.pools == (10, 8, 8))
    assert trial.explored == (("model.kernels", (8, 6, 6)), ("model.pools", (10, 8, 8)))
    assert trial.receptive_field_ms == pytest.approx(68.5625)
    assert trial.config.model.overlap_ratios == pytest.approx((7 / 17, 5 / 13, 5 / 13))


def test_the_parameters_are_counted_layer_by_layer():
    model = ModelConfig(channels=(3, 5), kernels=(4, 2), pools=(32, 20), hidden=7, lstm_layers=3, targets=("arousal",))
    convolutions = (4 * 1 * 3 + 3) + (2 * 3 * 5 + 5)
    first = 4 * 7 * 5 + 4 * 7 * 7 + 2 * 4 * 7
    later = 4 * 7 * 7 + 4 * 7 * 7 + 2 * 4 * 7
    assert model.parameters == convolutions + first + 2 * later + 7 * 1 + 1
    assert ModelConfig().parameters == 1_299_906


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial: {model: {pools: [10, 8, 9]}}", "s.yaml:2:17: trial.model.pools: pools [10, 8, 9] multiply to 720, but "
         "one frame of this corpus is 640 samples; nearest pools that fit: [10, 8, 8]"),
        ("explore:\n  - model.pools:\n      - [10, 8, 8]\n      - [9, 8, 8]", "s.yaml:5:9: model.pools: pools [9, 8, "
         "8] multiply to 576"),
        ("explore: [{design: {hop: 1600}}]", "s.yaml:2:12: model.pools: pools"),
        ("trial: {training: {sequence_s: 0.05}}", "s.yaml:2:20: trial.training.sequence_s: 0.05 s are 1.25 frames of "
         "this corpus (25 a second), but must be whole frames; nearest: 0.04 and 0.08"),
        ("trial: {training: {sequence_s: 0.01}}", "0.01 s are 0.25 frames of this corpus (25 a second), but must be "
         "whole frames; nearest: 0.04"),
        ("explore: [{training.label_shift_s: {from: 0, to: 6, step: 0.5}}]", "s.yaml:2:12: training.label_shift_s: 0.5 "
         "s are 12.5 frames of this corpus (25 a second), but must be whole frames; nearest: 0.48 and 0.52"),
        ("explore:\n  - training.sequence_s: [6, 0.3]", "s.yaml:3:30: training.sequence_s: 0.3 s are 7.5 frames"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_corpus_is_refused(read, corpus, text, message):
    with pytest.raises(InputError) as refused:
        make_plan(read(f"name: x\n{text}"), corpus)
    assert message in str(refused.value)


def test_the_default_pools_may_not_fit_either(read, stand_in):
    with pytest.raises(InputError, match=r"^s\.yaml: trial\.model\.pools \(by default\): pools \[10, 8, 8\] multiply"):
        make_plan(read("name: x"), stand_in(hop=1600, label_rate=10.0))


def test_a_target_that_the_corpus_lacks_is_refused(read, stand_in):
    with pytest.raises(InputError) as refused:
        make_plan(read("name: x\ntrial: {model: {targets: [valence]}}"), stand_in(targets=("arousal",)))
    assert str(refused.value) == (
        "s.yaml:2:17: trial.model.targets: valence is not labelled in this corpus; its targets are [arousal]"
    )


@pytest.mark.parametrize("seconds", [0.28, 0.56, 2.2, 59.96, 6.0])
def test_whole_frames_survive_rounding_of_decimal_seconds(read, corpus, seconds):
    assert make_plan(read(f"name: x\ntrial: {{training: {{sequence_s: {seconds}}}}}"), corpus).trials


def test_other_frame_rates_have_other_whole_frames(read, stand_in):
    tenth = stand_in(label_rate=10.0, hop=640)
    assert make_plan(read("name: x\ntrial: {training: {label_shift_s: 0.5}}"), tenth).trials
    with pytest.raises(InputError, match=r"nearest: 0 and 0\.1"):
        make_plan(read("name: x\ntrial: {training: {label_shift_s: 0.04}}"), tenth)


def test_a_delay_that_no_recording_is_long_enough_to_estimate_is_refused(read, corpus, tiny_corpus):
    message = r"2:20: trial.training.estimate_delay: .* of at least 12 s, but the longest labelled one has"
    text = "name: x\ntrial: {training: {estimate_delay: true%s}}"
    assert make_plan(read(text % ""), corpus).trials
    with pytest.raises(InputError, match=message + r" 300 s, and limit_s is 11; set training.label_shift_s instead"):
        make_plan(read(text % ", limit_s: 11"), corpus)
    fields = "{model: {pools: [2, 4, 8], kernels: [2, 2, 2]}, training: {sequence_s: 0.08, estimate_delay: true}}"
    short = f"name: x\ntrial: {fields}"
    with pytest.raises(InputError, match=r"estimate_delay: .* has 0.\d+ s; set training.label_shift_s instead"):
        make_plan(read(short), tiny_corpus)


def test_the_nearest_times_that_are_offered_are_accepted(read, stand_in):
    thirds = stand_in(label_rate=30.0)
    text = "name: x\ntrial: {training: {sequence_s: %s}}"
    with pytest.raises(InputError, match=r"nearest: 59\.66666667 and 59\.7$"):
        make_plan(read(text % "59.68"), thirds)
    for offered in ("59.66666667", "59.7"):
        assert make_plan(read(text % offered), thirds).trials


def test_a_sequence_has_at_least_one_frame(read, corpus):
    with pytest.raises(InputError, match=r"1e-06 s are 2\.5e-05 frames .* nearest: 0\.04$"):
        make_plan(read("name: x\ntrial: {training: {sequence_s: 1e-6}}"), corpus)


def test_ten_thousand_trials_take_each_key_and_each_network_once(read, corpus, monkeypatch):
    """What planning costs; the benchmarks say how long it takes."""
    text = """
name: x
explore:
  - design: {overlap_ratio: [0.2, 0.3, 0.4, 0.5, 0.6]}
  - training.learning_rate: {from: 1e-5, to: 4e-5, step: 1e-5}
  - training.sequence_s: [2, 4, 6, 8]
replicates: 2
"""
    keyed, models, trainings = Mock(wraps=trial_key), Mock(wraps=ModelConfig), Mock(wraps=TrainingConfig)
    monkeypatch.setattr("ser_ray.sweep.planning.explore.trial_key", keyed)
    monkeypatch.setattr("ser_ray.sweep.planning.explore.ModelConfig", models)
    monkeypatch.setattr("ser_ray.sweep.planning.explore.TrainingConfig", trainings)
    plan = make_plan(read(text), corpus)
    assert len(plan.trials) == 63 * 5 * 4 * 4 * 2
    assert keyed.call_count == len(plan.trials)
    assert models.call_count <= 63 * 5 + 1
    assert trainings.call_count <= 4 * 4 + 1


def with_default(owner, field, value):
    """A configuration class with another default for one field, as a later version might have it."""
    annotation = next(one.type for one in dataclasses.fields(owner) if one.name == field)
    changed = type(owner.__name__, (owner,), {"__annotations__": {field: annotation}, field: value})
    return pydantic.dataclasses.dataclass(frozen=True, kw_only=True)(changed)


DEFAULTS = [(ModelConfig, "model", *one) for one in OTHER_MODEL.items()]
DEFAULTS += [(TrainingConfig, "training", *one) for one in OTHER_TRAINING.items()]


@pytest.mark.parametrize(("owner", "section", "field", "value"), DEFAULTS, ids=[f"{d[1]}.{d[2]}" for d in DEFAULTS])
def test_a_changed_default_changes_the_keys_of_those_that_relied_on_it(
    read, corpus, monkeypatch, owner, section, field, value
):
    def planned(fields):
        text = f"name: x\ntrial: {{{section}: {json.dumps(fields)}}}"
        return [trial_key(one.trial, corpus.fingerprint) for one in configurations(read(text), corpus.hop)]

    unsaid = NEEDS.get(field, {})
    said = unsaid | {field: getattr(owner(), field)}
    before = planned(said)
    assert planned(unsaid) == before
    monkeypatch.setattr(f"ser_ray.sweep.planning.explore.{owner.__name__}", with_default(owner, field, value))
    assert planned(said) == before
    assert planned(unsaid) != before


GRID = {"training.sequence_s": [2, 6, 20, 10], "model.hidden": [8, 16, 32], "training.epochs": [3, 9, 27]}


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_more_values_seeds_and_epochs_keep_the_trials_that_were_there(read, corpus, data):
    larger = {field: data.draw(st.lists(st.sampled_from(v), min_size=1, unique=True)) for field, v in GRID.items()}
    smaller = {field: data.draw(st.lists(st.sampled_from(v), min_size=1, unique=True)) for field, v in larger.items()}
    seeds = data.draw(st.integers(1, 3))
    extra = data.draw(st.integers(0, 2))

    def planned(grid, replicates):
        items = "".join(f"  - {field}: {values}\n" for field, values in grid.items())
        plan = make_plan(read(f"name: x\nreplicates: {replicates}\nexplore:\n{items}"), corpus)
        return {trial.key: trial.config for trial in plan.trials}

    before, after = planned(smaller, seeds), planned(larger, seeds + extra)
    assert before.items() <= after.items()
    assert len(after) == math.prod(map(len, larger.values())) * (seeds + extra)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(0, 12))
def test_more_draws_keep_the_trials_that_were_there(read, corpus, count, extra):
    def planned(count):
        space = "training.learning_rate: {low: 1e-5, high: 1e-2, log: true}, model.hidden: [8, 16]"
        plan = make_plan(read(f"name: x\nreplicates: 2\nexplore: [{{random: {{count: {count}, {space}}}}}]"), corpus)
        return {trial.key: trial.config for trial in plan.trials}

    assert planned(count).items() <= planned(count + extra).items()
    assert len(planned(count)) == 2 * count


def test_known_keys_stay(read, corpus):
    """Trials that people have computed are found again only by these."""
    plan = make_plan(read("name: x\nexplore: [{training.sequence_s: [6, 20]}]\nreplicates: 2"), corpus)
    assert [trial.key for trial in plan.trials] == KNOWN


def test_a_budget_of_trials_takes_the_first_seeds_first(read, corpus):
    text = "name: x\nreplicates: 3\nexplore: [{training.sequence_s: [2, 4, 6]}]\n"
    every = make_plan(read(text), corpus)
    for most in (1, 2, 3, 4, 8, 9, 10):
        plan = make_plan(read(f"{text}schedule: {{max_trials: {most}}}"), corpus)
        assert plan.trials == every.trials[:most]
        assert plan.configurations == min(most, 3)
        left = f"schedule.max_trials {most} leaves out {9 - most} of 9 trials"
        assert plan.notes == ((left,) if most < 9 else ())


def test_the_steps_of_a_random_search_are_whole_frames(read, corpus):
    text = "name: x\nexplore: [{random: {count: 1, training.label_shift_s: {low: 0, high: 1, step: %s}}}]"
    assert make_plan(read(text % "0.04"), corpus).trials
    with pytest.raises(InputError) as refused:
        make_plan(read(text % "0.1"), corpus)
    assert str(refused.value) == (
        "s.yaml:2:31: training.label_shift_s: 0.1 s are 2.5 frames of this corpus (25 a second), but must be whole "
        "frames; nearest: 0.08 and 0.12"
    )


def test_a_guided_search_plans_nothing_before_it_has_proposed(read, corpus):
    text = "name: x\nreplicates: 3\nexplore: [{guided: {count: 7, model.dropout: {low: 0, high: 0.9}}}]\n"
    plan = make_plan(read(text), corpus)
    assert (plan.trials, plan.configurations, plan.to_propose) == ((), 0, 21)
    assert make_plan(read(f"{text}schedule: {{max_trials: 11}}"), corpus).to_propose == 9
    assert make_plan(read(f"{text}schedule: {{max_configurations: 2}}"), corpus).to_propose == 6
    small = "name: x\nreplicates: 3\nexplore: [{guided: {count: 7, model.dropout: [0, 0.5], model.hidden: [8, 9]}}]"
    assert make_plan(read(small), corpus).to_propose == 12
    with pytest.raises(InputError) as refused:
        make_plan(read(f"{text}schedule: {{max_trials: 2}}"), corpus)
    assert str(refused.value) == (
        "s.yaml:4:12: schedule.max_trials is 2, but each configuration has 3 replicates; set it to at least that number"
    )


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("training.sequence_s: {low: 2, high: 6, step: 0.5}", "s.yaml:2:31: training.sequence_s: 2.5 s are 62.5 fr"),
        ("training.sequence_s: {low: 0.5, high: 6.5, step: 2}", "training.sequence_s: 0.5 s are 12.5 frames"),
        ("training.label_shift_s: [0, 0.4, 0.5]", "s.yaml:2:31: training.label_shift_s: 0.5 s are 12.5 frames"),
        ("model.pools: [[10, 8, 8], [9, 8, 8]]", "s.yaml:2:31: model.pools: pools [9, 8, 8] multiply to 576"),
        ("model.targets: [[arousal], [valence, valence]]", "s.yaml:2:31: model: targets ['valence', 'valence'] name"),
        ("model.channels: [[4, 4, 4]], model.kernels: [[8, 6, 6], [8, 6]]", "s.yaml:2:31: model: channels [4, 4, 4], "
         "kernels [8, 6] and pools [10, 8, 8] describe 3, 2 and 3 layers"),
    ],
)  # fmt: skip
def test_a_space_whose_proposals_could_fail_is_refused(read, corpus, space, message):
    with pytest.raises(InputError) as refused:
        make_plan(read(f"name: x\nexplore: [{{guided: {{count: 3, {space}}}}}]"), corpus)
    assert str(refused.value).startswith("s.yaml:2:")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ("model: {channels: [1000000000, 1, 1]}", "s.yaml:3:11: trial.model.channels: training 15,000,"),
        ("model: {hidden: 1000000}", "s.yaml:3:11: trial.model.hidden: training 12,"),
        ("training: {sequence_s: 86400}\n  model: {hidden: 30000}", "trial.model.hidden: training "),
        ("training: {sequence_s: 80000}", "s.yaml:3:14: trial.training.sequence_s: training 1,299,906 parameters on a"),
    ],
)
def test_a_network_beyond_the_machines_memory_is_refused_by_what_makes_it_so(monkeypatch, read, corpus, trial, message):
    monkeypatch.setattr("ser_ray.allocation.machine_memory_bytes", lambda: 8 * 10**9)
    with pytest.raises(InputError) as caught:
        make_plan(read(f"name: x\ntrial:\n  {trial}"), corpus)
    assert message in str(caught.value)
    assert str(caught.value).endswith("GB, but this machine has 8 GB of memory; make it smaller")
    make_plan(read("name: x\ntrial:\n  model: {hidden: 2000}"), corpus)
