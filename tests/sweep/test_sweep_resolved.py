import dataclasses

import pytest

from ser_ray.sweep.plan import make_plan
from ser_ray.sweep.quick import shrink
from ser_ray.sweep.resolved import resolved_yaml
from ser_ray.sweep.yaml_file import parse_document
from ser_ray.trial import TrialConfig

SWEEPS = [
    "name: x",
    "name: x\ntrial: {training: {epochs: 3, learning_rate: 1e-5}, search: {methods: [greedy]}}\nreplicates: 4",
    "name: '1.0'\nexplore: [{design: {smallest_pool: 4, overlap_ratio: [0.2, 0.4], count: 5}}]",
    "name: x\ntrial: {model: {channels: [8, 8, 8, 8]}}\nexplore: [{design: {layers: 4, smallest_pool: 4}}]",
    "name: x\nexplore:\n  - {training.sequence_s: [6, 20], training.batch_size: [4, 2]}\n"
    "  - training.label_shift_s: {from: 0, to: 2, step: 0.4}\nschedule: {max_configurations: 5}",
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
    assert again.trials == plan.trials
    assert again.sweep.schedule == plan.sweep.schedule
    assert again.sweep.resources == plan.sweep.resources
    assert (again.sweep.name, again.sweep.corpus) == (plan.sweep.name, plan.sweep.corpus)
    assert resolved_yaml(again) == resolved


def test_every_default_is_written_down(read, corpus):
    data = parse_document(resolved_yaml(make_plan(read("name: x"), corpus)), "r.yaml").data
    for section, fields in dataclasses.asdict(TrialConfig()).items():
        written = {k: tuple(v) if isinstance(v, list) else v for k, v in data["trial"][section].items()}
        assert written == fields
    assert data["schedule"].keys() == {"early_stopping", "grace_epochs", "max_hours", "max_configurations"}
    assert data["resources"] == {"cpus": 1, "gpus": 0.25, "backend": "auto", "search_actors": None}


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
