"""Damaged parts met by what reads alone: named in one line, never a traceback, and never waited for."""

import shutil
import signal

import pytest
import torch
from part_damage import kinds

from ser_ray.errors import InputError
from ser_ray.report import __main__ as report
from ser_ray.report import leaderboard, logs, status
from ser_ray.reproduce.command import main as reproduce
from ser_ray.results import SCHEMAS, DamagedPartError, SweepFolder
from ser_ray.sweep.planning.reuse import reusable, take_over
from ser_ray.sweep.planning.states import read_states
from ser_ray.trained import find_checkpoint, read_chains
from ser_ray.trial import Trial, search_trial, train_trial, trial_key

TABLES = tuple(SCHEMAS)
CASES = [(table, kind) for table in TABLES for kind in kinds(table)]


@pytest.fixture(scope="module")
def finished(tiny_corpus, tiny_config, tmp_path_factory):
    """A trial that is trained and searched, in a sweep."""
    folder, config = SweepFolder(tmp_path_factory.mktemp("finished") / "sweep"), tiny_config(epochs=2)
    key = trial_key(config, tiny_corpus.fingerprint)
    trial = Trial(key=key, config=config, corpus=tiny_corpus, sweep="tiny", folder=folder)
    train_trial(trial, torch.device("cpu"))
    search_trial(folder, key)
    folder.sweep_file.write_text("name: tiny\n")
    folder.log(key).parent.mkdir()
    folder.log(key).write_text("a line\n")
    return trial


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it."""
    return SweepFolder(shutil.copytree(finished.folder.path, tmp_path / "sweep"))


@pytest.fixture(autouse=True)
def nothing_hangs():
    def hung(*_):
        raise AssertionError("it waits for what never comes")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def taken_over(folder, trial):
    other = SweepFolder(folder.path.parent / "other")
    reusable(other, [trial], [folder])
    take_over(other, [trial], [folder])


READERS = {
    "status": lambda folder, trial: status.main([str(folder.path)]),
    "leaderboard": lambda folder, trial: leaderboard.main([str(folder.path)]),
    "logs": lambda folder, trial: logs.main([str(folder.path), trial.key]),
    "predict DIR": lambda folder, trial: find_checkpoint(folder.path),
    "predict --postprocess": lambda folder, trial: read_chains(
        folder.checkpoints(trial.key) / "best.pt", "greedy", ["arousal"]
    ),
    "reproduce": lambda folder, trial: reproduce(
        [str(folder.path), trial.key, "--print", "--corpus", str(trial.corpus.path)]
    ),
    "--reuse": taken_over,
    "--dry-run": lambda folder, trial: read_states(folder, [trial]),
}
NEEDS = {
    "status": {"trials"},
    "leaderboard": {"trials", "postprocessing"},
    "logs": set(),
    "predict DIR": {"trials"},
    "predict --postprocess": {"postprocessing"},
    "reproduce": {"trials", "postprocessing"},
    "--reuse": set(TABLES),
    "--dry-run": {"trials"},
}
"""What each reads in full."""


def test_all_of_them_read_a_sound_sweep(folder, finished):
    for read in READERS.values():
        read(folder, finished)


@pytest.mark.parametrize(("table", "kind"), CASES, ids=[f"{table}: {kind}" for table, kind in CASES])
def test_a_reader_names_a_damaged_part_or_does_not_need_it(folder, finished, table, kind):
    path = folder.part(table, finished.key)
    kinds(table)[kind](path)
    for name, read in READERS.items():
        try:
            read(folder, finished)
        except InputError as error:
            assert isinstance(error, DamagedPartError), (name, error)  # noqa: PT017 - it need not be raised
            assert str(error).startswith(f"{path} cannot be read ("), name  # noqa: PT017
            assert "\n" not in str(error), name  # noqa: PT017
        else:
            # which are taken over, and set aside there
            empty = kind == "without rows" and table in ("epochs", "predictions")
            assert table not in NEEDS[name] or empty, f"{name} has not noticed"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ["cut at half", "a named pipe", "a folder", "a link to nothing", "another table's"])
def test_a_report_names_each(folder, finished, tmp_path, table, kind):
    path = folder.part(table, finished.key)
    kinds(table)[kind](path)
    with pytest.raises(DamagedPartError) as raised:
        report.main([str(folder.path), "--out", str(tmp_path / "out")])
    assert raised.value.path == path
