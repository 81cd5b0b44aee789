"""One file that holds the rows of many parts: whatever it holds, a table reads as its parts do."""

import errno
import json
import os
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.results import SCHEMAS, SweepFolder, compact, compact_if_worth, make_table, read_table, tables, write_part
from ser_ray.results.parts import read_part

LONG_AGO_NS = 1_700_000_000_000_000_000
KEYS = [f"key{number:02d}" for number in range(14)]


def write(folder: SweepFolder, key: str, *, epochs: int = 1, loss: float = 0.5, at: int = 0) -> Path:
    """Write a part of `epochs` as if long ago, at a time of its own."""
    rows = [{"key": key, "epoch": number, "train_loss": loss, "best": None} for number in range(epochs)]
    path = write_part(folder, "epochs", key, make_table("epochs", rows))
    os.utime(path, ns=(LONG_AGO_NS + at, LONG_AGO_NS + at))
    return path


def fill(folder: SweepFolder, count: int = 12) -> None:
    for number in range(count):
        write(folder, f"key{number:02d}", epochs=number % 3 + 1, at=number)


def parts_alone(folder: SweepFolder, keys: list[str], columns: list[str] | None = None) -> pa.Table:
    read = [read_part(folder.part("epochs", key), "epochs", columns) for key in sorted(set(keys))]
    there = [part for part in read if part is not None]
    schema = SCHEMAS["epochs"]
    empty = (schema if columns is None else pa.schema([schema.field(c) for c in columns])).empty_table()
    return pa.concat_tables([empty, *there])


