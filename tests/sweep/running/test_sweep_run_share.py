"""Two drivers that share a plan out between them, each in its own process with its own Ray, on one folder."""

import argparse
import os
import time

import pytest
import torch
from sweep_processes import end, end_what_is_left, start

from ser_ray.results import SweepFolder, read_drivers, read_planned, read_table
from ser_ray.sweep.nodes.heartbeat import Share
from ser_ray.sweep.planning.prepare import add_options, prepare, read_config
from ser_ray.sweep.running.run import LEFT_FOR_GOOD_S
from ser_ray.trial import search_trial, train_trial
from ser_ray.trial.place import place_here

pytestmark = pytest.mark.slow  # two drivers, each with a Ray of its own

SWEEP = """
name: tiny
corpus: {corpus}
trial:
  model: {{channels: [3, 4], hidden: 5, kernels: [4, 6], pools: [8, 8]}}
  training: {{epochs: 3, sequence_s: 0.08, batch_size: 3}}
explore:
  - {explored}
resources: {{gpus: 0}}
"""
RATES = "training.learning_rate: [1e-3, 2e-3, 3e-3]"
GUIDED = "guided: {count: 4, training.learning_rate: [1e-3, 2e-3, 3e-3, 4e-3]}"
VOLATILE = {"train_seconds", "search_seconds", "evaluate_seconds", "seconds", "samples_per_second", "peak_memory_bytes"}
VOLATILE |= {"restarts", "started_at", "ended_at", "git_commit", "git_diff"}


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left():
    yield
    end_what_is_left()


@pytest.fixture(scope="module")
def file(tiny_corpus, tmp_path_factory):
    file = tmp_path_factory.mktemp("sweep") / "tiny.yaml"
    file.write_text(SWEEP.format(corpus=tiny_corpus.path, explored=RATES))
    return file


@pytest.fixture(scope="module")
def whole(file, tmp_path_factory):
    """The folder of the whole plan, each trial trained and searched in this process."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    options = parser.parse_args([str(file), "--results", str(tmp_path_factory.mktemp("whole"))])
    sweep = prepare(options, read_config(options)[0], keep=False)
    for trial in sweep.trials:
        cpu = torch.device("cpu")
        train_trial(trial, cpu, place=place_here(cpu, corpus_verified=True))
        search_trial(sweep.folder, trial.key)
    return sweep.folder


@pytest.fixture(scope="module")
def shared(file, tmp_path_factory):
    """The folder that two drivers wrote, and what each of them printed."""
    results = tmp_path_factory.mktemp("shared")
    folder = SweepFolder(results / "tiny")
    for name, age_s in (("young", 3600.0), ("old", LEFT_FOR_GOOD_S + 3600.0)):
        for left in (folder.tmp / f"{name} file", folder.tmp / f"{name} folder" / "part"):
            left.parent.mkdir(parents=True, exist_ok=True)
            left.touch()
        for left in (folder.tmp / f"{name} file", folder.tmp / f"{name} folder"):
            os.utime(left, (time.time() - age_s,) * 2)
    drivers = [start(file, results, "--share", f"{number}/2") for number in (1, 2)]
    ended = [end(driver) for driver in drivers]
    assert [code for code, _ in ended] == [0, 0], ended
    return folder, [out for _, out in ended]


def test_each_runs_its_share_at_the_same_time(shared, whole):
    folder, outs = shared
    keys = whole.keys("trials")
    first, second = read_drivers(folder)
    assert first.started_at < second.seen_at
    assert second.started_at < first.seen_at
    assert {first.share, second.share} == {"1/2", "2/2"}
    for number, out in enumerate(outs, start=1):
        own = Share(number, 2).keys(keys)
        assert f"share {number}/2: {len(own)} of 3 trials" in out
        for key in keys:
            assert (f"start     {key}" in out) == (key in own)
        assert (folder.path / f"sweep-{number}-of-2.log").exists()
        assert "may still be running" not in out


def test_what_they_leave_equals_the_plan_run_as_a_whole(shared, whole):
    folder, _ = shared
    for table in ("trials", "epochs", "postprocessing", "predictions"):
        one, other = (read_table(sweep, table, keys=whole.keys("trials")).to_pylist() for sweep in (folder, whole))
        assert len(one) == len(other) > 0
        for mine, theirs in zip(one, other, strict=True):
            assert {c: v for c, v in mine.items() if c not in VOLATILE} == {
                c: v for c, v in theirs.items() if c not in VOLATILE
            }
    assert folder.keys("trials") == whole.keys("trials") == read_planned(folder)


def test_parts_under_way_of_the_other_driver_are_left_to_it(shared):
    folder, _ = shared
    assert {path.name for path in folder.tmp.iterdir()} == {"young file", "young folder"}


def test_who_runs_all_finds_nothing_to_do_and_clears_up(shared, file, tmp_path):
    folder, _ = shared
    code, out = end(start(file, folder.path.parent))
    assert code == 0, out
    assert "3 of 3 trials have already ended" in out
    assert "starting Ray" not in out
    assert not folder.tmp.exists()


@pytest.mark.parametrize("options", [(), ("--print-folder",)])
def test_a_guided_search_cannot_be_shared_out(file, tmp_path, tiny_corpus, options):
    guided = tmp_path / "guided.yaml"
    guided.write_text(SWEEP.format(corpus=tiny_corpus.path, explored=GUIDED))
    code, out = end(start(guided, tmp_path / "results", "--share", "2/3", *options))
    assert code == 2
    assert out.startswith("error: --share is 2/3, but a guided search proposes its trials in one process")
    assert "sbatch --nodes=N" in out
    assert not (tmp_path / "results" / "tiny").exists()


def test_a_share_that_is_none_is_refused_before_anything_runs(file, tmp_path):
    code, out = end(start(file, tmp_path / "results", "--share", "3/2"))
    assert (code, out) == (
        2,
        "error: --share is '3/2', but must be NUMBER/COUNT with a number from 1 to the count, such as 3/8\n",
    )
    assert not (tmp_path / "results").exists()
