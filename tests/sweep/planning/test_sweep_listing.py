"""A plan in words: labels, the lines before a run, and the listing of a dry run."""

import dataclasses
import functools
import math
import os
import re
import sys
from types import SimpleNamespace

import pytest
from plans import make_plan
from rich.console import Console

from ser_ray.errors import InputError
from ser_ray.gpus.usable import UsableGpus, usable_gpus
from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.sweep.planning import hours as estimate
from ser_ray.sweep.planning import listing
from ser_ray.sweep.planning.hours import DeviceHours, Forecast
from ser_ray.sweep.planning.listing import describe_plan, label_of, list_trials

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


def list_all(plan, folder, corpus, monkeypatch, capsys, hours=lambda trial: 0.25, sources=(), **options):
    plan = dataclasses.replace(plan, folder=folder, source_sweeps=sources)
    asked = []

    def forecast(given, to_do, measured, cache, backend, *, gpus):
        asked.append((measured, cache, backend, gpus))
        own = tuple(hours(trial) for trial in given)
        left = math.fsum(hours(trial) for trial in given if trial.key in to_do)
        return Forecast(own, (DeviceHours("this host: a cpu", 0, left), DeviceHours("a gpu", 12, left / 8, 4)))

    monkeypatch.setattr(estimate, "forecast", forecast)
    list_trials(plan, folder.path.parent / "cache", **options)
    own = [folder] if folder.path.exists() else []
    resources = plan.config.resources
    assert asked == [([*own, *sources], folder.path.parent / "cache", resources.backend, resources.gpus)]
    return capsys.readouterr().out.splitlines()


def test_a_label_says_what_is_varied_and_the_seed(plan):
    found = {trial.key: label_of(trial) for trial in plan.trials}
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
    assert [label_of(trial) for trial in plan.trials] == [
        "kernels 8-6-6 pools 10-8-8, seed 0",
        "kernels 8-6-6 pools 10-8-8, seed 1",
    ]


def test_explored_seeds_are_said_once(read, corpus):
    plan = make_plan(read("name: one\nexplore:\n  - training.seed: [3, 5]"), corpus)
    assert [label.split(", ", 1)[1] for label in map(label_of, plan.trials)] == ["seed 3", "seed 5"]


def test_a_plan_is_described_with_its_corpus(read, corpus, folder):
    counts = {"train": 16, "devel": 15, "test": 1}
    described = SimpleNamespace(**vars(corpus), name="tiny", recordings=lambda name: [None] * counts[name])
    plan = make_plan(read(SWEEP), described)
    assert describe_plan(plan, folder.path) == (
        f"sweep small: 24 trials (12 configurations x 2 seeds) -> {folder.path}\n"
        "corpus tiny: 16 train, 15 devel, 1 test recordings, arousal, valence at 25 Hz"
    )
    doubled = SWEEP.replace("[[64, 128, 256], [8, 16, 32]]", "[[8, 8, 8], [8, 8, 8]]")
    limited = make_plan(read(doubled + "schedule: {max_configurations: 5}\n"), described)
    assert describe_plan(limited, folder.path).startswith(
        "sweep small: 10 trials (5 configurations x 2 seeds; 6 duplicates left out; 1 configuration left out by "
        "schedule.max_configurations)"
    )


def test_every_trial_is_a_row_with_its_design_and_hours(plan, folder, corpus, monkeypatch, capsys):
    out = list_all(plan, folder, corpus, monkeypatch, capsys, lambda trial: trial.config.training.sequence_s / 40)
    assert len(out) == 1 + 24 + 4
    first = plan.trials[0]
    assert out[1].split() == [
        first.key, "6-6-8", "8-8-10", "0.38", "0.38", "0.41", f"{first.config.model.parameters:,}",
        f"{first.receptive_field_ms:.1f}", "6", "0", "0.15", "training.learning_rate", "0.0001,", "model.channels",
        "64-128-256", "to", "do",
    ]  # fmt: skip
    assert [line.split()[0] for line in out[1:25]] == [trial.key for trial in plan.trials]
    assert {line.split()[2] for line in out[1:25]} == {pools for _, pools in DESIGNS}
    assert max(map(len, out)) <= 160
    hours = sum(trial.config.training.sequence_s / 40 for trial in plan.trials)
    assert out[25] == "24 to do, on one device at most (patience and early stopping shorten it):"
    assert out[26].split() == ["device", "measured", "trials", "at", "once", "hours"]
    assert out[27].split() == ["this", "host:", "a", "cpu", "a", "step", "1", f"{hours:.3g}"]
    assert out[28].split() == ["a", "gpu", "12", "4", f"{hours / 8:.3g}"]