def opened_parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that the keys of parts that are opened go to."""
    opened: list[str] = []

    def spy(path: Path, *arguments: Any, **options: Any) -> pa.Table | None:
        opened.append(path.stem)
        return read_part(path, *arguments, **options)

    monkeypatch.setattr(tables, "read_part", spy)
    return opened


WRITES = st.tuples(st.just("write"), st.sampled_from(KEYS), st.integers(0, 3), st.floats(0, 1))
STEPS = st.lists(
    st.one_of(WRITES, WRITES, st.tuples(st.just("delete"), st.sampled_from(KEYS)), st.tuples(st.just("compact"))),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    steps=STEPS,
    few=st.sampled_from([0, 8]),
    keys=st.none() | st.lists(st.sampled_from([*KEYS, "other"])),
    columns=st.none() | st.lists(st.sampled_from(["key", "epoch", "train_loss", "best"]), min_size=1, unique=True),
)
def test_a_table_reads_as_its_parts_whatever_was_written_deleted_and_compacted(
    steps: list[tuple[Any, ...]],
    few: int,
    keys: list[str] | None,
    columns: list[str] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = SweepFolder(tmp_path_factory.mktemp("sweep"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "FEW", few)
        for at, step in enumerate([*[("write", key, 2, 0.25) for key in KEYS[::2]], *steps]):
            if step[0] == "write":
                write(folder, step[1], epochs=step[2], loss=step[3], at=at)
            elif step[0] == "delete":
                folder.part("epochs", step[1]).unlink(missing_ok=True)
            else:
                compact(folder, "epochs")
        read = read_table(folder, "epochs", keys=keys, columns=columns)
    expected = parts_alone(folder, KEYS if keys is None else keys, columns)
    assert read.equals(expected)
    assert read.schema.equals(expected.schema, check_metadata=True)


def test_only_parts_that_the_file_lacks_are_opened(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder)
    assert compact(folder, "epochs") == 12
    write(folder, "key03", epochs=1, loss=0.1, at=100)
    write(folder, "new", at=101)
    folder.part("epochs", "key05").unlink()
    opened = opened_parts(monkeypatch)
    rows = read_table(folder, "epochs")
    assert opened == ["key03", "new"]
    assert "key05" not in rows["key"].to_pylist()
    opened.clear()
    compact(folder, "epochs")
    assert opened == ["key03", "new"], "what the earlier file holds is taken from it"
    opened.clear()
    assert read_table(folder, "epochs").equals(rows)
    assert opened == []


def test_the_parts_stay_and_the_file_reads_with_pandas_polars_and_duckdb(folder: SweepFolder) -> None:
    fill(folder)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (folder.path / "epochs").iterdir()}
    compact(folder, "epochs")
    file = folder.compacted("epochs")
    assert file == folder.path / "epochs.parquet"
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in (folder.path / "epochs").iterdir()} == before
    expected = parts_alone(folder, KEYS)
    assert pq.read_table(file).replace_schema_metadata(None).equals(expected)
    assert len(pd.read_parquet(file)) == len(expected)
    assert pl.read_parquet(file)["key"].to_list() == expected["key"].to_pylist()
    assert duckdb.sql(f"select count(*) from '{file}'").fetchall() == [(len(expected),)]
    assert list(folder.tmp.iterdir()) == []


def test_a_part_of_this_moment_is_not_taken_in(folder: SweepFolder) -> None:
    """Written again at once, with as many bytes, within the tick of a coarse clock, it would look the same."""
    fill(folder)
    now = write_part(folder, "epochs", "now", make_table("epochs", [{"key": "now", "train_loss": 0.5}]))
    stamp = now.stat()
    assert compact(folder, "epochs") == 12
    write_part(folder, "epochs", "now", make_table("epochs", [{"key": "now", "train_loss": 0.25}]))
    os.utime(now, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert now.stat().st_size == stamp.st_size
    assert read_table(folder, "epochs")["train_loss"].to_pylist()[-1] == 0.25


def test_a_part_written_while_the_file_is_made_is_read_anew(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)

    def slow(path: Path, *arguments: Any) -> pa.Table | None:
        part = read_part(path, *arguments)
        if path.stem in ("key03", "key05"):
            write(folder, path.stem, loss=0.125, at=1000)
        return part

    with monkeypatch.context() as patch:
        patch.setattr(tables, "read_part", slow)
        compact(folder, "epochs")
    assert read_table(folder, "epochs").equals(parts_alone(folder, KEYS))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _remade(path: Path, replace: tuple[bytes, bytes] | None, rows: int | None = None) -> None:
    """Write the file anew, its listing changed, or without it."""
    table = pq.read_table(path)
    listing = pq.read_metadata(path).metadata[b"ser_ray.parts.1"]
    with pq.ParquetWriter(path, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None)[:rows])
        if replace is not None:
            writer.add_key_value_metadata({"ser_ray.parts.1": listing.replace(*replace)})


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _flip,
        _empty,
        _folder,
        lambda path: _remade(path, None),
        lambda path: _remade(path, (b"key03", b"key01")),
        lambda path: _remade(path, (b"", b""), rows=5),
        lambda path: pq.write_table(pq.read_table(path).drop_columns(["best"]), path),
    ],
    ids=["cut", "flipped", "empty", "folder", "foreign", "changed listing", "rows gone", "column gone"],
)
def test_a_file_that_is_not_sound_is_passed_over(folder: SweepFolder, damage: Any) -> None:
    fill(folder)
    compact(folder, "epochs")
    damage(folder.compacted("epochs"))
    assert read_table(folder, "epochs").equals(parts_alone(folder, KEYS))


@settings(max_examples=80, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_changes_no_row(
    place: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = SweepFolder(tmp_path_factory.mktemp("sweep"))
    fill(folder)
    compact(folder, "epochs")
    data = bytearray(folder.compacted("epochs").read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    folder.compacted("epochs").write_bytes(data)
    assert read_table(folder, "epochs").equals(parts_alone(folder, KEYS))


def test_a_flipped_byte_in_the_data_is_never_read_as_a_number(folder: SweepFolder) -> None:
    rng = random.Random(1)
    for number in range(40):
        write(folder, f"key{number:02d}", loss=rng.random(), at=number)
    compact(folder, "epochs")
    file = folder.compacted("epochs")
    whole = file.read_bytes()
    column = pq.read_metadata(file).row_group(0).column(SCHEMAS["epochs"].get_field_index("train_loss"))
    expected = read_table(folder, "epochs")
    end = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size
    for place in range(end - 60, end, 6):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_table(folder, "epochs").equals(expected)


def test_a_file_of_another_schema_version_is_passed_over(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder)
    with monkeypatch.context() as patch:
        patch.setattr(tables, "SCHEMA_VERSION", 99)
        compact(folder, "epochs")
    opened = opened_parts(monkeypatch)
    read_table(folder, "epochs")
    assert len(opened) == 12


def test_a_damaged_part_is_left_out_of_the_file_and_named_by_the_reader(folder: SweepFolder) -> None:
    fill(folder)
    damaged = folder.part("epochs", "key04")
    damaged.write_bytes(b"PAR1 nonsense")
    os.utime(damaged, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert compact(folder, "epochs") == 11
    with pytest.raises(InputError, match=r"key04\.parquet cannot be read"):
        read_table(folder, "epochs")


def test_a_full_disk_leaves_the_earlier_file(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder)
    compact(folder, "epochs")
    earlier = folder.compacted("epochs").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        compact(folder, "epochs")
    assert folder.compacted("epochs").read_bytes() == earlier
    assert list(folder.tmp.iterdir()) == []


def test_no_parts_make_a_file_without_rows(folder: SweepFolder) -> None:
    assert compact(folder) == 0
    assert read_table(folder, "trials").num_rows == 0
    assert pq.read_table(folder.compacted("trials")).schema.remove_metadata() == SCHEMAS["trials"]


def test_it_is_worth_it_when_enough_parts_are_not_in_the_file(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "WORTH_LEAST", 3)
    monkeypatch.setattr(tables, "WORTH_PARTS", 5)
    monkeypatch.setattr(tables, "WORTH_SHARE", 0.3)
    fill(folder, 2)
    assert not compact_if_worth(folder, "epochs"), "two parts are read as they are"
    fill(folder, 3)
    assert compact_if_worth(folder, "epochs")
    assert not compact_if_worth(folder, "epochs"), "it holds them all"
    fill(folder, 12)
    assert compact_if_worth(folder, "epochs")
    for at, key in enumerate(KEYS[:3]):
        write(folder, key, at=100 + at)
    assert not compact_if_worth(folder, "epochs"), "three of twelve are less than 30 %"
    write(folder, KEYS[3], at=103)
    assert compact_if_worth(folder, "epochs")
    for number in range(100, 140):
        write(folder, f"key{number}", at=number)
    compact(folder, "epochs")
    for at, key in enumerate(KEYS[:5]):
        write(folder, key, at=200 + at)
    assert compact_if_worth(folder, "epochs"), "five parts are enough, whatever their share"


def test_parts_of_this_moment_alone_are_not_worth_it(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a runner that ends many trials a second would write the file at every check."""
    monkeypatch.setattr(tables, "WORTH_LEAST", 3)
    for key in KEYS:
        write_part(folder, "epochs", key, make_table("epochs", [{"key": key}]))
    assert not compact_if_worth(folder, "epochs")
    assert not folder.compacted("epochs").exists()


