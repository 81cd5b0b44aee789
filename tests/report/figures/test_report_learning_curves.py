import json

import numpy as np
import pytest

from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.figures.learning_curves import draw_curves, median_curve, read_curves
from ser_ray.results import read_table


def courses(sweep):
    found = {}
    for row in read_table(sweep.folder, "epochs").to_pylist():
        found.setdefault(row["key"], []).append((row["epoch"], row["ccc_devel_mean"], row["train_loss"]))
    return {key: np.array(rows) for key, rows in found.items()}


def drawn(panel, *labels):
    return [line.get_xydata() for line in panel.lines if not line.get_label().startswith(labels)]


def test_every_trial_is_a_line_of_its_epochs(sweep):
    top, bottom = draw_curves(read_sweep_tables(sweep.folder)).figure.axes
    expected = courses(sweep)
    for panel, column in ((top, 1), (bottom, 2)):
        trials = drawn(panel, "_best", "median")
        assert len(trials) == len(expected) == 14
        for course in expected.values():
            assert any(np.array_equal(course[:, [0, column]], line) for line in trials)


def test_best_epochs_are_marked(sweep):
    top, _ = draw_curves(read_sweep_tables(sweep.folder)).figure.axes
    marks = {tuple(line.get_xydata()[0]) for line in top.lines if line.get_label() == "_best epoch"}
    assert marks == {tuple(course[np.argmax(course[:, 1]), :2]) for course in courses(sweep).values()}


def test_median_is_over_trials(sweep):
    top, bottom = draw_curves(read_sweep_tables(sweep.folder)).figure.axes
    expected = courses(sweep)
    for panel, column in ((top, 1), (bottom, 2)):
        (line,) = (line for line in panel.lines if line.get_label() == "median of 14 trials")
        epochs, median = line.get_xydata().T
        assert list(epochs) == list(range(1, 21))
        for epoch, value in zip(epochs, median, strict=True):
            values = [c[c[:, 0] == epoch, column][0] for c in expected.values() if len(c) >= epoch]
            assert value == np.median(values)


def test_median_ends_where_fewer_than_half_are_left():
    epochs = [np.arange(1.0, 5), np.arange(1.0, 4), np.arange(1.0, 2)]
    values = [np.array([1, 2, 3, 4.0]), np.array([3, 4, np.nan]), np.array([5.0])]
    reached, median = median_curve(epochs, values)
    assert list(reached) == [1, 2]
    assert list(median) == [3, 3]


def test_the_best_are_named_by_what_varies(sweep):
    figure = draw_curves(read_sweep_tables(sweep.folder)).figure
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == 4
    assert texts[0] == "4/4 12/20 6/8, seed 2"  # the stopped one had the highest devel CCC
    assert texts[3] == "median of 14 trials"


@pytest.mark.parametrize("words", [1, 4, 30])
def test_long_names_stay_inside_the_figure(sweep, words):
    best = sweep.keys["stopped"][0]
    row = read_table(sweep.folder, "trials", keys=[best]).to_pylist()[0]
    config = json.loads(row["config"])
    config["training"]["something_else"] = "a word " * words
    sweep.write("trials", best, [{**row, "config": json.dumps(config)}])
    figure = draw_curves(read_sweep_tables(sweep.folder)).figure
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= 0


def test_labels(sweep):
    drawing = draw_curves(read_sweep_tables(sweep.folder))
    top, bottom = drawing.figure.axes
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("devel CCC (mean of targets)", "training loss")
    assert bottom.get_xlabel() == "epoch"
    assert "overlap on corpus synthetic" in drawing.figure.get_suptitle()


def test_epochs_are_put_in_order_and_gaps_kept(new_sweep):
    made = new_sweep(targets=("valence",))
    made.write(
        "epochs",
        "k",
        [
            {"key": "k", "epoch": e, "train_loss": 1.0 - e / 10, "ccc_devel_valence": v}
            for e, v in ((3, 0.3), (1, 0.1), (2, None))
        ],
    )
    (curve,), target = read_curves(made.folder)
    assert target == "valence"
    assert list(curve.epochs) == [1, 2, 3]
    assert np.array_equal(curve.devel, [0.1, np.nan, 0.3], equal_nan=True)
    assert list(curve.loss) == pytest.approx([0.9, 0.8, 0.7])
    assert curve.best == 2


def test_a_trial_without_any_ccc_is_drawn_last(new_sweep, tmp_path):
    made = new_sweep()
    made.write("epochs", "a", [{"key": "a", "epoch": 1, "train_loss": 1.0}])
    made.write_epochs("b", 3, 0.2)
    curves, _ = read_curves(made.folder)
    assert [curve.key for curve in curves] == ["b", "a"]
    assert curves[1].best is None
    draw_curves(read_sweep_tables(made.folder)).figure.savefig(tmp_path / "figure.png")


def test_no_epochs_no_figure(new_sweep):
    assert draw_curves(read_sweep_tables(new_sweep().folder)) is None
