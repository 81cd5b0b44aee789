"""The file of many parts: when it is made, what it holds, and what is left out of it."""

import errno
import json
import os
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from epoch_cases import KEYS, LONG_AGO_NS, fill, parts_alone, write

from ser_ray.errors import InputError
from ser_ray.results import SCHEMAS, SweepFolder, compact, compact_if_worth, make_table, read_table, tables, write_part


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


class Busy(SweepFolder):
    """A folder of which somebody else writes two parts anew when the fifth is read: one read already, and the next."""

    def part(self, table: str, key: str) -> Path:
        if key == "key04":
            for other in ("key03", "key05"):
                write(SweepFolder(self.path), other, loss=0.125, at=1000)
        return super().part(table, key)


def test_a_part_written_while_the_file_is_made_is_read_anew(folder: SweepFolder) -> None:
    fill(folder)
    compact(Busy(folder.path), "epochs")
    expected = parts_alone(folder, KEYS)
    assert expected["train_loss"].to_pylist().count(0.125) == 2
    assert read_table(folder, "epochs").equals(expected)


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


def test_parts_of_this_moment_alone_are_not_worth_it(folder: SweepFolder) -> None:
    """Else a runner that ends many trials a second would write the file at every check."""
    for key in (f"key{number}" for number in range(tables.WORTH_LEAST + 10)):
        write_part(folder, "epochs", key, make_table("epochs", [{"key": key}]))
    assert not compact_if_worth(folder, "epochs")
    assert not folder.compacted("epochs").exists()


def test_the_listing_has_parts_stamps_and_numbers_of_rows(folder: SweepFolder) -> None:
    fill(folder, 2)
    compact(folder, "epochs")
    packed = pq.read_metadata(folder.compacted("epochs")).metadata[b"ser_ray.parts.1"]
    sizes = [folder.part("epochs", key).stat().st_size for key in KEYS[:2]]
    assert json.loads(packed[8:])["parts"] == [
        ["key00", LONG_AGO_NS, sizes[0], 1],
        ["key01", LONG_AGO_NS + 1, sizes[1], 2],
    ]


def test_the_compacted_file_alone_brings_no_deleted_part_back(folder: SweepFolder) -> None:
    fill(folder)
    compact(folder, "epochs")
    shutil.rmtree(folder.path / "epochs")
    assert read_table(folder, "epochs").num_rows == 0