def test_readers_see_whole_tables_while_others_write_and_compact(folder: SweepFolder) -> None:
    fill(folder)
    stop = threading.Event()
    errors: list[BaseException] = []

    def work(step: Any) -> None:
        try:
            at = 1000
            while not stop.is_set():
                at += 1
                step(at)
        except BaseException as error:  # shown by the assertion below
            errors.append(error)

    steps = [lambda at: write(folder, KEYS[at % 14], loss=at / 10_000, at=at), lambda _: compact(folder, "epochs")]
    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            keys = read_table(folder, "epochs", columns=["key"])["key"].to_pylist()
            assert set(KEYS[:12]) <= set(keys)
            assert keys == sorted(keys)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert read_table(folder, "epochs").equals(parts_alone(folder, KEYS))


def test_the_listing_has_parts_stamps_and_numbers_of_rows(folder: SweepFolder) -> None:
    fill(folder, 2)
    compact(folder, "epochs")
    packed = pq.read_metadata(folder.compacted("epochs")).metadata[b"ser_ray.parts.1"]
    sizes = [folder.part("epochs", key).stat().st_size for key in KEYS[:2]]
    assert json.loads(packed[8:])["parts"] == [
        ["key00", LONG_AGO_NS, sizes[0], 1],
        ["key01", LONG_AGO_NS + 1, sizes[1], 2],
    ]


@pytest.fixture
def kept(folder: SweepFolder) -> SweepFolder:
    """A table in one file, as `results/keep.py` writes it, and no part."""
    fill(folder)
    table = read_table(folder, "epochs")
    shutil.rmtree(folder.path / "epochs")
    pq.write_table(table, folder.compacted("epochs"))
    return folder


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    keys=st.none() | st.lists(st.sampled_from([*KEYS, "other"])),
    columns=st.none() | st.lists(st.sampled_from(["key", "epoch", "train_loss"]), min_size=1, unique=True),
)
def test_a_table_without_parts_is_read_from_its_file(
    kept: SweepFolder, keys: list[str] | None, columns: list[str] | None
) -> None:
    expected = pq.read_table(kept.compacted("epochs")).to_pylist()
    rows = [
        {name: row[name] for name in columns or SCHEMAS["epochs"].names}
        for row in expected
        if keys is None or row["key"] in keys
    ]
    read = read_table(kept, "epochs", keys=keys, columns=columns)
    assert read.to_pylist() == rows
    assert read.schema.names == (columns or SCHEMAS["epochs"].names)


def test_a_table_of_which_there_are_parts_is_read_from_them_alone(kept: SweepFolder) -> None:
    write(kept, "another")
    assert read_table(kept, "epochs")["key"].to_pylist() == ["another"]


def test_the_compacted_file_alone_brings_no_deleted_part_back(folder: SweepFolder) -> None:
    fill(folder)
    compact(folder, "epochs")
    shutil.rmtree(folder.path / "epochs")
    assert read_table(folder, "epochs").num_rows == 0


def test_a_kept_table_that_cannot_be_read_is_named(kept: SweepFolder) -> None:
    path = kept.compacted("epochs")
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "schema_version", pa.array([5] * len(table), pa.int32())), path)
    with pytest.raises(InputError, match=r"epochs\.parquet has schema version 5"):
        read_table(kept, "epochs")
    _cut(path)
    with pytest.raises(InputError, match=r"epochs\.parquet cannot be read"):
        read_table(kept, "epochs")
