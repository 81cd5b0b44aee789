"""Parts of tables on disk: whole or absent, and read back as they were written."""

import errno
import json
import os
import threading
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from part_cases import put

from ser_ray.results import SCHEMA_VERSION, SCHEMAS, SweepFolder, make_table, read_metadata, read_table, write_part


def files(folder):
    return sorted(str(p.relative_to(folder.path)) for p in folder.path.rglob("*") if p.is_file())


def test_times_are_kept_in_utc(folder):
    local = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=5)))
    put(folder, started_at=local)
    (row,) = read_table(folder, "trials", columns=["started_at"]).to_pylist()
    assert row["started_at"].replace(tzinfo=UTC) == local


def test_a_part_is_read_back_with_its_metadata(folder):
    table = make_table("predictions", [{"recording": "r", "partition": "test", "frame": 3, "time_s": 0.12}])
    path = write_part(folder, "predictions", "k", table, metadata={"trial": json.dumps({"seed": 1}), "ö": "ü"})
    assert path == folder.part("predictions", "k")
    assert read_metadata(path) == {"trial": '{"seed": 1}', "ö": "ü"}
    assert read_table(folder, "predictions").equals(table)


def test_keys_and_columns_choose_what_is_read(folder):
    for key in ("c", "a", "b"):
        put(folder, key, seed=ord(key))
    assert read_table(folder, "trials", columns=["key"])["key"].to_pylist() == ["a", "b", "c"]
    some = read_table(folder, "trials", keys=["c", "a", "absent"], columns=["seed", "key"])
    assert some.to_pylist() == [{"seed": 97, "key": "a"}, {"seed": 99, "key": "c"}]
    assert folder.keys("trials") == {"a", "b", "c"}
    assert folder.keys("epochs") == set()
    nothing = read_table(folder, "trials", keys=[], columns=["key", "kernels"])
    assert (nothing.num_rows, nothing.schema.types) == (0, [pa.string(), pa.list_(pa.int64())])
    assert read_table(folder, "epochs").schema == SCHEMAS["epochs"]


def test_a_sweep_without_results_has_none(tmp_path):
    assert read_table(SweepFolder(tmp_path / "nowhere"), "trials").num_rows == 0


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["sync", "write", "rename"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_full_disk_leaves_no_part_and_the_earlier_one_untouched(folder, monkeypatch, place, earlier):
    if earlier:
        put(folder, seed=1)

    def write_some_and_fail(table, path, **options):
        path.write_bytes(b"PAR1 and then no more")
        full_disk()

    if place == "write":
        monkeypatch.setattr(pq, "write_table", write_some_and_fail)
    else:
        monkeypatch.setattr(os, {"sync": "fsync", "rename": "replace"}[place], full_disk)
    with pytest.raises(OSError, match="No space left"):
        put(folder, seed=2)
    monkeypatch.undo()
    assert files(folder) == (["trials/a.parquet"] if earlier else [])
    assert read_table(folder, "trials", columns=["seed"])["seed"].to_pylist() == ([1] if earlier else [])


def test_a_part_is_on_the_disk_before_it_is_in_its_place(folder, monkeypatch):
    order = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append("sync"), sync(number))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), rename(a, b))[1])
    put(folder)
    assert order == ["sync", "rename"]


def test_only_whole_parts_lie_in_the_folders_of_the_tables(folder, monkeypatch):
    inside = []
    write = pq.write_table

    def spy(table, path, **options):
        write(table, path, **options)
        inside.extend(files(folder))

    monkeypatch.setattr(pq, "write_table", spy)
    put(folder)
    assert len(inside) == 1
    assert inside[0].startswith(".tmp/")
    assert files(folder) == ["trials/a.parquet"]


@pytest.mark.parametrize("fails", ["write", "sync", "rename"])
def test_an_error_of_writing_names_the_file(folder, monkeypatch, fails):
    """To write and to sync raise errors without a path; without one, nobody knows whether it is of the results."""
    if fails == "write":
        monkeypatch.setattr(pq, "write_table", full_disk)
    else:
        monkeypatch.setattr(os, "fsync" if fails == "sync" else "replace", full_disk)
    with pytest.raises(OSError, match="No space left on device") as raised:
        put(folder)
    assert raised.value.filename == str(folder.part("trials", "a"))
    assert not files(folder)


def test_what_is_written_now_can_be_read_now(folder):
    keys, stop, errors = [f"k{n}" for n in range(4)], threading.Event(), []

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            key = keys[number % len(keys)]
            put(folder, key, "epochs", epoch=number)
            if number % 7 == 0:
                folder.part("epochs", keys[number % 3]).unlink(missing_ok=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = set()
        while len(seen) < 25:
            rows = read_table(folder, "epochs", columns=["key", "epoch"]).to_pylist()
            errors += [row for row in rows if row["key"] != keys[row["epoch"] % len(keys)]]
            seen |= {row["epoch"] for row in rows}
    finally:
        stop.set()
        writer.join()
    assert errors == []


class Shrinking(SweepFolder):
    """A folder of which somebody else deletes a part once it was listed."""

    def stamps(self, table):
        listed = super().stamps(table)
        self.part(table, "gone").unlink()
        return listed


def test_a_part_that_goes_away_after_it_was_listed_is_no_error(folder):
    for key in ("gone", "here"):
        put(folder, key)
    assert read_table(Shrinking(folder.path), "trials", columns=["key"])["key"].to_pylist() == ["here"]


def values_of(kind):
    if pa.types.is_list(kind):
        return st.lists(values_of(kind.value_type), max_size=3)
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_timestamp(kind):
        return st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1))
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width, allow_nan=False)
    if pa.types.is_integer(kind):
        return st.integers(-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def tables(draw):
    name = draw(st.sampled_from(sorted(SCHEMAS)))
    schema = SCHEMAS[name]
    ours = ("schema_version", "key")
    columns = draw(st.lists(st.sampled_from([n for n in schema.names if n not in ours]), unique=True))
    values = {column: st.none() | values_of(schema.field(column).type) for column in columns}
    if "key" in schema.names:
        values["key"] = st.just("k")
    return name, draw(st.lists(st.fixed_dictionaries(values), min_size=1, max_size=3))


@settings(deadline=None, max_examples=80)
@given(tables())
def test_rows_come_back_as_they_were(tmp_path_factory, given_rows):
    name, rows = given_rows
    folder = SweepFolder(tmp_path_factory.mktemp("rows"))
    write_part(folder, name, "k", make_table(name, rows))
    found = read_table(folder, name).to_pylist()
    assert len(found) == len(rows)
    for row, back in zip(rows, found, strict=True):
        version = {"schema_version": SCHEMA_VERSION} if "schema_version" in SCHEMAS[name].names else {}
        assert back == {**dict.fromkeys(SCHEMAS[name].names), **row, **version}
