"""What of a plan stands, from files alone."""

import json
from dataclasses import dataclass

import pytest

from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import SweepFolder, make_table, read_table, write_part
from ser_ray.sweep.planning.states import forget_failed, read_states
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import Trial, TrialConfig, keyed_config, trial_key


@dataclass(frozen=True)
class Fingerprinted:
    fingerprint: str = "f0"


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "sweep")


@pytest.fixture
def trial(folder):
    """Make a trial; by default of 100 epochs."""

    def make(*, fingerprint="f0", model=None, methods=("greedy",), **training):
        config = TrialConfig(
            model=ModelConfig(**(model or {})),
            training=TrainingConfig(**training),
            search=SearchConfig(methods=methods),
        )
        corpus = Fingerprinted(fingerprint)
        return Trial(key=trial_key(config, fingerprint), config=config, corpus=corpus, sweep="s", folder=folder)

    return make


def write_row(folder, trial, status="finished", error=None):
    row = {
        "key": trial.key,
        "status": status,
        "error": error,
        "max_epochs": trial.config.training.epochs,
        "config": json.dumps(keyed_config(trial.config, trial.corpus.fingerprint), sort_keys=True),
    }
    write_part(folder, "trials", trial.key, make_table("trials", [row]))


def write_predictions(folder, trial):
    row = {"recording": "r", "partition": "devel", "frame": 0, "time_s": 0.0}
    write_part(folder, "predictions", trial.key, make_table("predictions", [row]))


def write_chains(folder, trial):
    write_part(folder, "postprocessing", trial.key, make_table("postprocessing", [{"key": trial.key}]))


def write_epochs(folder, trial):
    write_part(folder, "epochs", trial.key, make_table("epochs", [{"key": trial.key, "epoch": 1}]))


def write_checkpoint(folder, trial, text=None):
    own = folder.checkpoints(trial.key)
    own.mkdir(parents=True)
    for name in ("last.pt", "best.pt"):
        (own / name).write_text(f"{name} of {text or trial.key}")


def checkpoint_of(folder, trial):
    return {path.name: path.read_text() for path in folder.checkpoints(trial.key).iterdir()}


def test_a_plan_without_a_folder_is_all_to_train(folder, trial):
    trials = [trial(seed=n) for n in range(3)]
    standing = read_states(folder, trials)
    assert standing.to_train == tuple(trials)
    assert (standing.finished, standing.stopped, standing.failed, standing.to_search) == (set(), set(), {}, ())
    assert not folder.path.exists()


def test_the_files_say_what_became_of_each_trial(folder, trial):
    trials = [trial(seed=n) for n in range(9)]
    finished, stopped, failed, search_failed, trained, begun, _untouched, unchained, bare = trials
    write_row(folder, finished)
    write_predictions(folder, finished)
    write_chains(folder, finished)
    write_row(folder, unchained)  # its chains are lost, and can be made again
    write_predictions(folder, unchained)
    write_row(folder, bare)  # its chains and predictions are, and its row stands
    write_row(folder, stopped, "stopped")
    write_row(folder, failed, "failed", "the training diverged")
    write_row(folder, search_failed, "failed", "post-processing search: ...")
    write_predictions(folder, search_failed)
    write_predictions(folder, trained)
    write_checkpoint(folder, begun)
    write_epochs(folder, begun)
    stranger = trial(seed=99)  # of an earlier plan
    write_row(folder, stranger)
    standing = read_states(folder, list(reversed(trials)))
    assert standing.finished == {finished.key, bare.key}
    assert standing.stopped == {stopped.key}
    assert standing.failed == {
        failed.key: "the training diverged",
        search_failed.key: "post-processing search: ...",
    }
    assert standing.to_search == (unchained, trained)
    assert [t.config.training.seed for t in standing.to_train] == [6, 5], "in the order of the plan"


def test_a_damaged_row_is_named(folder, trial):
    one = trial()
    write_row(folder, one)
    folder.part("trials", one.key).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=rf"{one.key}.parquet cannot be read"):
        read_states(folder, [one])


def test_forgotten_trials_are_trained_or_searched_again(folder, trial):
    diverged, search_failed, other = (trial(seed=n) for n in range(3))
    for one in (diverged, search_failed, other):
        write_row(folder, one, "failed", "why")
        write_checkpoint(folder, one)
        write_epochs(folder, one)
    write_predictions(folder, search_failed)
    forget_failed(folder, [diverged.key, search_failed.key])
    standing = read_states(folder, [diverged, search_failed, other])
    assert standing.to_train == (diverged,)
    assert standing.to_search == (search_failed,)
    assert set(standing.failed) == {other.key}
    assert set(checkpoint_of(folder, diverged)) == {"last.pt", "best.pt"}, "what was trained is not lost"
    assert folder.keys("epochs") == {diverged.key, search_failed.key, other.key}
    assert folder.keys("predictions") == {search_failed.key}
    assert set(checkpoint_of(folder, search_failed)) == {"last.pt", "best.pt"}
    assert read_table(folder, "trials", columns=["key"])["key"].to_pylist() == [other.key]


def test_forgetting_what_left_nothing_is_no_error(folder):
    forget_failed(folder, ["absent"])
    assert folder.keys("trials") == set()
