"""A plan in words: labels, the lines before a run, and the listing of a dry run."""

import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.sweep import estimate, listing
from ser_ray.sweep.listing import describe_plan, labels, list_trials
from ser_ray.sweep.plan import make_plan
from ser_ray.trial import Trial

SWEEP = """
name: small
trial:
  training: {epochs: 10, patience: 4}
explore:
  - design: {layers: 3, smallest_pool: 8, overlap_ratio: 0.4}
  - training.sequence_s: [6, 20]
    training.learning_rate: [1.0e-4, 0.003]
  - model.channels: [[64, 128, 256], [8, 16, 32]]
replicates: 2
"""
DESIGNS = [
    ("kernels 6-6-8 pools 8-8-10", "8-8-10"),
    ("kernels 6-8-6 pools 8-10-8", "8-10-8"),
    ("kernels 8-6-6 pools 10-8-8", "10-8-8"),
]


@pytest.fixture
def plan(read, corpus):
    return make_plan(read(SWEEP), corpus)


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "results" / "small")


def list_all(plan, folder, corpus, monkeypatch, capsys, hours=lambda trial: 0.25):
    trials = [
        Trial(key=planned.key, config=planned.config, corpus=corpus, sweep="small", folder=folder)
        for planned in plan.trials
    ]
    asked = []

    def estimate_hours(given, cache):
        asked.append(cache)
        return [hours(trial) for trial in given]

    monkeypatch.setattr(estimate, "estimate_hours", estimate_hours)
    list_trials(plan, trials, folder, folder.path.parent / "cache")
    assert asked == [folder.path.parent / "cache"]
    return capsys.readouterr().out.splitlines()


def test_a_label_says_what_is_varied_and_the_seed(plan):
    found = labels(plan)
    assert list(found) == [trial.key for trial in plan.trials]
    assert sorted(found.values()) == sorted(
        f"{design}, sequence_s {sequence_s}, learning_rate {rate}, channels {channels}, seed {seed}"
        for design, _ in DESIGNS
        for sequence_s, rate in (("6", "0.0001"), ("20", "0.003"))
        for channels in ("64-128-256", "8-16-32")
        for seed in (0, 1)
    )


def test_a_sweep_without_exploration_is_told_by_its_network(read, corpus):
    plan = make_plan(read("name: one\nreplicates: 2"), corpus)
    assert list(labels(plan).values()) == [
        "kernels 8-6-6 pools 10-8-8, seed 0",
        "kernels 8-6-6 pools 10-8-8, seed 1",
    ]


def test_explored_seeds_are_said_once(read, corpus):
    plan = make_plan(read("name: one\nexplore:\n  - training.seed: [3, 5]"), corpus)
    assert [label.split(", ", 1)[1] for label in labels(plan).values()] == ["seed 3", "seed 5"]


def test_a_plan_is_described_with_its_corpus(read, corpus, folder):
    counts = {"train": 16, "devel": 15, "test": 1}
    described = SimpleNamespace(
        name="tiny", targets=("arousal", "valence"), label_rate=25.0, recordings=lambda name: [None] * counts[name]
    )
    plan = make_plan(read(SWEEP), corpus)
    assert describe_plan(plan, described, folder) == (
        f"sweep small: 24 trials (12 configurations x 2 seeds) -> {folder.path}\n"
        "corpus tiny: 16 train, 15 devel, 1 test recordings, arousal, valence at 25 Hz"
    )
    doubled = SWEEP.replace("[[64, 128, 256], [8, 16, 32]]", "[[8, 8, 8], [8, 8, 8]]")
    limited = make_plan(read(doubled + "schedule: {max_configurations: 5}\n"), corpus)
    assert describe_plan(limited, described, folder).startswith(
        "sweep small: 10 trials (5 configurations x 2 seeds; 6 equal ones are planned once; "
        "1 configurations are left out)"
    )


def test_every_trial_is_a_row_with_its_design_and_hours(plan, folder, corpus, monkeypatch, capsys):
    out = list_all(plan, folder, corpus, monkeypatch, capsys, lambda trial: trial.config.training.sequence_s / 40)
    assert len(out) == 1 + 24 + 1
    first = plan.trials[0]
    assert out[1].split() == [
        first.key, "6-6-8", "8-8-10", "0.38", "0.38", "0.41", f"{first.parameters:,}",
        f"{first.receptive_field_ms:.1f}", "6", "0", "0.15", "training.learning_rate", "0.0001,", "model.channels",
        "64-128-256", "to", "do",
    ]  # fmt: skip
    assert [line.split()[0] for line in out[1:-1]] == [trial.key for trial in plan.trials]
    assert {line.split()[2] for line in out[1:-1]} == {pools for _, pools in DESIGNS}
    assert max(map(len, out)) <= 160
    total = sum(trial.config.training.sequence_s / 40 for trial in plan.trials)
    assert out[-1].startswith(f"24 to do, at most {total:.3g} hours one after the other on one device")


def test_what_stands_is_said_and_not_counted(plan, folder, corpus, monkeypatch, capsys):
    done, stopped, failed, trained = plan.trials[:4]
    for trial, status in ((done, "finished"), (stopped, "stopped"), (failed, "failed")):
        row = {"key": trial.key, "status": status, "error": "why" if status == "failed" else None}
        write_part(folder, "trials", trial.key, make_table("trials", [row]))
    row = {"recording": "r", "partition": "devel", "frame": 0, "time_s": 0.0}
    write_part(folder, "predictions", trained.key, make_table("predictions", [row]))
    out = list_all(plan, folder, corpus, monkeypatch, capsys)
    states = [re.search(r"channels [0-9-]+ +(.*?) *$", line).group(1) for line in out[1:-1]]
    assert states[:5] == ["done", "stopped", "failed", "to search", "to do"]
    assert out[-1].startswith("20 to do, at most 5 hours")


def test_nothing_is_written_by_listing(plan, folder, corpus, monkeypatch, capsys):
    list_all(plan, folder, corpus, monkeypatch, capsys)
    assert not folder.path.parent.exists()


def test_a_narrow_terminal_shows_less_but_cuts_nothing(plan, folder, corpus, monkeypatch, capsys):
    narrow = Console(width=80, force_terminal=True, color_system=None, markup=False, highlight=False)
    monkeypatch.setattr(listing, "open_console", lambda: narrow)
    out = list_all(plan, folder, corpus, monkeypatch, capsys)
    shown = " ".join(" ".join(out).split())
    assert max(map(len, out[:-1])) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    for trial in plan.trials:
        assert trial.key in shown
    assert sum(line.endswith("0.25  to do ") for line in out) == 24


def test_a_file_gets_whole_lines_however_long(read, folder, corpus, monkeypatch, capsys):
    values = [[8] * 40, [9] * 40]
    text = f"name: deep\ntrial: {{model: {{kernels: {[2] * 40}, pools: {[1] * 39 + [640]}}}}}\nexplore:\n"
    plan = make_plan(read(text + f"  - model.channels: {values}\n"), corpus)
    out = list_all(plan, folder, corpus, monkeypatch, capsys)
    assert len(out) == 1 + 2 + 1
    assert "-".join(["9"] * 40) in out[2]
    assert "-".join(["1"] * 39 + ["640"]) in out[2]
