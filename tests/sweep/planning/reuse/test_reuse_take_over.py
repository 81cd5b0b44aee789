"""Trials taken over whole from other sweeps; never half."""

import itertools
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reuse_cases import checkpoint_of, everything, finish, rows, write_checkpoint, write_row, write_trained

from ser_ray.errors import InputError
from ser_ray.results import SCHEMAS, SweepFolder, read_metadata, read_table
from ser_ray.sweep.planning import reuse
from ser_ray.sweep.planning.reuse import reusable, take_over
from ser_ray.sweep.planning.states import read_states
from ser_ray.trial import search_trial


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
    assert read_states(folder, [ours, other]).finished == {ours.key}
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
    standing = read_states(folder, [ours])
    assert standing.to_search == (ours,)
    assert folder.keys("postprocessing") == set()
    search_trial(folder, ours.key)
    (row,) = read_table(folder, "trials").to_pylist()
    assert (row["sweep"], row["reused_from"]) == ("new", str(donor.path.resolve()))
    assert row["ccc_devel_exhaustive_arousal"] >= row["ccc_devel_greedy_arousal"]
    searched = {row["method"] for row in read_table(folder, "postprocessing").to_pylist()}
    assert searched == {"greedy", "exhaustive"}


@pytest.mark.parametrize(
    "search", [{"choice": "joint"}, {"max_window_s": 1.0}, {"max_shift_s": 1.0}, {"forward_only": True}]
)
def test_another_grid_or_choice_is_searched_anew_with_what_is_wanted(folder, donor, trial, search):
    ours = trial(search=search)
    finish(donor, ours)
    assert take_over(folder, [ours], [donor]) == {ours.key: str(donor.path)}
    assert read_states(folder, [ours]).to_search == (ours,)
    search_trial(folder, ours.key)
    found = read_table(folder, "postprocessing").to_pylist()
    assert {name: found[0][name] for name in search} == search
    assert read_states(folder, [ours]).finished == {ours.key}


def test_more_methods_than_wanted_are_no_reason_to_search(folder, donor, trial):
    ours = trial(methods=("greedy",))
    finish(donor, ours, methods=("greedy", "exhaustive"))
    take_over(folder, [ours], [donor])
    assert read_states(folder, [ours]).finished == {ours.key}
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
    assert read_states(folder, [ours]).finished == {ours.key}
    assert not folder.checkpoints(ours.key).exists()


def test_a_donor_without_predictions_gives_only_what_needs_no_search(folder, donor, trial):
    covered, uncovered = trial(seed=1), trial(seed=2, methods=("exhaustive",))
    for one in (covered, uncovered):
        finish(donor, one)
        donor.part("predictions", one.key).unlink()
    assert set(take_over(folder, [covered, uncovered], [donor])) == {covered.key}
    assert read_states(folder, [covered, uncovered]).finished == {covered.key}


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
            standing = read_states(folder, [ours])
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


def test_rows_of_another_version_are_refused_with_the_way_out(folder, donor, trial):
    ours = trial()
    finish(donor, ours)
    path = donor.part("trials", ours.key)
    with pq.ParquetFile(path) as file:
        rows = file.read()
    pq.write_table(rows.set_column(0, "schema_version", pa.array([5] * len(rows), pa.int32())), path)
    with pytest.raises(
        InputError,
        match=rf"{ours.key}\.parquet has schema version 5, .*where its trials are trained "
        "again",
    ):
        take_over(folder, [ours], [donor])


def test_a_damaged_row_of_a_donor_is_named(folder, donor, trial):
    ours = trial()
    finish(donor, ours)
    donor.part("trials", ours.key).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=rf"{ours.key}.parquet cannot be read"):
        take_over(folder, [ours], [donor])
