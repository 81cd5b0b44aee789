"""results/keep.py: rows in one file per table, and columns that were added to the tables since."""

import runpy
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from part_cases import put

from ser_ray.errors import InputError
from ser_ray.results import SCHEMAS, SweepFolder, read_table

main = runpy.run_path(str(Path(__file__).parents[2] / "results" / "keep.py"))["main"]
ADDED = {"trials": ["kernels", "ended_at", "corpus_verified", "reused_from"], "epochs": ["gpus"]}


@pytest.fixture
def sweep(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    for key in ("a", "b"):
        put(folder, key, host="n1", dropout=0.5, kernels=[8, 6], started_at=datetime(2026, 1, 2))
        put(folder, key, "epochs", epoch=1, train_loss=0.25, best=True)
    folder.sweep_file.write_text("name: sweep")
    return folder


@pytest.fixture
def kept(sweep, tmp_path):
    assert main([str(sweep.path), str(tmp_path / "kept")]) == 0
    return SweepFolder(tmp_path / "kept")


def change(kept, name, of):
    path = kept.compacted(name)
    pq.write_table(of(pq.read_table(path)), path)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.path.iterdir()}


def test_kept_rows_are_those_of_the_sweep_without_hosts(sweep, kept):
    assert sorted(content(kept)) == ["epochs.parquet", "trials.parquet"]
    assert read_table(kept, "epochs").equals(read_table(sweep, "epochs"))
    rows = read_table(sweep, "trials").to_pylist()
    assert read_table(kept, "trials").to_pylist() == [row | {"host": None} for row in rows]
    assert {row["host"] for row in rows} == {"n1"}


def test_columns_that_were_added_since_are_null_and_all_else_is_as_it_was(kept, capsys):
    before = {name: read_table(kept, name) for name in ADDED}
    for name, columns in ADDED.items():
        change(kept, name, lambda table, lacking=columns: table.drop_columns(lacking))
        with pytest.raises(InputError, match=f"its columns are not those of {name}"):
            read_table(kept, name)
    capsys.readouterr()
    assert main(["--add-columns", str(kept.path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{kept.compacted(name)}: added {columns}" for name, columns in ADDED.items()
    ]
    assert sorted(content(kept)) == ["epochs.parquet", "trials.parquet"]
    for name, columns in ADDED.items():
        assert pq.read_schema(kept.compacted(name)).equals(SCHEMAS[name])
        expected = [row | dict.fromkeys(columns) for row in before[name].to_pylist()]
        assert read_table(kept, name).to_pylist() == expected


def test_files_with_all_columns_are_left_alone_and_moved_columns_are_put_in_order(kept, capsys):
    before, rows = content(kept), read_table(kept, "trials")
    capsys.readouterr()
    assert main(["--add-columns", str(kept.path), str(kept.path)]) == 0
    assert capsys.readouterr().out.count("has all columns") == 4
    assert content(kept) == before
    change(kept, "trials", lambda table: table.select(table.column_names[::-1]))
    assert main(["--add-columns", str(kept.path)]) == 0
    assert read_table(kept, "trials").equals(rows)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda t: t.append_column("zeal", pa.nulls(len(t))), "has columns that epochs lacks: zeal"),
        (lambda t: t.set_column(2, "epoch", t["epoch"].cast(pa.float64())), "epoch is double, but must be int64"),
        (lambda t: t.set_column(0, "schema_version", pa.array([5, 5], pa.int32())), "schema version 5, but must have"),
        (lambda t: t.drop_columns(["schema_version"]), "schema version None, but must have"),
    ],
    ids=["unknown", "type", "version", "without"],
)
def test_where_more_is_wrong_than_lacking_columns_no_file_is_changed(kept, of, message):
    change(kept, "trials", lambda table: table.drop_columns(["reused_from"]))
    change(kept, "epochs", of)
    before = content(kept)
    with pytest.raises(InputError, match=message):
        main(["--add-columns", str(kept.path)])
    assert content(kept) == before


def test_a_sweep_with_parts_and_a_folder_without_rows_are_refused(sweep, tmp_path):
    for path in (sweep.path, tmp_path):
        with pytest.raises(InputError, match="is no file of kept rows"):
            main(["--add-columns", str(path)])


@pytest.mark.parametrize("arguments", [[], ["--add-columns"], ["results/a"], ["--help", "x"]], ids=str)
def test_other_arguments_are_refused(arguments):
    with pytest.raises(InputError, match=r"keep\.py takes SWEEP KEPT, or --add-columns KEPT\.\.\."):
        main(arguments)
