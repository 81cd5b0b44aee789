"""The guided search: what it proposes, records, is told, and takes up again."""

import json
import math
import os
import statistics
import subprocess
import sys

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from plans import factory, make_plan

from ser_ray.errors import InputError
from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.sweep.planning import guided as room
from ser_ray.sweep.planning.guided import Guided
from ser_ray.trial import trial_key

SPACE = {
    "training.learning_rate": "{low: 1e-5, high: 1e-1, log: true}",
    "training.label_shift_s": "{low: 0, high: 4, step: 0.04}",
    "training.patience": "[null, 5, 9]",
    "model.hidden": "[64, 128, 256]",
    "model.pools": "[[10, 8, 8], [8, 8, 10]]",
    "model.lstm_layers": "{low: 1, high: 4, log: true}",
}


def sweep_of(read, count, replicates=1, space=SPACE, more="", top=""):
    inner = ", ".join(f"{path}: {axis}" for path, axis in space.items())
    head = f"name: g\nreplicates: {replicates}\n{top}"
    return read(f"{head}\nexplore: [{{guided: {{count: {count}, startup: 3, {more} {inner}}}}}]")


@pytest.fixture
def search(read, corpus, tmp_path):
    """Opens the guided search of a sweep in a folder of results."""

    def opened(*, folder=tmp_path / "g", count=12, **options):
        sweep = sweep_of(read, count, **options)
        return Guided(sweep, factory(sweep, corpus, folder))

    return opened


def score(trial):
    """A smooth function whose best is inside the space."""
    training, model = trial.config.training, trial.config.model
    distance = abs(math.log10(training.learning_rate) + 3.2) / 4 + abs(training.label_shift_s - 2.2) / 4
    return 1 - distance - 0.1 * abs(model.lstm_layers - 3) - 0.1 * (training.patience is None)


def finish(folder, trial, value, status="finished"):
    """Leave a trial's row, as the sweep does."""
    row = {"key": trial.key, "status": status, "ccc_devel_mean": value}
    write_part(SweepFolder(folder), "trials", trial.key, make_table("trials", [row]))


def run(search, folder=None, most=10**9):
    """Ask for configurations and tell what comes out of each at once; returns their trials."""
    asked = []
    while len(asked) < most and (trials := search.ask()):
        for trial in trials:
            if folder is not None:
                finish(folder, trial, score(trial))
            search.tell(trial.key, "finished", score(trial))
        asked.append(trials)
    return asked


def lines(folder):
    return [json.loads(line) for line in (folder / "suggested.jsonl").read_text().splitlines()]


def value_of(trial, path):
    section, field = path.split(".")
    return getattr(getattr(trial.config, section), field)


@pytest.fixture
def studies(monkeypatch):
    """The studies that Optuna is given, the newest last."""
    made, create = [], optuna.create_study

    def spied(**arguments):
        made.append(create(**arguments))
        return made[-1]

    monkeypatch.setattr(optuna, "create_study", spied)
    return made


def test_proposals_lie_in_the_space_and_are_trials_of_the_sweep(search, corpus):
    asked = run(search(count=15, replicates=2))
    assert len(asked) == 15
    for first, second in asked:
        assert (first.config.training.seed, second.config.training.seed) == (0, 1)
        assert [path for path, _ in first.explored] == list(SPACE)
        for trial in (first, second):
            assert trial.key == trial_key(trial.config, corpus.fingerprint)
            assert all(value_of(trial, path) == value for path, value in trial.explored)
            assert 1e-5 <= trial.config.training.learning_rate <= 1e-1
            assert trial.config.training.label_shift_s in [round(0.04 * step, 2) for step in range(101)]
            assert trial.config.training.patience in (None, 5, 9)
            assert trial.config.model.pools in ((10, 8, 8), (8, 8, 10))
            assert trial.config.model.lstm_layers in (1, 2, 3, 4)
    assert len({trial.key for trials in asked for trial in trials}) == 30


def test_what_came_out_guides(search):
    scores = [score(trial) for (trial,) in run(search(count=80))]
    assert statistics.fmean(scores[-20:]) > statistics.fmean(scores[:20]) + 0.1


def test_a_proposal_is_on_disk_before_it_is_used(search, tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (fsync(descriptor), synced.append(lines(tmp_path / "g")))[0])
    opened = search(replicates=2)
    assert not (tmp_path / "g").exists()
    (trial, _) = opened.ask()
    assert synced[0] == lines(tmp_path / "g")
    (line,) = lines(tmp_path / "g")
    assert line.keys() == {"number", "values", "space"}
    assert line["number"] == 0
    assert line["values"] == {path: list(v) if isinstance(v, tuple) else v for path, v in trial.explored}


