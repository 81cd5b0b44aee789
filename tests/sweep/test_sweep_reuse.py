"""Trials taken over from other sweeps, whole or as the beginning of a longer one; never half."""

import dataclasses
import itertools
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import (
    PREDICTIONS,
    SCHEMA_VERSION,
    SCHEMAS,
    SweepFolder,
    make_table,
    read_metadata,
    read_table,
    write_part,
)
from ser_ray.results.schemas import ADDED_COLUMNS
from ser_ray.sweep import reuse
from ser_ray.sweep.reuse import adopt_checkpoints, reusable, take_over
from ser_ray.sweep.standing import read_standing
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import Trial, TrialConfig, keyed_config, search_trial, trial_key


@dataclass(frozen=True)
class Fingerprinted:
    fingerprint: str = "f0"


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "results" / "new")


@pytest.fixture
def donor(tmp_path):
    return SweepFolder(tmp_path / "results" / "old")


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
        return Trial(key=trial_key(config, fingerprint), config=config, corpus=corpus, sweep="new", folder=folder)

    return make


def row_of(trial, status="finished", **columns):
    return {
        "key": trial.key,
        "sweep": "old",
        "status": status,
        "targets": ["arousal"],
        "max_epochs": trial.config.training.epochs,
        "epochs": trial.config.training.epochs,
        "config": json.dumps(keyed_config(trial.config, trial.corpus.fingerprint), sort_keys=True),
        "device": "cpu: x",
        "started_at": None,
        **columns,
    }


def write_row(folder, trial, status="finished"):
    write_part(folder, "trials", trial.key, make_table("trials", [row_of(trial, status)]))


def write_checkpoint(folder, trial, text=None):
    own = folder.checkpoints(trial.key)
    own.mkdir(parents=True)
    for name in ("last.pt", "best.pt"):
        (own / name).write_text(f"{name} of {text or trial.key}")


def checkpoint_of(folder, trial):
    return {path.name: path.read_text() for path in folder.checkpoints(trial.key).iterdir()}


def write_trained(folder, trial, methods=("greedy",)):
    """Everything that training leaves: epochs, checkpoints, and predictions to be searched."""
    key = trial.key
    write_part(folder, "epochs", key, make_table("epochs", [{"key": key, "epoch": n, "best": True} for n in (1, 2)]))
    write_checkpoint(folder, trial)
    rng = np.random.default_rng(trial.config.training.seed)
    columns = {
        "recording": np.repeat(["d1", "d2", "t1"], 40),
        "partition": np.repeat(["devel", "devel", "test"], 40),
        "frame": np.tile(np.arange(40, dtype=np.int32), 3),
        "time_s": np.tile(np.arange(40) / 25.0, 3),
        "gold_arousal": pa.array(np.cumsum(rng.normal(size=120)), pa.float32()),
        "gold_valence": pa.nulls(120),
        "prediction_arousal": pa.array(rng.normal(size=120), pa.float32()),
        "prediction_valence": pa.nulls(120),
    }
    metadata = {"trial": json.dumps(row_of(trial, None)), "search": json.dumps({"methods": methods})}
    table = pa.table(columns).select(PREDICTIONS.names).cast(PREDICTIONS)
    write_part(folder, "predictions", key, table, metadata=metadata)


def finish(folder, trial, methods=("greedy",)):
    write_trained(folder, trial, methods)
    search_trial(folder, trial.key)


