"""Parts that are damaged, of another version or on a file system in trouble: named, and never read as numbers."""

import errno
import os
import pickle
import shlex

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from part_cases import put

from ser_ray.errors import InputError
from ser_ray.results import (
    SCHEMA_VERSION,
    DamagedPartError,
    SweepFolder,
    make_table,
    read_metadata,
    read_table,
    write_part,
)


def test_damaged_predictions_are_named_with_what_makes_them_again(folder):
    """A sweep that goes on reads those alone that it needs: it would not notice them."""
    path = folder.part("predictions", "a b")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError) as raised:
        read_table(folder, "predictions", keys=["a b"])
    files = shlex.join([str(path), str(folder.part("trials", "a b"))])
    assert str(raised.value).endswith(f"to restore it from its checkpoint: rm -f {files}, and run the sweep again")


@pytest.mark.parametrize("length", [0, 3, 0.5, 0.99], ids=["empty", "three bytes", "half", "nearly whole"])
def test_a_part_cut_short_is_named_with_the_way_out(folder, length):
    put(folder, "b")
    path = put(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: length if isinstance(length, int) else int(length * len(whole))])
    with pytest.raises(InputError) as raised:
        read_table(folder, "trials")
    assert str(raised.value).startswith(f"{path} cannot be read (")
    assert str(raised.value).endswith("run the sweep again to set it aside and restore it")
    with pytest.raises(InputError, match=r"a\.parquet cannot be read"):
        read_metadata(path)
    path.unlink()
    assert read_table(folder, "trials").num_rows == 1


@settings(deadline=None, max_examples=60)
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=20))
def test_damage_anywhere_is_read_or_named_and_never_a_traceback(tmp_path_factory, changes):
    folder = SweepFolder(tmp_path_factory.mktemp("damaged"))
    table = make_table("trials", [{"key": "a", "kernels": [8, 6], "error": "x" * 100}])
    path = write_part(folder, "trials", "a", table, metadata={"trial": "{}"})
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    for read in (lambda: read_table(folder, "trials"), lambda: read_metadata(path)):
        try:
            read()
        except InputError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 - it need not be raised


def test_metadata_that_is_no_text_is_named(folder):
    path = put(folder)
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata({b"trial": b"\xff"}), path)
    with pytest.raises(InputError, match="cannot be read"):
        read_metadata(path)


def test_a_part_that_pyarrow_cannot_understand_is_named(folder, monkeypatch):
    put(folder)

    def refuse(path, **options):
        raise pa.ArrowNotImplementedError("Integers with more than 64 bits not implemented")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Integers with more"):
        read_table(folder, "trials")


def without(table, column):
    return table.drop_columns([column])


def replaced(column, values):
    return lambda table: table.set_column(table.schema.get_field_index(column), column, pa.array(values))


OTHER_COLUMNS = f"its columns are not those of trials in schema version {SCHEMA_VERSION}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: without(table, "seed"), OTHER_COLUMNS),
        (lambda table: without(table, "schema_version"), "it has no column schema_version"),
        (lambda table: without(table, "key"), "it has no column key"),
        (lambda table: table.append_column("accuracy", pa.array([0.5])), OTHER_COLUMNS),
        (lambda table: table.select([*reversed(table.schema.names)]), OTHER_COLUMNS),
        (replaced("schema_version", [str(SCHEMA_VERSION)]), "its column schema_version is not one number"),
        (replaced("schema_version", [None]), "its column schema_version is not one number"),
        (replaced("seed", ["one"]), OTHER_COLUMNS),
        (replaced("kernels", ["8-6-6"]), OTHER_COLUMNS),
        (replaced("key", ["b"]), "it has rows of b"),
        (replaced("key", [None]), "it has rows of None"),
    ],
    ids=[
        "one less",
        "no version",
        "no key",
        "one more",
        "other order",
        "text for the version",
        "null for the version",
        "text for a number",
        "text for a list",
        "another trial's",
        "nobody's",
    ],
)
def test_a_part_of_another_schema_or_trial_is_refused(folder, change, reason):
    path = put(folder, seed=1)
    pq.write_table(change(pq.ParquetFile(path).read()), path)
    with pytest.raises(DamagedPartError) as raised:
        read_table(folder, "trials")
    assert (raised.value.path, raised.value.reason) == (path, reason)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value), "it comes back from another process"


@pytest.mark.parametrize("name", ["trials", "epochs", "postprocessing"])
@pytest.mark.parametrize("version", [0, 5, SCHEMA_VERSION + 1])
@pytest.mark.parametrize("columns", [None, ["key"]])
def test_another_version_is_refused_and_no_damage_whatever_columns_are_read(folder, name, version, columns):
    path = put(folder, name=name)
    pq.write_table(replaced("schema_version", [version])(pq.ParquetFile(path).read()), path)
    with pytest.raises(InputError) as raised:
        read_table(folder, name, columns=columns)
    assert not isinstance(raised.value, DamagedPartError)
    assert str(raised.value) == (
        f"{path} has schema version {version}, which another version of ser_ray wrote; this version reads "
        f"{SCHEMA_VERSION}: run the sweep again in another folder (--results DIR), where its trials are trained again"
    )


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_file_system_in_trouble_is_no_damage(folder, monkeypatch, number):
    path = put(folder)

    def fail(path, **options):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(InputError, match="check its file system") as raised:
        read_table(folder, "trials")
    assert not isinstance(raised.value, DamagedPartError)
    assert str(path) in str(raised.value)


def test_a_flipped_byte_in_the_data_is_never_read_as_a_number(folder):
    rows = [{"key": "k", "epoch": number, "train_loss": 1 / number} for number in range(1, 400)]
    path = write_part(folder, "epochs", "k", make_table("epochs", rows))
    whole, table = path.read_bytes(), read_table(folder, "epochs")
    column = pq.ParquetFile(path).metadata.row_group(0).column(table.schema.get_field_index("train_loss"))
    start = column.dictionary_page_offset or column.data_page_offset
    for offset in range(start + 40, start + column.total_compressed_size, 97):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        with pytest.raises(InputError, match="cannot be read"):
            read_table(folder, "epochs")
