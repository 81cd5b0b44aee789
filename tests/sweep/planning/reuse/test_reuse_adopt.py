"""Trials that go on from the checkpoints of shorter ones, of this sweep or another."""

import dataclasses
import shutil

import pytest
from other_fields import NEEDS, OTHER_MODEL, OTHER_TRAINING
from reuse_cases import checkpoint_of, write_checkpoint, write_row

from ser_ray.models import ModelConfig
from ser_ray.sweep.planning.reuse import adopt_checkpoints
from ser_ray.training.config import TrainingConfig


def test_a_shorter_trial_of_a_donor_is_gone_on_from(folder, donor, trial):
    wanted, short, longer_of_ours = trial(epochs=50), trial(epochs=30), trial(epochs=40)
    write_row(donor, short)
    write_checkpoint(donor, short, "the donor")
    assert adopt_checkpoints(folder, [wanted], [donor]) == {wanted.key: f"{short.key} of {donor.path}"}
    assert checkpoint_of(folder, wanted)["last.pt"] == "last.pt of the donor"
    shutil.rmtree(folder.path)
    for epochs in (30, 40):
        ours = short if epochs == 30 else longer_of_ours
        write_row(folder, ours)
        write_checkpoint(folder, ours)
        assert adopt_checkpoints(folder, [wanted], [donor]) == {wanted.key: ours.key}, "of equal ones our own"
        shutil.rmtree(folder.checkpoints(wanted.key))


def test_a_trial_with_the_checkpoint_before_its_last_alone_keeps_it(folder, trial):
    donor, wanted = trial(epochs=5), trial(epochs=50)
    write_row(folder, donor)
    write_checkpoint(folder, donor)
    own = folder.checkpoints(wanted.key)
    own.mkdir()
    (own / "previous.pt").write_text("mine")
    assert adopt_checkpoints(folder, [wanted]) == {}
    assert checkpoint_of(folder, wanted) == {"previous.pt": "mine"}


def test_the_longest_shorter_finished_trial_is_gone_on_from(folder, trial):
    wanted = trial(epochs=50)
    donors = {epochs: trial(epochs=epochs) for epochs in (5, 9, 30, 51, 100)}
    for donor in donors.values():
        write_row(folder, donor)
        write_checkpoint(folder, donor)
    assert adopt_checkpoints(folder, [wanted]) == {wanted.key: donors[30].key}
    assert checkpoint_of(folder, wanted) == checkpoint_of(folder, donors[30])
    assert checkpoint_of(folder, wanted)["last.pt"] == f"last.pt of {donors[30].key}"
    assert not list(folder.tmp.iterdir())


def test_a_longer_trial_is_never_gone_on_from(folder, trial):
    longer, wanted = trial(epochs=100), trial(epochs=50)
    write_row(folder, longer)
    write_checkpoint(folder, longer)
    assert adopt_checkpoints(folder, [wanted]) == {}
    assert not folder.checkpoints(wanted.key).exists()


@pytest.mark.parametrize("status", ["stopped", "failed", None])
def test_only_a_finished_trial_is_gone_on_from(folder, trial, status):
    donor, wanted = trial(epochs=5), trial(epochs=50)
    if status:
        write_row(folder, donor, status)
    write_checkpoint(folder, donor)
    assert adopt_checkpoints(folder, [wanted]) == {}


def test_a_finished_trial_without_its_checkpoint_gives_none(folder, trial):
    short, shorter, wanted = trial(epochs=9), trial(epochs=5), trial(epochs=50)
    for donor in (short, shorter):
        write_row(folder, donor)
    write_checkpoint(folder, shorter)
    folder.checkpoints(short.key).mkdir()
    (folder.checkpoints(short.key) / "best.pt").write_text("alone")
    assert adopt_checkpoints(folder, [wanted]) == {wanted.key: shorter.key}


def test_these_are_all_the_fields_there_are():
    assert set(OTHER_TRAINING) == {field.name for field in dataclasses.fields(TrainingConfig)}
    assert set(OTHER_MODEL) == {field.name for field in dataclasses.fields(ModelConfig)}


@pytest.mark.parametrize(
    "different",
    [
        *({name: value} for name, value in OTHER_TRAINING.items() if name != "epochs"),
        *({"model": NEEDS.get(name, {}) | {name: value}} for name, value in OTHER_MODEL.items()),
        {"fingerprint": "f1"},
    ],
    ids=str,
)
def test_a_trial_that_differs_in_anything_else_is_not_gone_on_from(folder, trial, different):
    parts = (
        {"front_end", "temporal"} & set(different.get("model", {})) if len(different.get("model", {})) > 1 else set()
    )
    donor = trial(epochs=5, **different)
    wanted = trial(epochs=50, model={name: different["model"][name] for name in parts})
    write_row(folder, donor)
    write_checkpoint(folder, donor)
    assert adopt_checkpoints(folder, [wanted]) == {}


def test_the_search_makes_no_difference(folder, trial):
    donor, wanted = trial(epochs=5, methods=("greedy",)), trial(epochs=50, methods=("exhaustive",))
    write_row(folder, donor)
    write_checkpoint(folder, donor)
    assert adopt_checkpoints(folder, [wanted]) == {wanted.key: donor.key}


def test_an_own_checkpoint_is_never_overwritten(folder, trial):
    donor, wanted = trial(epochs=5), trial(epochs=50)
    write_row(folder, donor)
    write_checkpoint(folder, donor)
    write_checkpoint(folder, wanted, "mine")
    assert adopt_checkpoints(folder, [wanted]) == {}
    assert checkpoint_of(folder, wanted) == {"last.pt": "last.pt of mine", "best.pt": "best.pt of mine"}


def test_leftovers_without_a_last_checkpoint_make_room(folder, trial):
    donor, wanted = trial(epochs=5), trial(epochs=50)
    write_row(folder, donor)
    write_checkpoint(folder, donor)
    for leftover in (folder.checkpoints(wanted.key), folder.tmp / f"checkpoints-{wanted.key}"):
        leftover.mkdir(parents=True)
        (leftover / ".last.pt.ab12").write_text("half of one")
    assert adopt_checkpoints(folder, [wanted]) == {wanted.key: donor.key}
    assert checkpoint_of(folder, wanted) == checkpoint_of(folder, donor)


def test_several_trials_go_on_each_from_its_own(folder, trial):
    donors = [trial(epochs=5, seed=n) for n in range(3)]
    for donor in donors:
        write_row(folder, donor)
        write_checkpoint(folder, donor)
    wanted = [trial(epochs=50, seed=n) for n in range(4)]
    adopted = adopt_checkpoints(folder, wanted)
    assert adopted == {w.key: d.key for w, d in zip(wanted, donors, strict=False)}
