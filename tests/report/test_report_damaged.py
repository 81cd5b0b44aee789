"""Damaged parts met by what reads alone: named in one line, never a traceback, and never waited for."""

import shutil

import pytest
from part_damage import finished_trial, kinds

from ser_ray.errors import InputError
from ser_ray.report import __main__ as report
from ser_ray.report import leaderboard, logs, status
from ser_ray.reproduce.command import main as reproduce
from ser_ray.results import SCHEMAS, DamagedPartError, SweepFolder
from ser_ray.sweep.planning.reuse import reusable, take_over
from ser_ray.sweep.planning.states import read_states
from ser_ray.trained import find_checkpoint, read_chains

pytestmark = pytest.mark.timeout(60, func_only=True)  # what waits for what never comes is ended

TABLES = tuple(SCHEMAS)
CASES = [(table, kind) for table in TABLES for kind in kinds(table)]


@pytest.fixture(scope="module")
def finished(tiny_corpus, tiny_config, tmp_path_factory):
    """A trial that is trained and searched, in a sweep."""
    trial = finished_trial(tmp_path_factory.mktemp("finished") / "sweep", tiny_corpus, tiny_config(epochs=2))
    trial.folder.sweep_file.write_text("name: tiny\n")
    trial.folder.log(trial.key).parent.mkdir()
    trial.folder.log(trial.key).write_text("a line\n")
    return trial


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it."""
    return SweepFolder(shutil.copytree(finished.folder.path, tmp_path / "sweep"))


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


def refusals(folder, trial):
    """Return for each that reads the InputError that it raised, or None."""
    raised = dict.fromkeys(READERS)
    for name, read in READERS.items():
        try:
            read(folder, trial)
        except InputError as error:
            raised[name] = error
    return raised


def test_all_of_them_read_a_sound_sweep(folder, finished):
    assert refusals(folder, finished) == dict.fromkeys(READERS)


@pytest.mark.parametrize(("table", "kind"), CASES, ids=[f"{table}: {kind}" for table, kind in CASES])
def test_a_reader_names_a_damaged_part_or_does_not_need_it(folder, finished, table, kind):
    path = folder.part(table, finished.key)
    kinds(table)[kind](path)
    raised = refusals(folder, finished)
    # parts without rows are taken over, and set aside there
    empty = kind == "without rows" and table in ("epochs", "predictions")
    unnoticed = {name for name, error in raised.items() if error is None}
    assert empty or {name for name in unnoticed if table in NEEDS[name]} == set()
    named = [error for error in raised.values() if error is not None]
    assert [type(error) for error in named] == [DamagedPartError] * len(named)
    assert all(str(error).startswith(f"{path} cannot be read (") for error in named), named
    assert all("\n" not in str(error) for error in named), named


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ["cut at half", "a named pipe", "a folder", "a link to nothing", "another table's"])
def test_a_report_names_each(folder, finished, tmp_path, table, kind):
    path = folder.part(table, finished.key)
    kinds(table)[kind](path)
    with pytest.raises(DamagedPartError) as raised:
        report.main([str(folder.path), "--out", str(tmp_path / "out")])
    assert raised.value.path == path
