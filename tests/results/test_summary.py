"""results/summary.py: a row per configuration, ensembles, intervals, and test that stays unread."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from part_cases import put

from ser_ray.errors import InputError
from ser_ray.metrics import ccc
from ser_ray.results import SweepFolder, make_table, write_part

summary = runpy.run_path(str(Path(__file__).parents[2] / "results" / "summary.py"))
FRAMES = 40
SEEDS = {"a": (8, 0, 0.5), "b": (8, 1, -0.5), "c": (9, 0, 0.2)}
"""Units, seed and share of an error in the predictions of each trial: those of a and b cancel."""


def traces(part):
    rng = np.random.default_rng(len(part))
    return rng.normal(size=(3, FRAMES)).cumsum(axis=1) / 10, rng.normal(size=(3, FRAMES))


@pytest.fixture
def sweep(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    for key, (hidden, seed, share) in SEEDS.items():
        config = {"corpus_fingerprint": key, "model": {"hidden": hidden}, "training": {"seed": seed}}
        put(folder, key, status="finished", config=json.dumps(config))
        rows = []
        for part in ("devel", "test"):
            gold, error = traces(part)
            for number, frame in np.ndindex(3, FRAMES):
                y, x = gold[number, frame], gold[number, frame] + share * error[number, frame]
                values = {
                    f"{kind}_{t}": v for t in ("arousal", "valence") for kind, v in (("gold", y), ("prediction", x))
                }
                rows.append(
                    {"recording": f"{part}{number}", "partition": part, "frame": frame, "time_s": 0.04} | values
                )
        write_part(folder, "predictions", key, make_table("predictions", rows))
    folder.sweep_file.write_text("name: sweep")
    return folder


def table(capsys, *arguments):
    assert summary["main"](list(map(str, arguments))) == 0
    head, _, *rows = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines())
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def test_seeds_are_averaged_and_errors_that_cancel_leave_the_ensemble(sweep, capsys):
    rows = table(capsys, sweep.path)
    assert {name: row["n"] for name, row in rows.items()} == {"model.hidden 8": "2", "model.hidden 9": "1"}
    gold, error = traces("test")
    expected = np.mean([ccc((gold + share * error).ravel(), gold.ravel()) for share in (0.5, -0.5)])
    both = rows["model.hidden 8"]
    assert both["test raw"].split(" / ") == [f"{expected:.3f}"] * 2
    assert both["test ensemble"] == "1.000 / 1.000"
    assert float(both["test"].split(" / ")[0]) < 1
    one = rows["model.hidden 9"]
    assert one["test ensemble"] == one["test"]


def test_the_interval_is_that_of_drawn_recordings():
    rng = np.random.default_rng(1)
    gold = [rng.normal(size=n) for n in (30, 50, 80)]
    pairs = [([y + rng.normal(size=len(y)) * share for y in gold], gold) for share in (0.3, 0.9)]
    low, high = (float(text) for text in summary["interval"](pairs).strip("[]").split(", "))
    draws = np.random.default_rng(0).integers(0, 3, (summary["RESAMPLES"], 3))
    literal = [
        np.mean([ccc(*(np.concatenate([side[i] for i in draw]) for side in pair)) for pair in pairs]) for draw in draws
    ]
    np.testing.assert_allclose((low, high), np.percentile(literal, [2.5, 97.5]), atol=6e-4)


def test_test_is_not_read_where_a_setting_is_chosen(sweep, capsys):
    (row, *_) = table(capsys, "--devel", sweep.path).values()
    assert "devel ensemble" in row
    assert not [column for column in row if "test" in column]


def test_kept_rows_are_refused(sweep):
    for part in sweep.path.glob("predictions/*"):
        part.unlink()
    with pytest.raises(InputError, match="has no predictions, as kept rows have none"):
        summary["main"]([str(sweep.path)])


def test_without_a_sweep_it_says_what_it_takes():
    with pytest.raises(InputError, match=r"takes \[--devel\] results/NAME"):
        summary["main"](["--devel"])
