"""The rows that the repository keeps under results/: read like those of any sweep."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ser_ray.report.leaderboard import main
from ser_ray.results import SCHEMAS, open_sweep, read_table

RESULTS = Path(__file__).parents[2] / "results"
SHIPPED = sorted(
    path.parent
    for room in ("reference", "streams")  # others may be sweeps that were run here
    for path in (RESULTS / room).rglob("trials.parquet")
)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(RESULTS)))
def test_the_leaderboard_opens_every_shipped_folder(path, capsys):
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    rows = pq.read_table(path / "trials.parquet").num_rows
    assert (f"trials: {rows} finished" in out) == (rows > 0)
    assert ("there is no ranking" in out) == (rows == 0)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(RESULTS)))
@pytest.mark.parametrize("name", ["trials", "epochs"])
def test_shipped_rows_have_the_columns_of_this_version(path, name):
    table = read_table(open_sweep(path), name)
    assert table.schema.equals(SCHEMAS[name])
    assert table.equals(pq.read_table(path / f"{name}.parquet").replace_schema_metadata(None))
    assert set(table["schema_version"].to_pylist()) <= {1}


def test_there_are_shipped_folders():
    assert len(SHIPPED) == 20
