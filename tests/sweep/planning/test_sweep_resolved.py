import dataclasses

import pytest
from plans import make_plan

from ser_ray.sweep.planning.resolved import resolved_yaml
from ser_ray.sweep.spec.document import parse_document
from ser_ray.sweep.spec.items import Search
from ser_ray.sweep.spec.quick import shrink
from ser_ray.trial import TrialConfig

SWEEPS = [
    "name: x",
    "name: x\ntrial: {training: {epochs: 3, learning_rate: 1e-5}, search: {methods: [greedy]}}\nreplicates: 4",
    "name: '1.0'\nexplore: [{design: {smallest_pool: 4, overlap_ratio: [0.2, 0.4], count: 5}}]",
    "name: x\ntrial: {model: {channels: [8, 8, 8, 8]}}\nexplore: [{design: {layers: 4, smallest_pool: 4}}]",
    "name: x\nexplore:\n  - {training.sequence_s: [6, 20], training.batch_size: [4, 2]}\n"
    "  - training.label_shift_s: {from: 0, to: 2, step: 0.4}\nschedule: {max_configurations: 5}",
    "name: x\nexplore:\n  - design: {smallest_pool: 8}\n  - random: {count: 6, seed: 4, training.learning_rate: "
    "{low: 1e-5, high: 1e-2, log: true}, training.label_shift_s: {low: 0, high: 60, step: 0.4}, training.patience: "
    "[null, 5], training.batch_size: {low: 2, high: 8, step: 2}, training.epochs: {low: 2, high: 90}}\nreplicates: 2\n"
    "schedule: {max_trials: 11, checkpoint_minutes: 1.5}",
    "name: x\nreplicates: 3\nexplore:\n  - guided: {count: 6, seed: 4, startup: 3, model.hidden: [8, 16], model.pools: "
    "[[10, 8, 8], [8, 8, 10]], training.sequence_s: {low: 2, high: 60, step: 2}, training.weight_decay: {low: 0, "
    "high: 0.1}}",
    'name: x\ncorpus: "/data/my corpus: é \\"1\\" # x"\nresources: {gpus: 0, search_actors: 3}\n'
    "schedule: {early_stopping: median, max_hours: 1.5}",
]


@pytest.mark.parametrize("text", SWEEPS)
@pytest.mark.parametrize("quick", [False, True])
def test_the_resolved_file_plans_the_same_again(read, corpus, text, quick):
    sweep = shrink(read(text))[0] if quick else read(text)
    plan = make_plan(sweep, corpus)
    resolved = resolved_yaml(plan)
    again = make_plan(read(resolved), corpus)
    assert dataclasses.replace(again, config=plan.config, guided=plan.guided) == plan
    assert (again.guided is None, again.to_propose) == (plan.guided is None, plan.to_propose)
    searches, same = ([one for one in sweep.explore if isinstance(one, Search)] for sweep in (sweep, again.config))
    assert searches == same
    assert again.config.schedule == plan.config.schedule
    assert again.config.resources == plan.config.resources
    assert (again.config.name, again.config.corpus) == (plan.config.name, plan.config.corpus)
    assert resolved_yaml(again) == resolved


def test_every_default_is_written_down(read, corpus):
    data = parse_document(resolved_yaml(make_plan(read("name: x"), corpus)), "r.yaml").data
    for section, fields in dataclasses.asdict(TrialConfig()).items():
        written = {k: tuple(v) if isinstance(v, list) else v for k, v in data["trial"][section].items()}
        assert written == fields
    assert data["schedule"] == {
        "early_stopping": "none",
        "grace_epochs": 5,
        "max_hours": None,
        "max_gpu_hours": None,
        "max_configurations": None,
        "max_trials": None,
        "silence_minutes": 30,
        "checkpoint_minutes": 10,
    }
    assert data["resources"] == {
        "cpus": 1,
        "gpus": 0.25,
        "backend": "auto",
        "search_actors": None,
        "mps": False,
        "staging": None,
        "verify_corpus": True,
    }


def test_what_is_explored_stands_under_explore_alone(read, corpus):
    text = "name: x\ntrial: {training: {epochs: 7}}\nexplore: [{design: {}}, {training.epochs: [1, 2]}]"
    data = parse_document(resolved_yaml(make_plan(read(text), corpus)), "r.yaml").data
    assert not {"kernels", "pools"} & data["trial"]["model"].keys()
    assert "epochs" not in data["trial"]["training"]
    assert data["explore"][1] == {"training.epochs": [1, 2]}


def test_a_design_s_hop_is_that_of_the_corpus(read, stand_in):
    plan = make_plan(read("name: x\nexplore: [{design: {}}]"), stand_in(hop=1600, label_rate=10.0))
    data = parse_document(resolved_yaml(plan), "r.yaml").data
    assert data["explore"][0]["design"]["hop"] == 1600


def test_the_head_names_corpus_and_command(read, corpus):
    plan = make_plan(read("name: x\nreplicates: 2"), corpus)
    head = resolved_yaml(plan, ["python -m ser_ray.sweep x.yaml", "two\nlines"]).splitlines()[:5]
    assert head == [
        "# the sweep as run, trials: 2",
        "# corpus fingerprint: 0123456789ab",
        "# python -m ser_ray.sweep x.yaml",
        "# two",
        "# lines",
    ]