def everything(folder):
    """Every file, with the time of its last change."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.path.rglob("*") if p.is_file()}


def rows(folder, table, key):
    found = read_table(folder, table, keys=[key]).to_pylist()
    return [{name: value for name, value in row.items() if name not in ("sweep", "reused_from")} for row in found]


def test_a_finished_trial_is_taken_over_whole(folder, donor, trial):
    ours, other = trial(), trial(seed=1)
    finish(donor, ours)
    before = everything(donor)
    assert set(reusable(folder, [ours, other], [donor])) == {ours.key}
    assert not folder.path.exists(), "asking writes nothing"
    assert take_over(folder, [ours, other], [donor]) == {ours.key: str(donor.path)}
    for table in SCHEMAS:
        assert rows(folder, table, ours.key) == rows(donor, table, ours.key) != []
        assert folder.keys(table) == {ours.key}
    assert checkpoint_of(folder, ours) == checkpoint_of(donor, ours)
    (row,) = read_table(folder, "trials").to_pylist()
    assert (row["sweep"], row["reused_from"]) == ("new", str(donor.path.resolve()))
    assert row["ccc_devel_greedy_mean"] is not None
    assert read_standing(folder, [ours, other]).finished == {ours.key}
    assert everything(donor) == before, "the donor is only read"
    assert not list(folder.tmp.iterdir())
    assert take_over(folder, [ours, other], [donor]) == {}


def test_a_search_done_again_keeps_the_sweep_and_where_it_came_from(folder, donor, trial):
    ours = trial()
    finish(donor, ours)
    take_over(folder, [ours], [donor])
    (before,) = read_table(folder, "trials").to_pylist()
    search_trial(folder, ours.key)
    (after,) = read_table(folder, "trials").to_pylist()
    changing = ("search_seconds", "ended_at")
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }


def test_what_is_not_searched_as_wanted_is_searched_anew(folder, donor, trial):
    ours = trial(methods=("greedy", "exhaustive"))
    finish(donor, ours, methods=("greedy",))
    assert take_over(folder, [ours], [donor]) == {ours.key: str(donor.path)}
    standing = read_standing(folder, [ours])
    assert standing.to_search == (ours,)
    assert folder.keys("postprocessing") == set()
    search_trial(folder, ours.key)
    (row,) = read_table(folder, "trials").to_pylist()
    assert (row["sweep"], row["reused_from"]) == ("new", str(donor.path.resolve()))
    assert row["ccc_devel_exhaustive_arousal"] >= row["ccc_devel_greedy_arousal"]
    searched = {row["method"] for row in read_table(folder, "postprocessing").to_pylist()}
    assert searched == {"greedy", "exhaustive"}


def test_more_methods_than_wanted_are_no_reason_to_search(folder, donor, trial):
    ours = trial(methods=("greedy",))
    finish(donor, ours, methods=("greedy", "exhaustive"))
    take_over(folder, [ours], [donor])
    assert read_standing(folder, [ours]).finished == {ours.key}
    assert len(read_table(folder, "postprocessing")) == 2


@pytest.mark.parametrize("status", ["stopped", "failed", "searching", "under way"])
def test_only_what_is_finished_is_taken_over(folder, donor, trial, status):
    ours = trial()
    write_trained(donor, ours)
    if status in ("stopped", "failed"):
        write_row(donor, ours, status)
    if status == "under way":
        donor.part("predictions", ours.key).unlink()
    assert reusable(folder, [ours], [donor]) == {}
    assert take_over(folder, [ours], [donor]) == {}
    assert not folder.path.exists()


@pytest.mark.parametrize("stands", ["finished", "stopped", "failed", "trained"])
def test_what_stands_here_is_not_touched(folder, donor, trial, stands):
    ours = trial()
    finish(donor, ours)
    if stands == "trained":
        write_trained(folder, ours)
    else:
        write_row(folder, ours, stands)
    before = everything(folder)
    assert take_over(folder, [ours], [donor]) == {}
    assert everything(folder) == before


def test_what_is_under_way_here_gives_way_to_what_is_finished(folder, donor, trial):
    ours = trial()
    finish(donor, ours)
    write_checkpoint(folder, ours, "an earlier epoch")
    take_over(folder, [ours], [donor])
    assert checkpoint_of(folder, ours) == checkpoint_of(donor, ours)
    assert not list(folder.tmp.iterdir())


def test_the_first_donor_that_has_it_gives_it(folder, donor, trial, tmp_path):
    second = SweepFolder(tmp_path / "elsewhere" / "second")
    both, one = trial(seed=1), trial(seed=2)
    finish(donor, both)
    finish(second, both)
    finish(second, one)
    donors = [folder, donor, second]  # a sweep is no donor of its own
    assert take_over(folder, [one, both], donors) == {one.key: str(second.path), both.key: str(donor.path)}


def test_checkpoints_are_links_that_a_later_checkpoint_does_not_write_through(folder, donor, trial):
    from ser_ray.training.checkpoint import save_checkpoint

    ours = trial()
    finish(donor, ours)
    take_over(folder, [ours], [donor])
    last = folder.checkpoints(ours.key) / "last.pt"
    assert last.samefile(donor.checkpoints(ours.key) / "last.pt")
    save_checkpoint(last, {"epoch": 3})
    assert (donor.checkpoints(ours.key) / "last.pt").read_text() == f"last.pt of {ours.key}"


def test_where_nothing_can_be_linked_checkpoints_are_copied(folder, donor, trial, monkeypatch):
    ours = trial()
    finish(donor, ours)

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(reuse.os, "link", refuse)
    take_over(folder, [ours], [donor])
    assert checkpoint_of(folder, ours) == checkpoint_of(donor, ours)
    assert not (folder.checkpoints(ours.key) / "last.pt").samefile(donor.checkpoints(ours.key) / "last.pt")


def test_a_donor_without_checkpoints_gives_its_figures(folder, donor, trial):
    ours = trial()
    finish(donor, ours)
    shutil.rmtree(donor.checkpoints(ours.key))
    take_over(folder, [ours], [donor])
    assert read_standing(folder, [ours]).finished == {ours.key}
    assert not folder.checkpoints(ours.key).exists()


def test_a_donor_without_predictions_gives_only_what_needs_no_search(folder, donor, trial):
    covered, uncovered = trial(seed=1), trial(seed=2, methods=("exhaustive",))
    for one in (covered, uncovered):
        finish(donor, one)
        donor.part("predictions", one.key).unlink()
    assert set(take_over(folder, [covered, uncovered], [donor])) == {covered.key}
    assert read_standing(folder, [covered, uncovered]).finished == {covered.key}


@pytest.mark.parametrize("methods", [("greedy",), ("greedy", "exhaustive")], ids=["covered", "to search"])
def test_ended_at_any_point_it_leaves_nothing_half_and_goes_on(folder, donor, trial, monkeypatch, methods):
    """Every write and rename may be the last one that is done."""
    ours = trial(methods=methods)
    finish(donor, ours)
    real = {"part": reuse.write_part, "link": reuse._link_folder}
    for last in itertools.count():
        shutil.rmtree(folder.path, ignore_errors=True)
        left = itertools.count(-last)

        def counted(real, left=left):
            def step(*arguments, **named):
                if next(left) >= 0:
                    raise OSError(28, "No space left on device")
                return real(*arguments, **named)

            return step

        monkeypatch.setattr(reuse, "write_part", counted(real["part"]))
        monkeypatch.setattr(reuse, "_link_folder", counted(real["link"]))
        try:
            take_over(folder, [ours], [donor])
        except OSError:
            standing = read_standing(folder, [ours])
            assert not standing.finished, "the row comes last"
        else:
            break
        monkeypatch.setattr(reuse, "write_part", real["part"])
        monkeypatch.setattr(reuse, "_link_folder", real["link"])
        # without --reuse, what is there already can be gone on from; with it, the rest is taken over
        if standing.to_search:
            assert json.loads(read_metadata(folder.part("predictions", ours.key))["trial"])["reused_from"]
        assert take_over(folder, [ours], [donor]) == {ours.key: str(donor.path)}
        (row,) = [*read_table(folder, "trials").to_pylist(), {"reused_from": None}][:1]
        assert (row["reused_from"] is None) == (methods != ("greedy",))
        for table in ("epochs", "predictions"):
            assert rows(folder, table, ours.key) == rows(donor, table, ours.key)
        assert checkpoint_of(folder, ours) == checkpoint_of(donor, ours)
    assert last == (5 if methods == ("greedy",) else 3)


def test_rows_of_the_version_before_become_rows_of_this_one(folder, donor, trial):
    ours = trial()
    finish(donor, ours)
    for table in ("trials", "epochs", "postprocessing"):
        path = donor.part(table, ours.key)
        with pq.ParquetFile(path) as file:
            old = file.read().drop_columns([c for tables in ADDED_COLUMNS.values() for c in tables.get(table, ())])
        old = old.set_column(0, "schema_version", pa.array([2] * len(old), pa.int32()))
        pq.write_table(old, path)
    take_over(folder, [ours], [donor])
    for table in ("trials", "epochs", "postprocessing"):
        assert pq.read_schema(folder.part(table, ours.key)).names == SCHEMAS[table].names
    (row,) = read_table(folder, "trials").to_pylist()
    assert (row["schema_version"], row["reused_from"]) == (SCHEMA_VERSION, str(donor.path.resolve()))


def test_a_damaged_row_of_a_donor_is_named(folder, donor, trial):
    ours = trial()
    finish(donor, ours)
    donor.part("trials", ours.key).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=rf"{ours.key}.parquet cannot be read"):
        take_over(folder, [ours], [donor])


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


OTHER_TRAINING = {
    "patience": 7,
    "batch_size": 4,
    "sequence_s": 6.0,
    "loss": "mse",
    "optimizer": "adam",
    "learning_rate": 2e-4,
    "decay": 0.8,
    "momentum": 0.0,
    "weight_decay": 1e-4,
    "segments": "random",
    "precision": "bf16",
    "deterministic": False,
    "label_shift_s": 0.4,
    "seed": 1,
    "limit_recordings": 2,
    "limit_s": 30.0,
}
OTHER_MODEL = {
    "channels": (8, 8, 8),
    "kernels": (3, 3, 3),
    "pools": (8, 10, 8),
    "pooling": "average",
    "dropout": 0.1,
    "hidden": 8,
    "lstm_layers": 1,
    "targets": ("arousal",),
}


def test_these_are_all_the_fields_there_are():
    assert {"epochs", *OTHER_TRAINING} == {field.name for field in dataclasses.fields(TrainingConfig)}
    assert set(OTHER_MODEL) == {field.name for field in dataclasses.fields(ModelConfig)}


@pytest.mark.parametrize(
    "different",
    [
        *({name: value} for name, value in OTHER_TRAINING.items()),
        *({"model": {name: value}} for name, value in OTHER_MODEL.items()),
        {"fingerprint": "f1"},
    ],
    ids=str,
)
def test_a_trial_that_differs_in_anything_else_is_not_gone_on_from(folder, trial, different):
    donor, wanted = trial(epochs=5, **different), trial(epochs=50)
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
