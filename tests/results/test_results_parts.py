"""Tables on disk: their schemas, parts that are whole or absent, and the errors of reading them."""

import errno
import json
import math
import os
import pickle
import shlex
import threading
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray import results
from ser_ray.errors import InputError
from ser_ray.results import (
    CCC_COLUMNS,
    SCHEMA_VERSION,
    SCHEMAS,
    DamagedPartError,
    SweepFolder,
    ccc_column,
    make_table,
    open_sweep,
    read_metadata,
    read_table,
    write_part,
)

TEXT, INT, FLOAT = pa.string(), pa.int64(), pa.float64()

PROMISED_TRIALS = {
    "schema_version": pa.int32(),
    **dict.fromkeys(["key", "sweep", "status", "error", "model", "loss", "optimizer", "segments"], TEXT),
    **dict.fromkeys(["precision", "backend", "device", "host"], TEXT),
    "deterministic": pa.bool_(),
    **dict.fromkeys(["git_commit", "git_diff", "versions", "corpus", "corpus_fingerprint"], TEXT),
    **dict.fromkeys(["job_id", "reused_from"], TEXT),
    **dict.fromkeys(["cpus", "gpus"], FLOAT),
    "restarts": INT,
    **dict.fromkeys(["kernels", "pools", "channels"], pa.list_(INT)),
    "overlap_ratios": pa.list_(FLOAT),
    **dict.fromkeys(["hidden", "batch_size", "seed", "epochs", "best_epoch", "parameters", "peak_memory_bytes"], INT),
    **dict.fromkeys(["dropout", "sequence_s", "label_shift_s", "learning_rate", "weight_decay"], FLOAT),
    **dict.fromkeys(["receptive_field_ms", "train_seconds", "search_seconds", "samples_per_second"], FLOAT),
    **dict.fromkeys(["started_at", "ended_at"], pa.timestamp("us")),
    **{
        f"ccc_{partition}_{stage}{target}{suffix}": FLOAT
        for partition in ("devel", "test")
        for stage in ("", "greedy_", "exhaustive_")
        for target in ("arousal", "valence", "mean")
        for suffix in ("", "_per_recording")
    },
}
PROMISED_PREDICTIONS = {
    "recording": TEXT,
    "partition": TEXT,
    "frame": pa.int32(),
    "time_s": FLOAT,
    "gold_arousal": pa.float32(),
    "gold_valence": pa.float32(),
    "prediction_arousal": pa.float32(),
    "prediction_valence": pa.float32(),
}
PROMISED_CHAINS = ["key", "target", "method", "median_window", "centre", "scale", "shift"]
PROMISED_CHAINS += [f"gain_{step}" for step in ("median", "centre", "scale", "shift")]


def put(folder, key="a", name="trials", **columns):
    return write_part(folder, name, key, make_table(name, [{"key": key, **columns}]))


def files(folder):
    return sorted(str(p.relative_to(folder.path)) for p in folder.path.rglob("*") if p.is_file())


def test_trials_have_the_columns_that_are_promised():
    schema = SCHEMAS["trials"]
    assert {name: schema.field(name).type for name in PROMISED_TRIALS} == PROMISED_TRIALS
    assert set(CCC_COLUMNS) == {name for name in PROMISED_TRIALS if name.startswith("ccc_")}
    assert len(set(schema.names)) == len(schema.names)


def test_the_other_tables_have_the_columns_that_are_promised():
    assert dict(zip(SCHEMAS["predictions"].names, SCHEMAS["predictions"].types, strict=True)) == PROMISED_PREDICTIONS
    assert set(PROMISED_CHAINS) <= set(SCHEMAS["postprocessing"].names)
    assert {"key", "epoch", "train_loss", "ccc_devel_mean", "best"} <= set(SCHEMAS["epochs"].names)
    assert set(SCHEMAS) == {"trials", "epochs", "postprocessing", "predictions"}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"partition": "devel", "target": "mean"}, "ccc_devel_mean"),
        ({"partition": "test", "target": "arousal", "stage": "greedy"}, "ccc_test_greedy_arousal"),
        ({"partition": "test", "target": "valence", "per_recording": True}, "ccc_test_valence_per_recording"),
        (
            {"partition": "devel", "target": "arousal", "stage": "exhaustive", "per_recording": True},
            "ccc_devel_exhaustive_arousal_per_recording",
        ),
    ],
)
def test_the_names_of_scores(arguments, name):
    assert ccc_column(**arguments) == name
    assert name in CCC_COLUMNS


def test_nan_and_missing_are_null_and_the_version_is_in_every_row():
    table = make_table("trials", [{"key": "a", "ccc_test_mean": math.nan, "dropout": 0.0}, {"key": "b"}])
    assert table.schema == SCHEMAS["trials"]
    assert table["ccc_test_mean"].to_pylist() == [None, None]
    assert table["dropout"].to_pylist() == [0.0, None]
    assert table["schema_version"].to_pylist() == [SCHEMA_VERSION] * 2


def test_a_column_that_no_table_has_is_refused():
    with pytest.raises(ValueError, match=r"table epochs has no columns \['acuracy', 'zeal'\]"):
        make_table("epochs", [{"key": "a", "zeal": 1, "acuracy": 0.5}])


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
    assert (nothing.num_rows, nothing.schema.types) == (0, [TEXT, pa.list_(INT)])
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


def test_a_part_that_goes_away_while_it_is_listed_is_no_error(folder, monkeypatch):
    put(folder, "here")
    monkeypatch.setattr(SweepFolder, "keys", lambda folder, name: {"here", "gone"})
    assert read_table(folder, "trials", columns=["key"])["key"].to_pylist() == ["here"]


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
        f"{SCHEMA_VERSION}: "
        "run the sweep again in another folder (--results DIR), where its trials are trained again"
    )


def test_the_first_release_has_version_1():
    assert SCHEMA_VERSION == 1


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


def test_a_sweep_is_found_by_its_file(tmp_path):
    for name in ("overlap", "demo"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "sweep.yaml").write_text("name: x")
    assert open_sweep(tmp_path / "results" / "demo") == SweepFolder(tmp_path / "results" / "demo")
    near = f"sweeps nearby: {tmp_path / 'results' / 'demo'}, {tmp_path / 'results' / 'overlap'}"
    for wrong in ("results", "results/overlapp"):
        with pytest.raises(InputError) as raised:
            open_sweep(tmp_path / wrong)
        assert str(raised.value) == (
            f"{tmp_path / wrong} is not a sweep's folder (with sweep.yaml, such as results/overlap); {near}"
        )
    with pytest.raises(InputError, match=r"is not a sweep's folder \(with sweep\.yaml, such as results/overlap\)$"):
        open_sweep(tmp_path / "nowhere" / "at" / "all")


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


def test_statuses_and_targets_are_those_of_the_design():
    assert results.STATUSES == ("finished", "stopped", "failed")
    assert results.TARGETS == ("arousal", "valence")


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