def test_what_stands_is_said_and_not_counted(plan, folder, corpus, monkeypatch, capsys):
    done, stopped, failed, trained = plan.trials[:4]
    for trial, status in ((done, "finished"), (stopped, "stopped"), (failed, "failed")):
        row = {"key": trial.key, "status": status, "error": "why" if status == "failed" else None}
        write_part(folder, "trials", trial.key, make_table("trials", [row]))
    row = {"recording": "r", "partition": "devel", "frame": 0, "time_s": 0.0}
    write_part(folder, "predictions", trained.key, make_table("predictions", [row]))
    out = list_all(plan, folder, corpus, monkeypatch, capsys)
    assert states(out)[:5] == ["done", "stopped", "failed", "to search", "to do"]
    assert out[25].startswith("20 to do, ")
    assert out[27].split()[-1] == "5"


def states(out):
    return [re.search(r"channels [0-9-]+ +(.*?) *$", line).group(1) for line in out[1:25]]


@pytest.fixture
def visible(monkeypatch):
    """What the forecast sees of GPUs."""
    seen = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def hours(trial):
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return 1.0

    hours.seen = seen
    return hours


def test_a_gpu_that_a_run_would_not_use_is_named_and_not_measured_on(
    plan, folder, corpus, monkeypatch, capsys, visible
):
    found = UsableGpus(("0", "2"), all_visible=False, unusable=("GPU 1 (H100): ECC", "GPU 3 (H100): busy"))
    monkeypatch.setattr(listing, "usable_gpus", lambda: found)
    out = list_all(plan, folder, corpus, monkeypatch, capsys, visible)
    assert out[:2] == ["GPU       not used: GPU 1 (H100): ECC", "GPU       not used: GPU 3 (H100): busy"]
    assert len(out) == 2 + 1 + 24 + 4
    assert set(visible.seen) == {"0,2"}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_where_a_run_would_not_begin_for_its_gpus_the_reason_is_told(
    plan, folder, corpus, monkeypatch, capsys, visible
):
    monkeypatch.setattr(
        listing, "usable_gpus", lambda: (_ for _ in ()).throw(InputError("this job was given 2 GPUs, but"))
    )
    out = list_all(plan, folder, corpus, monkeypatch, capsys, visible)
    assert out[0] == "GPU       not used: this job was given 2 GPUs, but"
    assert len(out) == 1 + 1 + 24 + 4
    assert set(visible.seen) == {""}, "no GPU"


@pytest.mark.parametrize("why", ["no device", "none asked for", "nothing to do"])
def test_no_gpu_is_tried_where_no_trial_would_have_one(plan, read, folder, corpus, monkeypatch, capsys, visible, why):
    monkeypatch.setattr(sys, "executable", "/no/such/python")  # no process can be started
    for name in ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS"):
        monkeypatch.delenv(name, raising=False)
    if why == "no device":
        monkeypatch.setattr(listing, "usable_gpus", functools.partial(usable_gpus, devices=lambda: False))
    elif why == "none asked for":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        plan = make_plan(read(SWEEP + "resources: {gpus: 0}\n"), corpus)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        for trial in plan.trials:
            row = make_table("trials", [{"key": trial.key, "status": "finished"}])
            write_part(folder, "trials", trial.key, row)
    assert "GPU " not in "".join(list_all(plan, folder, corpus, monkeypatch, capsys, visible))


def test_a_sweep_without_gpus_is_forecast_on_the_cpu(read, folder, corpus, monkeypatch, capsys):
    plan = make_plan(read("name: one\nresources: {gpus: 0.0, backend: reference}"), corpus)
    assert len(list_all(plan, folder, corpus, monkeypatch, capsys)) == 1 + 1 + 4


