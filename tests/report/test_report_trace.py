import numpy as np
import pytest

from ser_ray.metrics import ccc
from ser_ray.report.tables import read_sweep
from ser_ray.report.trace import best_trial, draw_trace, read_traces, typical
from ser_ray.results import read_table


def recording(sweep, key, name):
    rows = [r for r in read_table(sweep.folder, "predictions", keys=[key]).to_pylist() if r["recording"] == name]
    return {
        column: np.array([row[column] for row in rows], dtype=np.float64)
        for column in rows[0]
        if column not in ("recording", "partition")
    }


def best_key(sweep):
    rows = [r for r in read_table(sweep.folder, "trials").to_pylist() if r["status"] == "finished"]
    return max(rows, key=lambda row: row["ccc_devel_mean"])["key"]


def test_the_trace_is_the_best_finished_trials_typical_test_recording(sweep):
    drawing = draw_trace(read_sweep(sweep.folder))
    key = best_key(sweep)
    scores = {}
    for number in range(3):
        rows = recording(sweep, key, f"test_{number}")
        scores[f"test_{number}"] = np.mean(
            [ccc(rows[f"prediction_{t}"], rows[f"gold_{t}"]) for t in ("arousal", "valence")]
        )
    name = sorted(scores, key=scores.get)[1]
    assert drawing.figure.get_suptitle() == f"sweep overlap on corpus synthetic: recording {name} (test), trial {key}"
    rows = recording(sweep, key, name)
    for panel, target in zip(drawing.figure.axes, ("arousal", "valence"), strict=True):
        gold, prediction = panel.lines
        assert np.array_equal(gold.get_xydata(), np.stack([rows["time_s"], rows[f"gold_{target}"]], axis=1))
        assert np.array_equal(prediction.get_ydata(), rows[f"prediction_{target}"])
        assert panel.get_ylabel() == target
        assert panel.get_title() == f"CCC {ccc(rows[f'prediction_{target}'], rows[f'gold_{target}']):.3f}"
    assert drawing.figure.axes[-1].get_xlabel() == "time (s)"


def test_devel_stands_in_where_test_has_no_gold(sweep_without_test_gold):
    tables = read_sweep(sweep_without_test_gold.folder)
    traces = read_traces(tables, best_trial(tables)["key"])
    assert {trace.partition for trace in traces} == {"devel"}
    assert len(traces) == 3
    assert "(devel)" in draw_trace(tables).figure.get_suptitle()


def test_the_stopped_trial_is_not_the_best_one(sweep):
    assert best_trial(read_sweep(sweep.folder))["key"] == best_key(sweep)


def test_the_best_of_those_whose_predictions_are_kept(sweep):
    best = best_key(sweep)
    sweep.folder.part("predictions", best).unlink()
    tables = read_sweep(sweep.folder)
    kept = [
        c
        for row in tables.trials
        if row["status"] == "finished" and row["key"] != best and (c := row["ccc_devel_mean"])
    ]
    assert best_trial(tables)["ccc_devel_mean"] == max(kept)


def test_no_predictions_no_figure(sweep):
    for key in sweep.folder.keys("predictions"):
        sweep.folder.part("predictions", key).unlink()
    assert draw_trace(read_sweep(sweep.folder)) is None


def test_one_target_is_one_panel(new_sweep):
    made = new_sweep(targets=("valence",))
    made.add("00aa00aa00aa", made.config(0), 0.5)
    (panel,) = draw_trace(read_sweep(made.folder)).figure.axes
    assert panel.get_ylabel() == "valence"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_typical_is_the_lower_median(sweep, count):
    tables = read_sweep(sweep.folder)
    traces = read_traces(tables, best_key(sweep))[:count]
    ordered = sorted(trace.mean_ccc for trace in traces)
    assert typical(traces).mean_ccc == ordered[(count - 1) // 2]
