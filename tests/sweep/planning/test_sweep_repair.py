"""Damaged parts of a sweep that goes on: set aside, told, and made again from what stands."""

import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from part_damage import UNOPENED, finished_trial, flip, kinds

from ser_ray.errors import InputError
from ser_ray.results import SCHEMA_VERSION, SCHEMAS, SweepFolder, compact, find_damaged, read_table, write_part
from ser_ray.sweep.planning.states import MOST_TOLD, read_states, repair
from ser_ray.trial import Trial, search_trial, train_trial

pytestmark = pytest.mark.timeout(30, func_only=True)  # what waits for what never comes is ended

TABLES = tuple(SCHEMAS)
CASES = [(table, kind) for table in TABLES for kind in kinds(table)]
CASES.remove(("predictions", "a flipped bit"))  # which is looked for where they are to be searched, see below
VOLATILE = {"search_seconds", "seconds", "ended_at"}


@pytest.fixture(scope="module")
def finished(tiny_corpus, tiny_config, tmp_path_factory):
    """A trial that is trained and searched."""
    return finished_trial(tmp_path_factory.mktemp("finished") / "sweep", tiny_corpus, tiny_config(epochs=2))


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of its sweep."""
    return SweepFolder(shutil.copytree(finished.folder.path, tmp_path / "sweep"))


def rows(folder, table):
    found = read_table(folder, table).to_pylist()
    return [{column: value for column, value in row.items() if column not in VOLATILE} for row in found]


def put(folder, key, table, content):
    path = folder.part(table, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def repaired(folder, *planned):
    said = []
    repair(folder, set(planned), said.append)
    return said


@pytest.mark.parametrize(("table", "kind"), CASES, ids=[f"{table}: {kind}" for table, kind in CASES])
def test_a_damaged_part_is_set_aside_and_its_trial_goes_on(folder, finished, table, kind):
    key = finished.key
    path, before = folder.part(table, key), {name: rows(folder, name) for name in TABLES}
    others = {part: part.read_bytes() for name in TABLES if (part := folder.part(name, key)) != path}
    kinds(table)[kind](path)
    was = os.lstat(path)
    (line,) = repaired(folder, key)
    aside = folder.damaged(table, key)
    assert (os.lstat(aside).st_ino, os.lstat(aside).st_size) == (was.st_ino, was.st_size), "it is kept as it was"
    assert line.startswith(f"DAMAGED   {table}/{key}.parquet: ")
    assert f"; set aside as damaged/{table}/{key}.parquet; " in line
    assert "\n" not in line
    assert len(line) < 600
    assert {part: part.read_bytes() for part in others} == others, "nothing that is sound is touched"
    assert find_damaged(folder) == ()
    standing = read_states(folder, [finished])
    if table == "epochs":
        assert line.endswith("restored from last.pt")
        assert rows(folder, "epochs") == before["epochs"]
        assert standing.finished == {key}
    elif table == "predictions":
        assert "the row is kept; to restore the part from the checkpoint, delete the row (rm " in line
        assert standing.finished == {key}
    else:
        assert line.endswith("its post-processing is searched again")
        assert standing.to_search == (finished,)
    assert repaired(folder, key) == []


@pytest.mark.parametrize("table", ["trials", "postprocessing"])
def test_a_row_and_chains_made_again_are_those_that_were_lost(folder, finished, table):
    before = {name: rows(folder, name) for name in TABLES}
    folder.part(table, finished.key).write_bytes(b"")
    repaired(folder, finished.key)
    search_trial(folder, finished.key)
    assert {name: rows(folder, name) for name in TABLES} == before
    assert read_states(folder, [finished]).finished == {finished.key}


@pytest.mark.parametrize("kind", kinds("predictions"))
def test_a_trial_without_row_is_trained_on_where_its_predictions_are_damaged(folder, finished, kind):
    before = {name: rows(folder, name) for name in TABLES}
    for table in ("trials", "postprocessing"):
        folder.part(table, finished.key).unlink()
    kinds("predictions")[kind](folder.part("predictions", finished.key))
    (line,) = repaired(folder, finished.key)
    assert line.endswith("its training continues")
    assert read_states(folder, [finished]).to_train == (finished,)
    if kind == "a folder":  # one that cannot be renamed over
        train_trial(Trial(**{**vars(finished), "folder": folder}), torch.device("cpu"))
        search_trial(folder, finished.key)
        for table in ("epochs", "predictions", "postprocessing"):
            assert rows(folder, table) == before[table]


@pytest.mark.parametrize("column", range(len(SCHEMAS["predictions"])))
def test_a_flipped_bit_in_any_column_is_noticed_where_a_search_would_read_it(folder, finished, column):
    folder.part("trials", finished.key).unlink()
    flip(folder.part("predictions", finished.key), column)
    (line,) = repaired(folder, finished.key)
    assert line.endswith("its training continues")


def test_everything_damaged_at_once_is_trained_on(folder, finished):
    for table in TABLES:
        folder.part(table, finished.key).write_bytes(b"PAR1")
    (folder.checkpoints(finished.key) / "last.pt").write_bytes(b"")
    said = repaired(folder, finished.key)
    assert [line.split()[1].split("/")[0] for line in said] == list(TABLES)
    assert read_states(folder, [finished]).to_train == (finished,)


@pytest.mark.parametrize("gone", ["previous.pt", "last.pt", "all", "all but of one epoch less"])
def test_epochs_come_from_the_newest_checkpoint_that_holds_them_all(folder, finished, gone):
    before, own = rows(folder, "epochs"), folder.checkpoints(finished.key)
    if gone == "last.pt":
        shutil.copy(own / "last.pt", own / "previous.pt")
    if gone in ("all", "last.pt", "all but of one epoch less"):
        (own / "last.pt").write_bytes(b"garbage")
    if gone in ("all", "previous.pt"):
        (own / "previous.pt").unlink()
    folder.part("epochs", finished.key).write_bytes(b"")
    (line,) = repaired(folder, finished.key)
    if gone in ("all", "all but of one epoch less"):
        assert line.endswith("no checkpoint has its epochs any more; the row is kept")
        assert rows(folder, "epochs") == []
    else:
        assert line.endswith(f"restored from {'previous.pt' if gone == 'last.pt' else 'last.pt'}")
        assert rows(folder, "epochs") == before


def test_nothing_that_was_set_aside_is_overwritten(folder, finished):
    for number in range(3):
        put(folder, finished.key, "trials", f"damage {number}".encode())
        repaired(folder, finished.key)
    names = ["", "-2", "-3"]
    paths = [folder.path / "damaged" / "trials" / f"{finished.key}{name}.parquet" for name in names]
    assert [path.read_text() for path in paths] == ["damage 0", "damage 1", "damage 2"]


def test_a_part_of_no_trial_of_this_plan_is_set_aside_too(folder, finished):
    put(folder, "stranger", "trials", b"PAR1")
    (line,) = repaired(folder, finished.key)
    assert line.endswith("it is not restored, since its trial is not in this plan")
    assert len(rows(folder, "trials")) == 1


def test_of_very_many_damaged_parts_the_first_are_told(folder, finished):
    for number in range(MOST_TOLD + 3):
        put(folder, f"stranger{number}", "trials", b"PAR1")
    said = repaired(folder, finished.key)
    assert len(said) == MOST_TOLD + 1
    assert said[-1] == "DAMAGED   and 3 more parts, also set aside in damaged/"
    assert find_damaged(folder) == ()


def test_a_part_of_a_later_version_is_no_damage(folder, finished):
    path = folder.part("trials", finished.key)
    write_part(folder, "trials", finished.key, read_table(folder, "trials"))
    later = read_table(folder, "trials")
    pq.write_table(later.set_column(0, "schema_version", pa.array([SCHEMA_VERSION + 1], pa.int32())), path)
    with pytest.raises(InputError, match="which another version of ser_ray wrote"):
        repaired(folder, finished.key)
    assert path.is_file()
    assert not (folder.path / "damaged").exists()


@pytest.mark.parametrize("kind", UNOPENED)
@pytest.mark.parametrize("table", ["trials", "postprocessing"])
def test_a_damaged_file_of_many_parts_gives_way_to_the_parts(folder, finished, table, kind):
    before = rows(folder, table)
    compact(folder, table)
    UNOPENED[kind](folder.compacted(table))
    assert rows(folder, table) == before, "it is not needed"
    (line,) = repaired(folder, finished.key)
    assert line == f"DAMAGED   {table}.parquet: set aside as damaged/{table}.parquet; the parts contain all of its rows"
    compact(folder, table)
    assert rows(folder, table) == before


def test_what_another_driver_has_made_sound_meanwhile_stays(folder, finished, monkeypatch):
    path = folder.part("trials", finished.key)
    sound = path.read_bytes()
    path.write_bytes(b"")
    found = find_damaged(folder)
    path.write_bytes(sound)
    monkeypatch.setattr("ser_ray.sweep.planning.states.find_damaged", lambda folder: found)
    assert repaired(folder, finished.key) == []
    assert path.read_bytes() == sound
