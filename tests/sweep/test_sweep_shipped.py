"""The sweep files that come with the project."""

import csv
import math
from pathlib import Path

import pytest
from plans import make_plan

from ser_ray.models import ModelConfig
from ser_ray.sweep.spec.config import load_sweep
from ser_ray.sweep.spec.quick import shrink
from ser_ray.trial import TrialConfig

SWEEPS = Path(__file__).parents[2] / "sweeps"
GOLDEN = Path(__file__).with_name("overlap_trials.csv")
TRIALS = {"demo": 4, "label_shift": 48, "overlap": 315, "paper": 5, "recommended": 5, "sequence_length": 24}


def plan_of(name, corpus):
    return make_plan(load_sweep(SWEEPS / f"{name}.yaml"), corpus)


def rows_of(plan):
    """What the golden list keeps of each trial."""
    return [
        {
            "seed": str(trial.config.training.seed),
            "kernels": " ".join(map(str, trial.config.model.kernels)),
            "pools": " ".join(map(str, trial.config.model.pools)),
            "overlap_ratios": " ".join(f"{ratio:.4f}" for ratio in trial.config.model.overlap_ratios),
            "sequence_s": f"{trial.config.training.sequence_s:g}",
        }
        for trial in plan.trials
    ]


def test_these_are_all_that_ship():
    assert {file.stem for file in SWEEPS.glob("*.yaml")} == set(TRIALS)


@pytest.mark.parametrize("name", TRIALS)
def test_each_plans_as_many_trials_as_its_comments_say(name, corpus):
    plan = plan_of(name, corpus)
    assert plan.config.name == name
    assert len(plan.trials) == TRIALS[name]
    assert plan.collapsed == plan.left_out == 0
    comments = "".join(line for line in (SWEEPS / f"{name}.yaml").read_text().splitlines() if line.startswith("#"))
    assert f"{TRIALS[name]} trials" in comments or f"{TRIALS[name]} small trials" in comments


@pytest.mark.parametrize("name", TRIALS)
def test_quick_leaves_at_most_four_short_trials_of_each(name, corpus):
    small, said = shrink(load_sweep(SWEEPS / f"{name}.yaml"))
    plan = make_plan(small, corpus)
    assert 1 <= len(plan.trials) <= 4
    assert len(plan.trials) == min(4, plan_of(name, corpus).configurations)
    assert small.corpus == "synthetic-demo"
    for trial in plan.trials:
        training = trial.config.training
        assert (training.epochs, training.limit_recordings, training.limit_s) == (2, 2, 40)
        assert training.sequence_s <= 20
        assert training.label_shift_s < 40
        assert training.patience is None
    assert said


@pytest.mark.parametrize("name", TRIALS)
def test_each_takes_any_frame_rate_that_its_designs_can_make(name, stand_in):
    sewa = stand_in(hop=1600, label_rate=10.0)
    fields = {"overlap": [], "demo": [], "recommended": ["model.energy_steps=10"]}
    overrides = fields.get(name, ["model.pools=[10, 16, 10]"])
    assert make_plan(load_sweep(SWEEPS / f"{name}.yaml", overrides), sewa).trials


def test_overlap_yields_the_golden_list(corpus):
    with GOLDEN.open(newline="") as file:
        assert rows_of(plan_of("overlap", corpus)) == list(csv.DictReader(file))


def test_overlap_moves_the_ratio_at_the_same_pools(corpus):
    models = [trial.config.model for trial in plan_of("overlap", corpus).trials[:105]]
    assert {math.prod(model.pools) for model in models} == {640}
    by_ratio = [models[start : start + 21] for start in range(0, 105, 21)]
    for wanted, group in zip([0.2, 0.3, 0.4, 0.5, 0.6], by_ratio, strict=True):
        assert [model.pools for model in group] == [model.pools for model in by_ratio[0]]
        for model in group:
            for kernel, pool, ratio in zip(model.kernels, model.pools, model.overlap_ratios, strict=True):
                # half a step of the kernel is as near as a whole number comes
                exact = 1 + pool * wanted / (1 - wanted)
                assert abs(kernel - exact) <= 0.5 + 1e-9
                assert abs(ratio - wanted) < 0.08
    assert ModelConfig() in by_ratio[2]


def test_paper_is_the_default_trial_five_times(corpus):
    trials = plan_of("paper", corpus).trials
    assert trials[0].config == TrialConfig()
    assert [trial.config.training.seed for trial in trials] == [0, 1, 2, 3, 4]


def test_sequence_length_and_label_shift_span_what_they_promise(corpus):
    lengths = [trial.config.training.sequence_s for trial in plan_of("sequence_length", corpus).trials[:8]]
    assert (lengths[0], lengths[-1]) == (2, 60)
    assert {6.0, 20.0} <= set(lengths)
    shifts = [trial.config.training.label_shift_s for trial in plan_of("label_shift", corpus).trials[:16]]
    assert (shifts[0], shifts[-1]) == (0, 6)


def test_demo_is_small(corpus):
    plan = plan_of("demo", corpus)
    assert len(plan.trials) >= 4
    assert plan.config.corpus == "synthetic-small"
    assert max(trial.config.model.parameters for trial in plan.trials) < ModelConfig().parameters / 8