def test_a_full_disk_makes_no_proposal_and_leaves_no_half_line(search, tmp_path, monkeypatch):
    opened = search()
    opened.ask()
    before = (tmp_path / "g" / "suggested.jsonl").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left.*suggested.jsonl"):
            opened.ask()
    assert (len(opened.recorded), opened.remaining) == (1, 11)
    second = opened.ask()
    assert (tmp_path / "g" / "suggested.jsonl").read_bytes().startswith(before)
    assert [line["number"] for line in lines(tmp_path / "g")] == [0, 1]
    assert search().recorded[1:] == second


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 9), st.integers(0, 150))
def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(search, tmp_path_factory, done, half):
    calm, killed = tmp_path_factory.mktemp("calm"), tmp_path_factory.mktemp("killed")
    expected = run(search(count=10, folder=calm), calm)
    run(search(count=10, folder=killed), killed, most=done)
    file = killed / "suggested.jsonl"
    next_line = (calm / "suggested.jsonl").read_bytes().splitlines()[done]
    with file.open("ab") as writing:
        writing.write(next_line[: min(half, len(next_line) - 1)])
    again = search(count=10, folder=killed)
    keys = [[trial.key for trial in trials] for trials in expected]
    assert [[trial.key] for trial in again.recorded] == keys[:done]
    assert again.remaining == 10 - done
    assert [[trial.key for trial in trials] for trials in run(again, killed)] == keys[done:]
    assert file.read_bytes() == (calm / "suggested.jsonl").read_bytes()


def test_a_last_line_that_is_whole_but_for_its_end_is_kept(search, tmp_path):
    run(search(), most=2)
    file = tmp_path / "g" / "suggested.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    again = search()
    assert len(again.recorded) == 2
    again.ask()
    assert file.read_bytes().startswith(whole)
    assert len(lines(tmp_path / "g")) == 3


def test_proposals_without_a_result_are_open(search, tmp_path, studies):
    first = search(replicates=2)
    (done, half, _open) = (first.ask() for _ in range(3))
    for trial in (*done, half[0]):
        finish(tmp_path / "g", trial, 0.5)
    again = search(replicates=2)
    assert again.recorded == first.recorded
    again.ask()
    assert [trial.state for trial in studies[-1].trials[:3]] == [TrialState.COMPLETE, *[TrialState.RUNNING] * 2]


def test_optuna_is_told_the_mean_over_the_replicates_that_have_a_score(search, studies):
    opened = search(replicates=3)
    told = [
        [("finished", 0.2), ("stopped", 0.3), ("finished", 0.7)],
        [("finished", 0.2), ("failed", None), ("stopped", 0.6)],
        [("failed", None), ("failed", None), ("failed", None)],
        [("finished", float("nan")), ("failed", None), ("finished", 0.1)],
        [("finished", 0.1), ("finished", 0.1)],
    ]
    for outcomes in told:
        for trial, (status, value) in zip(opened.ask(), outcomes, strict=False):
            opened.tell(trial.key, status, value)
    opened.ask()
    assert studies[-1].direction == optuna.study.StudyDirection.MAXIMIZE
    found = [(trial.state, trial.value) for trial in studies[-1].trials[:5]]
    assert found == [
        (TrialState.COMPLETE, pytest.approx(0.4)),
        (TrialState.COMPLETE, pytest.approx(0.4)),
        (TrialState.FAIL, None),
        (TrialState.COMPLETE, pytest.approx(0.1)),
        (TrialState.RUNNING, None),
    ]


def test_a_trial_that_is_tried_again_counts_by_its_last_end(search, studies):
    opened = search()
    (trial,) = opened.ask()
    opened.tell(trial.key, "failed", None)
    opened.tell(trial.key, "finished", 0.3)
    opened.ask()
    assert (studies[-1].trials[0].state, studies[-1].trials[0].value) == (TrialState.COMPLETE, 0.3)


def test_it_is_tpe_as_asked_for(search, studies):
    opened = search(count=5, more="seed: 7,")
    run(opened)
    sampler = studies[-1].sampler
    assert isinstance(sampler, optuna.samplers.TPESampler)
    assert (sampler._n_startup_trials, sampler._multivariate, sampler._constant_liar) == (3, True, True)


