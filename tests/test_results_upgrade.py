"""Parts of an earlier schema version: read with nulls, and brought to the present columns."""

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_ray.results import SCHEMA_VERSION, SCHEMAS, make_table, read_table, upgrade_parts, write_part
from ser_ray.results.schemas import ADDED_COLUMNS


def put(folder, key="a", name="trials", **columns):
    return write_part(folder, name, key, make_table(name, [{"key": key, **columns}]))


def replaced(column, values):
    return lambda table: table.set_column(table.schema.get_field_index(column), column, pa.array(values))


def later_columns(name, version):
    return [c for added, tables in ADDED_COLUMNS.items() if added > version for c in tables.get(name, ())]


def of_version(folder, name, version=2, **columns):
    """A part as an earlier version wrote it: without what came later."""
    path = put(folder, name=name, **columns)
    table = pq.ParquetFile(path).read()
    old = replaced("schema_version", pa.array([version], pa.int32()))(table.drop_columns(later_columns(name, version)))
    pq.write_table(old, path)
    return path


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("name", ["trials", "epochs", "postprocessing"])
def test_a_part_of_an_earlier_version_is_read_with_nulls_where_it_has_no_columns(folder, name, version):
    of_version(folder, name, version)
    put(folder, key="b", name=name)
    table = read_table(folder, name)
    assert table.schema == SCHEMAS[name]
    assert table["key"].to_pylist() == ["a", "b"]
    assert table["schema_version"].to_pylist() == [SCHEMA_VERSION] * 2
    for column in later_columns(name, version):
        assert read_table(folder, name, columns=["key", column]).to_pylist()[0] == {"key": "a", column: None}


def test_an_upgraded_folder_has_one_schema_and_the_same_figures(folder):
    old = of_version(folder, "trials", seed=7, ccc_devel_mean=0.25)
    new = put(folder, key="b")
    stands = new.stat().st_mtime_ns
    before = read_table(folder, "trials")
    with pytest.raises(pl.exceptions.PolarsError):
        pl.read_parquet(folder.path / "trials" / "*.parquet")
    assert upgrade_parts(folder) == 1
    assert upgrade_parts(folder) == 0
    assert pq.read_schema(old) == pq.read_schema(new)
    assert read_table(folder, "trials") == before
    assert pl.read_parquet(folder.path / "trials" / "*.parquet")["seed"].to_list() == [7, None]
    assert new.stat().st_mtime_ns == stands