def test_what_source_sweeps_have_finished_is_to_be_reused(plan, folder, corpus, monkeypatch, capsys):
    source = SweepFolder(folder.path.parent.parent / "elsewhere" / "source")
    first, second, third = plan.trials[:3]
    for trial in (first, second, third):
        status = "stopped" if trial is third else "finished"
        write_part(source, "trials", trial.key, make_table("trials", [{"key": trial.key, "status": status}]))
        found = [{"key": trial.key, "method": method, "target": "arousal"} for method in ("greedy", "exhaustive")]
        write_part(source, "postprocessing", trial.key, make_table("postprocessing", found))
    write_part(folder, "trials", second.key, make_table("trials", [{"key": second.key, "status": "finished"}]))
    out = list_all(plan, folder, corpus, monkeypatch, capsys, sources=(source,))
    assert states(out)[:4] == ["reuse", "done", "to do", "to do"]
    assert out[25].startswith("22 to do, ")


def test_where_nothing_is_to_do_no_hours_are_told(plan, folder, corpus, monkeypatch, capsys):
    for trial in plan.trials:
        write_part(folder, "trials", trial.key, make_table("trials", [{"key": trial.key, "status": "finished"}]))
    out = list_all(plan, folder, corpus, monkeypatch, capsys)
    assert out[25:] == ["no trial is to be trained"]


@pytest.mark.parametrize("seeds", [200, 201, 1000])
def test_of_a_long_plan_both_ends_are_shown(read, folder, corpus, monkeypatch, capsys, seeds):
    plan = make_plan(read(f"name: one\nreplicates: {seeds}"), corpus)
    keys = [trial.key for trial in plan.trials]
    out = list_all(plan, folder, corpus, monkeypatch, capsys)
    shown = [line.split()[0] for line in out[1:-4]]
    if seeds <= 200:
        assert shown == keys
    else:
        left_out = f"{seeds - 60} of {seeds} trials are omitted at the dots (--all shows them)"
        assert shown == [*keys[:30], "...", *keys[-30:], str(seeds - 60)]
        assert out[-5] == left_out
    assert out[-4].startswith(f"{seeds} to do, ")
    assert out[-2].split()[-1] == f"{seeds / 4:.3g}"
    out = list_all(plan, folder, corpus, monkeypatch, capsys, everything=True)
    assert [line.split()[0] for line in out[1:-4]] == keys


def test_trials_still_to_be_proposed_are_said(plan, folder):
    corpus = SimpleNamespace(name="tiny", targets=("arousal",), label_rate=25.0, recordings=lambda name: [None])
    guided = SimpleNamespace(**{**vars(plan), "corpus": corpus, "to_propose": 7})
    text = describe_plan(guided, folder.path)
    assert text.startswith(
        f"sweep small: 24 trials (12 configurations x 2 seeds) and 7 trials still to be proposed -> {folder.path}\n"
    )


def test_nothing_is_written_by_listing(plan, folder, corpus, monkeypatch, capsys):
    list_all(plan, folder, corpus, monkeypatch, capsys)
    assert not folder.path.parent.exists()


def test_a_narrow_terminal_shows_less_but_cuts_nothing(plan, folder, corpus, monkeypatch, capsys):
    narrow = Console(width=80, force_terminal=True, color_system=None, markup=False, highlight=False)
    monkeypatch.setattr(listing, "open_console", lambda: narrow)
    out = list_all(plan, folder, corpus, monkeypatch, capsys)
    shown = " ".join(" ".join(out).split())
    assert max(map(len, out)) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    for trial in plan.trials:
        assert trial.key in shown
    assert sum(line.endswith("0.25  to do ") for line in out) == 24


def test_a_file_gets_whole_lines_however_long(read, folder, corpus, monkeypatch, capsys):
    values = [[8] * 40, [9] * 40]
    text = f"name: deep\ntrial: {{model: {{kernels: {[2] * 40}, pools: {[1] * 39 + [640]}}}}}\nexplore:\n"
    plan = make_plan(read(text + f"  - model.channels: {values}\n"), corpus)
    out = list_all(plan, folder, corpus, monkeypatch, capsys)
    assert len(out) == 1 + 2 + 4
    assert "-".join(["9"] * 40) in out[2]
    assert "-".join(["1"] * 39 + ["640"]) in out[2]