def test_the_seed_chooses(search, tmp_path):
    def proposals(seed, folder):
        return [trial.config for (trial,) in run(search(count=5, more=f"seed: {seed},", folder=tmp_path / folder))]

    assert proposals(1, "a") == proposals(1, "b")
    assert not set(proposals(1, "a")) & set(proposals(2, "c"))


def test_what_is_under_way_is_not_proposed_again(search):
    opened = search(count=30)
    asked = [opened.ask() for _ in range(30)]
    assert len({trial.key for (trial,) in asked}) == 30
    assert opened.ask() == ()


SMALL = {"model.hidden": "[8, 16, 32]", "model.dropout": "[0.0, 0.5]"}


def test_a_small_space_ends_when_each_of_its_points_was_proposed(search, tmp_path):
    opened = search(count=100, space=SMALL, replicates=2)
    assert opened.remaining == 6
    keys = []
    while trials := opened.ask():
        keys += [trial.key for trial in trials]
        for trial in trials:
            opened.tell(trial.key, "finished", trial.config.model.hidden / 100)
    assert len(keys) == len(set(keys)) == 12
    assert opened.remaining == 0
    assert search(count=100, space=SMALL, replicates=2).remaining == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_proposal_that_stays_a_duplicate_counts_and_is_not_trained_twice(search, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(room, "_ATTEMPTS", 1)
    six = {"count": 6, "space": SMALL, "more": f"seed: {seed},"}
    keys = [trial.key for trials in iter(search(**six).ask, ()) for trial in trials]
    recorded = [tuple(line["values"].values()) for line in lines(tmp_path / "g")]
    assert len(recorded) == 6
    assert len(keys) == len(set(keys)) == len(set(recorded)) < 6
    again = search(**six)
    assert [trial.key for trial in again.recorded] == keys
    assert again.remaining == 0
    more = search(**six | {"count": 500})
    keys += [trial.key for trials in iter(more.ask, ()) for trial in trials]
    assert len(keys) == len(set(keys)) == 6


def test_a_duplicate_is_told_its_value_and_another_is_asked(search, studies):
    opened = search(count=6, space=SMALL)
    for number in range(6):
        (trial,) = opened.ask()
        opened.tell(trial.key, "finished", float(number))
    again = [(study, trial) for number, study in enumerate(studies) for trial in study.trials[number:-1]]
    assert again  # in a space of six some come up again
    for study, trial in again:
        first = next(one for one in study.trials if one.params == trial.params)
        assert (first.number < trial.number, trial.state, trial.value) == (True, TrialState.COMPLETE, first.value)


def test_a_larger_count_extends_and_a_smaller_one_leaves_out(search, tmp_path):
    asked = run(search(count=4), tmp_path / "g")
    assert search(count=4).ask() == ()
    more = search(count=6)
    assert more.recorded == tuple(trial for trials in asked for trial in trials)
    assert len(run(more, tmp_path / "g")) == 2
    fewer = search(count=3)
    assert (len(fewer.recorded), fewer.remaining) == (3, 0)
    assert fewer.notes == ("3 of 6 earlier proposals are not used: there are more than the present count",)


def test_more_seeds_are_planned_for_what_was_proposed(search, tmp_path):
    one = run(search(count=4), tmp_path / "g")
    more = search(count=4, replicates=2)
    assert more.recorded[::2] == tuple(trial for (trial,) in one)
    assert [trial.config.training.seed for trial in more.recorded] == [0, 1] * 4


def test_what_lies_outside_another_space_is_left_out_and_the_rest_is_used(search, tmp_path, studies):
    asked = [trials[0] for trials in run(search(count=12), tmp_path / "g")]
    narrow = SPACE | {"training.patience": "[5, 9, 11]", "model.pools": "[[8, 8, 10], [10, 8, 8], [8, 10, 8]]"}
    inside = [trial for trial in asked if trial.config.training.patience is not None]
    assert 0 < len(inside) < 12
    changed = search(count=12, space=narrow)
    assert [trial.key for trial in changed.recorded] == [trial.key for trial in inside]
    assert changed.remaining == 12 - len(inside)
    assert changed.notes == (
        f"{12 - len(inside)} of 12 earlier proposals are not used: they are outside the present space",
    )
    changed.ask()
    assert [trial.value for trial in studies[-1].trials[:-1]] == [pytest.approx(score(trial)) for trial in inside]
    numbers, hashes = zip(*((line["number"], line["space"]) for line in lines(tmp_path / "g")), strict=True)
    assert numbers == tuple(range(13))
    assert len(set(hashes[:12])) == 1
    assert hashes[12] != hashes[0]


def test_another_set_of_fields_is_another_space(search, tmp_path):
    run(search(count=3), tmp_path / "g")
    fewer = {path: axis for path, axis in SPACE.items() if path != "model.hidden"}
    assert search(count=3, space=fewer).recorded == ()
    assert search(count=3, space=SPACE | {"model.dropout": "[0.5]"}).recorded == ()
    turned = search(count=4, space=dict(reversed(SPACE.items())))
    assert len(turned.recorded) == 3
    turned.ask()
    assert len({line["space"] for line in lines(tmp_path / "g")}) == 1


def test_the_plan_holds_what_was_proposed_and_counts_what_is_to_come(search, read, corpus, tmp_path):
    run(search(count=4, replicates=2))
    opened = search(count=7, replicates=2)
    plan = make_plan(sweep_of(read, 7, replicates=2), corpus, tmp_path / "g")
    assert plan.trials == opened.recorded
    assert (len(plan.trials), plan.configurations, plan.to_propose) == (8, 4, 6)
    fewer = search(count=3, replicates=2)
    assert make_plan(sweep_of(read, 3, replicates=2), corpus, tmp_path / "g").notes == fewer.notes != ()


@pytest.mark.parametrize(
    ("schedule", "configurations"),
    [("{max_trials: 7}", 3), ("{max_configurations: 2}", 2), ("{max_trials: 99}", 5), ("{max_trials: 2}", 1)],
)
def test_the_schedule_bounds_what_is_proposed(search, schedule, configurations):
    opened = search(count=5, replicates=2, top=f"schedule: {schedule}")
    assert opened.remaining == configurations
    assert len(run(opened)) == configurations


def test_a_budget_below_the_replicates_is_refused(search):
    with pytest.raises(InputError, match=r"schedule\.max_trials is 2, but each configuration has 3 replicates"):
        search(replicates=3, top="schedule: {max_trials: 2}")


def test_a_space_that_does_not_fit_the_corpus_is_refused(search):
    with pytest.raises(InputError, match=r"model\.pools: pools \[9, 8, 8\] multiply to 576"):
        search(space={"model.pools": "[[10, 8, 8], [9, 8, 8]]"})


BROKEN = ["x", "3", "[]", '{"number": 1}', '{"number": "1", "values": {}}', '{"number": 1, "values": 2}', "\x00\x00"]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_line_is_named_unless_it_is_the_last(search, tmp_path, broken):
    run(search(), most=2)
    file = tmp_path / "g" / "suggested.jsonl"
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{broken}\n{second}\n")
    with pytest.raises(InputError) as refused:
        search()
    assert str(refused.value).startswith(f"{file}:2: not a proposal: ")
    assert str(refused.value).endswith("; delete the line and run the sweep again")
    file.write_text(f"{first}\n{second}\n{broken}")
    opened = search()
    assert len(opened.recorded) == 2
    opened.ask()
    assert [line["number"] for line in lines(tmp_path / "g")] == [0, 1, 2]


def test_recorded_values_are_data_alone(search, tmp_path):
    """Whatever a line says, it is a value of the space or it is left out."""
    run(search(count=1))
    (line,) = lines(tmp_path / "g")
    for wrong in ("os.system", {"a": 1}, [1], 1e9, True, None, -1):
        line["values"]["training.learning_rate"] = wrong
        (tmp_path / "g" / "suggested.jsonl").write_text(json.dumps(line) + "\n")
        assert search(count=1).recorded == ()


def test_only_its_own_trials_and_ends_are_told(search):
    opened = search()
    (trial,) = opened.ask()
    with pytest.raises(ValueError, match="nope is no trial of this search"):
        opened.tell("nope", "finished", 0.1)
    with pytest.raises(ValueError, match="not running"):
        opened.tell(trial.key, "running", 0.1)


def test_without_optuna_its_installation_is_said(search, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError) as refused:
        search()
    assert str(refused.value) == (
        "s.yaml:4:12: guided needs Optuna, which is not installed; pip install 'ser-ray[optuna]'"
    )


def test_a_sweep_without_a_guided_search_has_none(read, corpus, tmp_path):
    with pytest.raises(ValueError, match="no guided search"):
        Guided(read("name: x"), factory(read("name: x"), corpus, tmp_path))


def test_optuna_is_imported_only_when_asked():
    absent = {"optuna", "torch", "ray", "scipy", "numba"}
    code = f"import sys, ser_ray.sweep.planning.guided; print(*{absent} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
