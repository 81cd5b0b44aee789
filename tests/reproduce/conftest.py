"""A sweep on the tiny corpus, and its trials."""

import dataclasses

import pytest
from plans import make_plan
from reproduce_cases import train

from ser_ray import provenance
from ser_ray.corpus import open_corpus
from ser_ray.postprocess.config import SearchConfig
from ser_ray.reproduce import command as reproduce
from ser_ray.results import SweepFolder
from ser_ray.sweep.spec.config import load_sweep
from ser_ray.trial import Trial, trial_key


@pytest.fixture
def folder(tmp_path, tiny_corpus):
    folder = SweepFolder(tmp_path / "results" / "tiny sweep")
    folder.path.mkdir(parents=True)
    folder.sweep_file.write_text(f"# command: x\n# corpus: tiny in {tiny_corpus.path}\nname: tiny\ncorpus: elsewhere\n")
    return folder


@pytest.fixture
def make_trial(folder, tiny_corpus, tiny_config):
    """Make a trial of the sweep."""

    def make(methods=("greedy", "exhaustive"), **training):
        config = dataclasses.replace(tiny_config(**training), search=SearchConfig(methods=methods))
        return Trial(
            key=trial_key(config, tiny_corpus.fingerprint),
            config=config,
            corpus=tiny_corpus,
            sweep="tiny",
            folder=folder,
            git_commit=provenance.git_commit(),
            git_diff=provenance.changes_name(provenance.git_changes()),
        )

    return make


@pytest.fixture
def without_ray(monkeypatch):
    """The command run in this process; `change` may alter the sweep's trial. Collects the commands."""
    commands = []

    def run(command, change=lambda trial: trial):
        commands.append(command)
        *_, file, option, corpus, other, out = command
        assert (command[:3], option, other) == (["python", "-m", "ser_ray.sweep"], "--corpus", "--results")
        config, opened = load_sweep(file, corpus=corpus), open_corpus(corpus)
        (planned,) = make_plan(config, opened).trials
        again = SweepFolder(reproduce.Path(out) / config.name)
        if planned.key in again.keys("trials"):
            return 0
        commit, diff = provenance.git_commit(), provenance.changes_name(provenance.git_changes())
        trial = Trial(
            key=planned.key, config=planned.config, corpus=opened, sweep=config.name, folder=again,
            git_commit=commit, git_diff=diff,
        )  # fmt: skip
        train(change(trial), backend=config.resources.backend)
        return 0

    monkeypatch.setattr(reproduce, "_run", run)
    run.commands = commands
    return run


@pytest.fixture
def here(monkeypatch):
    """The state of the code as git would tell it."""

    def set_to(commit, patch=None):
        monkeypatch.setattr(provenance, "git_commit", lambda: commit)
        monkeypatch.setattr(provenance, "git_changes", lambda: patch)

    return set_to
