"""Tables read from parts, or from one file with the rows of many: whatever it holds, they read as the parts do."""

import json
import os
import random
import shutil
import threading
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from epoch_cases import KEYS, fill, parts_alone, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.results import SCHEMA_VERSION, SCHEMAS, SweepFolder, compact, read_table
from ser_ray.results.tables import FEW, compacted_keys


def spoil(folder: SweepFolder, key: str) -> None:
    """Overwrite a part so that whoever opens it is told, and keep its stamp."""
    path = folder.part("epochs", key)
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


WRITES = st.tuples(st.just("write"), st.sampled_from(KEYS), st.integers(0, 3), st.floats(0, 1))
MANY_KEYS = st.lists(st.sampled_from([*KEYS, "other"]), min_size=FEW + 1, unique=True)
STEPS = st.lists(
    st.one_of(WRITES, WRITES, st.tuples(st.just("delete"), st.sampled_from(KEYS)), st.tuples(st.just("compact"))),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    steps=STEPS,
    keys=st.none() | st.lists(st.sampled_from([*KEYS, "other"]), max_size=FEW) | MANY_KEYS,
    columns=st.none() | st.lists(st.sampled_from(["key", "epoch", "train_loss", "best"]), min_size=1, unique=True),
)
def test_a_table_reads_as_its_parts_whatever_was_written_deleted_and_compacted(
    steps: list[tuple[Any, ...]],
    keys: list[str] | None,
    columns: list[str] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = SweepFolder(tmp_path_factory.mktemp("sweep"))
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


def test_only_parts_that_the_file_lacks_are_opened(folder: SweepFolder) -> None:
    fill(folder)
    assert compact(folder, "epochs") == 12
    write(folder, "key03", epochs=1, loss=0.1, at=100)
    write(folder, "new", at=101)
    folder.part("epochs", "key05").unlink()
    expected = parts_alone(folder, [*KEYS, "new"])
    others = [key for key in KEYS[:12] if key not in ("key03", "key05")]
    for key in others:
        spoil(folder, key)
    assert read_table(folder, "epochs").equals(expected)
    assert compact(folder, "epochs") == 12, "what the earlier file holds is taken from it"
    for key in ("key03", "new"):
        spoil(folder, key)
    assert read_table(folder, "epochs").equals(expected)
    with pytest.raises(InputError, match=r"key03\.parquet cannot be read"):
        read_table(folder, "epochs", keys=["key03"])  # a few are read from their parts


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


def test_a_file_of_another_schema_version_is_passed_over(folder: SweepFolder) -> None:
    fill(folder)
    compact(folder, "epochs")
    file = folder.compacted("epochs")
    table, packed = pq.read_table(file), pq.read_metadata(file).metadata[b"ser_ray.parts.1"]
    for version in (SCHEMA_VERSION, SCHEMA_VERSION + 1):
        listing = json.dumps(json.loads(packed[8:]) | {"schema_version": version})
        with pq.ParquetWriter(file, table.schema.remove_metadata()) as writer:
            writer.write_table(table.replace_schema_metadata(None))
            writer.add_key_value_metadata({"ser_ray.parts.1": f"{zlib.crc32(listing.encode()):08x}{listing}"})
        assert compacted_keys(folder, "epochs") == (set(KEYS[:12]) if version == SCHEMA_VERSION else set())


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


def test_a_kept_table_that_cannot_be_read_is_named(kept: SweepFolder) -> None:
    path = kept.compacted("epochs")
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "schema_version", pa.array([5] * len(table), pa.int32())), path)
    with pytest.raises(InputError, match=r"epochs\.parquet has schema version 5"):
        read_table(kept, "epochs")
    _cut(path)
    with pytest.raises(InputError, match=r"epochs\.parquet cannot be read"):
        read_table(kept, "epochs")
