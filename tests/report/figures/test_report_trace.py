import numpy as np
import pytest

from ser_ray.metrics import ccc
from ser_ray.postprocess import PostProcessing, apply
from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.figures.trace import draw_trace, typical
from ser_ray.report.one_trial import best_trial, read_chain_rows, read_recording_traces
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
    drawing = draw_trace(read_sweep_tables(sweep.folder))
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


def test_devel_is_shown_where_test_has_no_gold(sweep_without_test_gold):
    tables = read_sweep_tables(sweep_without_test_gold.folder)
    traces = read_recording_traces(tables, best_trial(tables)["key"])
    assert {trace.partition for trace in traces} == {"devel"}
    assert len(traces) == 3
    assert "(devel)" in draw_trace(tables).figure.get_suptitle()


def test_the_stopped_trial_is_not_the_best_one(sweep):
    assert best_trial(read_sweep_tables(sweep.folder))["key"] == best_key(sweep)


def test_the_best_of_those_whose_predictions_are_kept(sweep):
    best = best_key(sweep)
    sweep.folder.part("predictions", best).unlink()
    tables = read_sweep_tables(sweep.folder)
    kept = [
        c
        for row in tables.trials
        if row["status"] == "finished" and row["key"] != best and (c := row["ccc_devel_mean"])
    ]
    assert best_trial(tables)["ccc_devel_mean"] == max(kept)


def test_no_predictions_no_figure(sweep):
    for key in sweep.folder.keys("predictions"):
        sweep.folder.part("predictions", key).unlink()
    assert draw_trace(read_sweep_tables(sweep.folder)) is None


def test_one_target_is_one_panel(new_sweep):
    made = new_sweep(targets=("valence",))
    made.add("00aa00aa00aa", made.config(0), 0.5)
    (panel,) = draw_trace(read_sweep_tables(made.folder)).figure.axes
    assert panel.get_ylabel() == "valence"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_typical_is_the_lower_median(sweep, count):
    tables = read_sweep_tables(sweep.folder)
    traces = read_recording_traces(tables, best_key(sweep))[:count]
    ordered = sorted(trace.mean_ccc for trace in traces)
    assert typical(traces).mean_ccc == ordered[(count - 1) // 2]


def processed_by(sweep, method):
    """What the trace of the best trial must show: target -> raw, processed by that method's chain, gold."""
    tables, key = read_sweep_tables(sweep.folder), best_key(sweep)
    trace = typical(read_recording_traces(tables, key))
    expected = {}
    for target, chains in read_chain_rows(tables, key).items():
        raw, gold = trace.prediction[target], trace.gold[target]
        expected[target] = raw, apply(PostProcessing.of_row(chains[method]), [raw])[0], gold
    return expected


@pytest.mark.parametrize(
    ("methods", "used"),
    [(("greedy", "exhaustive"), "exhaustive"), (("greedy",), "greedy"), (("exhaustive",), "exhaustive")],
)
def test_the_prediction_is_shown_raw_and_after_the_chain_that_the_caption_names(sweep, methods, used):
    sweep.search(best_key(sweep), methods)
    expected = processed_by(sweep, used)
    drawing = draw_trace(read_sweep_tables(sweep.folder))
    for panel, (raw, processed, gold) in zip(drawing.figure.axes, expected.values(), strict=True):
        lines = {line.get_label(): line.get_ydata() for line in panel.lines}
        assert list(lines) == ["gold standard", "raw prediction", "processed prediction"]
        for shown, values in zip(lines.values(), (gold, raw, processed), strict=True):
            assert np.array_equal(shown, values)
        assert not np.allclose(processed, raw)
        assert panel.get_title() == f"CCC {ccc(raw, gold):.3f} raw, {ccc(processed, gold):.3f} processed"
    assert f"the chain that the {used} search chose on devel" in drawing.caption
    assert "this recording among them" not in drawing.caption


def test_the_recording_is_chosen_by_its_raw_ccc(sweep):
    key = best_key(sweep)
    exact = {
        f"prediction_{target}": lambda row, target=target: row[
            f"{'gold' if row['recording'] == 'test_1' else 'prediction'}_{target}"
        ]
        for target in ("arousal", "valence")
    }
    sweep.rewrite("predictions", key, **exact)  # so that the one in the middle is not the middle one
    sweep.search(key, shift=100)  # all processed predictions are constants, and have the same CCC
    drawing = draw_trace(read_sweep_tables(sweep.folder))
    assert "recording test_0 (test)" in drawing.figure.get_suptitle()
    assert drawing.figure.axes[0].get_title().endswith(" 0.000 processed")


def test_the_caption_warns_where_the_chain_was_chosen_by_what_is_shown(new_sweep):
    made = new_sweep(test_gold=False)
    made.add("00aa00aa00aa", made.config(0), 0.5)
    made.search("00aa00aa00aa")
    assert "chose on devel, this recording among them" in draw_trace(read_sweep_tables(made.folder)).caption


def test_a_trial_that_is_asked_for_is_shown_in_place_of_the_best(sweep):
    other = next(key for key in sweep.keys["finished"] if key != best_key(sweep))
    drawing = draw_trace(read_sweep_tables(sweep.folder), other)
    assert drawing.figure.get_suptitle().endswith(f"trial {other}")
    assert f"of trial {other}." in drawing.caption


def test_a_target_without_a_chain_is_shown_raw(sweep):
    key = best_key(sweep)
    sweep.search(key)
    rows = read_table(sweep.folder, "postprocessing", keys=[key]).to_pylist()
    sweep.write("postprocessing", key, [row for row in rows if row["target"] == "valence"])
    arousal, valence = draw_trace(read_sweep_tables(sweep.folder)).figure.axes
    assert (len(arousal.lines), len(valence.lines)) == (2, 3)


def test_a_trial_that_was_not_searched_is_shown_raw(sweep):
    sweep.search(best_key(sweep))
    panel = draw_trace(read_sweep_tables(sweep.folder), "aaaaaaaaaaaa").figure.axes[0]
    assert [line.get_label() for line in panel.lines] == ["gold standard", "prediction"]
