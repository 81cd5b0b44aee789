"""What raters.parquet holds, and the lines that an import prints of it."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from ser_ray.corpus.gold.consensus import agreement, cronbach_alpha, ewe_weights
from ser_ray.corpus.store.raters import RATERS_FILE, RATERS_SCHEMA, ROWS, rater_lines, rater_rows, write_raters
from ser_ray.metrics import ccc


def walks(seed=0, number=3, frames=60):
    return np.random.default_rng(seed).standard_normal((number, frames)).cumsum(axis=1)


def by_name(traces):
    return {f"R{number}": trace for number, trace in enumerate(traces, start=1)}


def row(target="arousal", rater="R1", weight=0.5, ccc=0.25, alpha=0.75, recording="a"):
    return {
        "recording": recording,
        "target": target,
        "rater": rater,
        "weight": weight,
        "ccc": ccc,
        "alpha": alpha,
        "missing_frames": 0,
    }


def test_a_row_per_target_and_rater():
    arousal, valence = walks(1), walks(2, number=2)
    rows = rater_rows("a", {"arousal": by_name(arousal), "valence": by_name(valence)}, "ewe")
    assert [(r["recording"], r["target"], r["rater"]) for r in rows] == [
        ("a", "arousal", "R1"),
        ("a", "arousal", "R2"),
        ("a", "arousal", "R3"),
        ("a", "valence", "R1"),
        ("a", "valence", "R2"),
    ]
    assert [r["weight"] for r in rows[:3]] == list(ewe_weights(arousal))
    assert [r["ccc"] for r in rows[:3]] == list(agreement(arousal))
    assert {r["alpha"] for r in rows[:3]} == {cronbach_alpha(arousal)}
    assert [r["ccc"] for r in rows[3:]] == [pytest.approx(ccc(*valence))] * 2
    assert {r["missing_frames"] for r in rows} == {0}


def test_frames_without_a_rater_are_counted():
    traces = walks()
    traces[0, 5:15] = np.nan
    traces[2, 40] = np.nan
    rows = rater_rows("a", {"arousal": by_name(traces)}, "mean")
    assert [r["missing_frames"] for r in rows] == [10, 0, 1]
    assert [r["weight"] for r in rows] == [1.0, 1.0, 1.0]
    both = np.isfinite(traces).all(axis=0)
    assert rows[0]["alpha"] == pytest.approx(cronbach_alpha(traces[:, both]))


def test_a_single_rater_agrees_with_nobody():
    (single,) = rater_rows("a", {"arousal": by_name(walks(number=1))}, "ewe")
    assert (single["weight"], single["ccc"], single["alpha"]) == (pytest.approx(1.0), None, None)


@pytest.mark.parametrize("number", [1, ROWS, ROWS + 1, 2 * ROWS + 1])
def test_rows_are_written_some_at_a_time(tmp_path, number):
    rows = [row(rater=f"R{i}", weight=i / 10) for i in range(number)]
    write_raters(tmp_path / RATERS_FILE, iter(rows))
    file = pq.ParquetFile(tmp_path / RATERS_FILE)
    assert file.schema_arrow == RATERS_SCHEMA
    assert file.read().to_pylist() == rows
    assert file.num_row_groups == -(-number // ROWS)


def test_without_rows_there_is_no_file(tmp_path):
    write_raters(tmp_path / RATERS_FILE, iter(()))
    assert not (tmp_path / RATERS_FILE).exists()
    assert rater_lines(tmp_path) == []


def lines(tmp_path, *rows):
    write_raters(tmp_path / RATERS_FILE, rows)
    return rater_lines(tmp_path)


def test_a_line_per_target(tmp_path):
    said = lines(
        tmp_path,
        row(rater="R2", weight=0.25, ccc=0.1, alpha=0.5),
        row(rater="R1", weight=0.5, ccc=0.2, alpha=0.5),
        row("valence", "R1", 1.0, 0.5, 0.9),
        row(rater="R1", weight=1.0, ccc=0.6, alpha=0.8, recording="b"),
    )
    assert said == [
        "arousal: 2 raters agree with CCC 0.300, alpha 0.600; mean weights R1 0.75, R2 0.25",
        "valence: 1 rater agree with CCC 0.500, alpha 0.900; mean weights R1 1.00",
    ]


def test_a_line_of_a_single_rater(tmp_path):
    assert lines(tmp_path, row(ccc=None, alpha=None, weight=1.0)) == ["arousal: 1 rater; mean weights R1 1.00"]


def test_recordings_without_an_alpha_are_no_part_of_its_mean(tmp_path):
    """It is NaN where raters do not move, or never speak at once."""
    nan = float("nan")
    said = lines(
        tmp_path,
        row(alpha=nan),
        row(alpha=0.5, recording="b"),
        row("valence", alpha=nan),
        row("valence", "R2", alpha=nan),
    )
    assert said == [
        "arousal: 1 rater agree with CCC 0.250, alpha 0.500; mean weights R1 0.50",
        "valence: 2 raters agree with CCC 0.250; mean weights R1 0.50, R2 0.50",
    ]


def test_many_raters_are_counted(tmp_path):
    (line,) = lines(tmp_path, *(row(rater=f"R{i:02d}") for i in range(11)))
    assert line.startswith("arousal: 11 raters agree")
    assert line.endswith("R06 0.50, R07 0.50 and 3 more")
