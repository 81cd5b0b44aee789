import itertools
from dataclasses import replace

import numpy as np
import pytest

from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess import PostProcessing, apply
from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.figures.drawing import save
from ser_ray.report.figures.search_surface import draw_surface, read_surfaces

KEY = "00aa00aa00aa"


@pytest.fixture
def one(new_sweep):
    """A sweep of one finished trial, not searched yet."""
    made = new_sweep()
    made.add(KEY, made.config(0), 0.5)
    return made


def surfaces(sweep):
    return {surface.target: surface for surface in read_surfaces(read_sweep_tables(sweep.folder), KEY)}


def drawn(sweep, key=None):
    return draw_surface(read_sweep_tables(sweep.folder), key)


def panels(drawing):
    """The maps of a figure, without their colour bars."""
    return [panel for panel in drawing.figure.axes if panel.images]


def best_of_four(predictions, gold, window, shift):
    """The best CCC of the four combinations of centring and scaling, each made and scored by itself."""
    filtered = apply(PostProcessing(median_window=window), predictions)
    pooled, truth = np.concatenate(filtered), np.concatenate(gold)
    chain = PostProcessing(
        median_window=window,
        shift=shift,
        prediction_mean=pooled.mean(),
        prediction_std=pooled.std(),
        gold_mean=truth.mean(),
        gold_std=truth.std(),
    )
    chains = [replace(chain, centre=c, scale=s) for c, s in itertools.product((False, True), repeat=2)]
    return max(ccc_pooled(apply(one, predictions), gold) for one in chains)


def test_each_point_is_the_best_of_four_chains_on_devel(one):
    one.search(KEY)
    for target, surface in surfaces(one).items():
        traces = one.devel(KEY, target)
        assert len(traces[0]) == 3
        windows, shifts = np.rint(25 * surface.windows_s).astype(int), np.rint(25 * surface.shifts_s).astype(int)
        assert (list(windows), list(shifts)) == ([1, 3, 5, 7, 9, 11, 13, 15], list(range(-10, 11)))
        assert surface.ccc.shape == (8, 21)
        for row, column in ((0, 0), (0, 10), (2, 13), (7, 20), (5, 4)):
            expected = best_of_four(*traces, windows[row], shifts[column])
            assert surface.ccc[row, column] == pytest.approx(expected, abs=1e-9)


def test_the_exhaustive_chain_lies_on_the_summit_and_greedy_not_above_what_it_lies_on(one):
    one.search(KEY)
    for surface in surfaces(one).values():
        for method, (shift_s, window_s, ccc) in surface.places.items():
            row = np.argmin(abs(surface.windows_s - window_s))
            column = np.argmin(abs(surface.shifts_s - shift_s))
            if method == "exhaustive":
                assert surface.ccc[row, column] == pytest.approx(surface.ccc.max(), abs=1e-9)
                assert ccc == pytest.approx(surface.ccc.max(), abs=1e-9)
            assert ccc <= surface.ccc[row, column] + 1e-9


def test_recordings_that_are_not_labelled_throughout_are_left_out(one):
    def gold(row):
        return None if row["recording"] == "devel_1" and row["frame"] == 50 else row["gold_valence"]

    one.rewrite("predictions", KEY, gold_valence=gold)
    one.search(KEY)
    traces = one.devel(KEY, "valence")
    assert (len(traces[0]), len(one.devel(KEY, "arousal")[0])) == (2, 3)
    surface = surfaces(one)["valence"]
    assert surface.ccc[1, 12] == pytest.approx(best_of_four(*traces, 3, 2), abs=1e-9)


def test_marks_are_at_the_chains_and_the_legend_has_their_ccc(one):
    one.search(KEY)
    found = surfaces(one)
    drawing = drawn(one)
    for panel, surface in zip(panels(drawing), found.values(), strict=True):
        assert panel.get_title() == surface.target
        marks = {line.get_label(): tuple(line.get_xydata()[0]) for line in panel.lines}
        assert marks == {f"{name} {ccc:.3f}": (x, y) for name, (x, y, ccc) in surface.places.items()}
        assert len({line.get_marker() for line in panel.lines}) == 3
        assert [text.get_text() for text in panel.get_legend().get_texts()] == list(marks)
        for name, (x, y, ccc) in surface.places.items():
            raw = surface.chains["greedy"]["ccc_devel_raw"]
            row = surface.chains.get(name, {"shift_s": 0, "median_window_s": 1 / 25, "ccc_devel": raw})
            assert (x, y, ccc) == (row["shift_s"], row["median_window_s"], row["ccc_devel"])
        assert panel.get_xlabel() == "shift (s)"
    assert panels(drawing)[0].get_ylabel() == "median window (s)"
    assert drawing.figure.get_suptitle() == f"sweep overlap on corpus synthetic: post-processing of trial {KEY}"
    assert "best of the four combinations of centring and scaling" in drawing.caption
    assert "for all targets together" not in drawing.caption


def test_the_map_shows_each_point_in_its_place(one):
    one.search(KEY)
    for panel, surface in zip(panels(drawn(one)), surfaces(one).values(), strict=True):
        (image,) = panel.images
        assert np.array_equal(image.get_array(), surface.ccc)
        left, right, bottom, top = image.get_extent()
        rows, columns = surface.ccc.shape
        centres_x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        centres_y = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
        assert image.origin == "lower"
        assert centres_x == pytest.approx(surface.shifts_s)
        assert centres_y == pytest.approx(surface.windows_s)
        assert (panel.get_xlim(), panel.get_ylim()) == ((left, right), (bottom, top))
        low, high = image.get_clim()
        assert high == surface.ccc.max()
        assert surface.ccc.min() < low < np.median(surface.ccc), "far slopes do not take all the colours"


def test_lines_of_equal_ccc_have_a_label_each_inside_the_panel_and_on_no_mark(one):
    one.search(KEY, max_window_s=3.0, max_shift_s=2.0)
    drawing = drawn(one)
    drawing.figure.draw_without_rendering()
    for panel, surface in zip(panels(drawing), surfaces(one).values(), strict=True):
        losses = [loss for loss in (0.01, 0.03, 0.1, 0.3) if surface.ccc.max() - loss > surface.ccc.min()]
        assert len(losses) >= 3
        assert sorted(text.get_text() for text in panel.texts) == sorted(f"−{loss:g}" for loss in losses)
        for text in panel.texts:
            x, y = text.get_position()
            row = np.argmin(abs(surface.windows_s - y))
            column = np.argmin(abs(surface.shifts_s - x))
            near = surface.ccc[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            level = surface.ccc.max() - float(text.get_text()[1:])
            assert near.min() <= level <= near.max()
            box, frame = text.get_window_extent(), panel.get_window_extent()
            assert frame.x0 < box.x0 < box.x1 < frame.x1
            assert frame.y0 < box.y0 < box.y1 < frame.y1
            assert not any(box.overlaps(other.get_window_extent()) for other in panel.texts if other is not text)
            for line in panel.lines:
                assert not box.contains(*panel.transData.transform(line.get_xydata()[0]))


def test_a_line_without_room_for_its_label_has_none(one):
    """The summit lies on the left edge, and the line around it is too short."""
    wave = np.sin(np.arange(100) / 4)
    gold, late = (lambda row, by=by: float(wave[max(row["frame"] - by, 0)]) for by in (0, 10))
    one.rewrite("predictions", KEY, gold_arousal=gold, prediction_arousal=late)
    one.search(KEY)
    assert surfaces(one)["arousal"].ccc.max(axis=0).argmax() == 0
    drawing = drawn(one)
    drawing.figure.draw_without_rendering()
    panel = panels(drawing)[0]
    (lines,) = panel.collections
    assert {text.get_text() for text in panel.texts} == {"−0.3", "−0.1", "−0.03"}
    assert len(lines.levels) == 4
    for text in panel.texts:
        box, frame = text.get_window_extent(), panel.get_window_extent()
        assert frame.x0 < box.x0 < box.x1 < frame.x1
        assert frame.y0 < box.y0 < box.y1 < frame.y1


def test_a_search_forward_in_time_has_no_shifts_backward(one):
    one.search(KEY, forward_only=True)
    for surface in surfaces(one).values():
        assert surface.shifts_s == pytest.approx(np.arange(11) / 25)
        assert surface.ccc[2, 3] == pytest.approx(best_of_four(*one.devel(KEY, surface.target), 5, 3), abs=1e-9)


@pytest.mark.parametrize(
    ("bounds", "shape"),
    [
        ({"max_window_s": 0.0}, (1, 21)),
        ({"max_shift_s": 0.0}, (8, 1)),
        ({"max_window_s": 0.08, "max_shift_s": 0.04}, (2, 3)),
    ],
)
def test_small_grids_are_drawn(one, tmp_path, bounds, shape):
    one.search(KEY, **bounds)
    assert {surface.ccc.shape for surface in surfaces(one).values()} == {shape}
    assert save(drawn(one), tmp_path)


def test_a_grid_of_one_point_is_not_drawn(one):
    one.search(KEY, max_window_s=0.0, max_shift_s=0.0)
    assert drawn(one) is None


def test_a_constant_target_is_left_out(one, tmp_path):
    one.rewrite("predictions", KEY, prediction_arousal=0.3)
    one.search(KEY)
    drawing = drawn(one)
    assert [panel.get_title() for panel in panels(drawing)] == ["valence"]
    assert save(drawing, tmp_path)
    one.rewrite("predictions", KEY, gold_valence=0.5)
    assert drawn(one) is None


def test_a_plateau_keeps_its_slopes(one, tmp_path):
    """Where most chains are equally good, the low percentile is the summit itself."""

    def pulse(row):
        return float(40 <= row["frame"] < 70)  # medians of up to 59 frames leave it, longer ones take it away

    one.rewrite("predictions", KEY, gold_arousal=pulse, prediction_arousal=pulse)
    one.search(KEY, max_window_s=3.0, max_shift_s=0.0)
    arousal = surfaces(one)["arousal"]
    assert np.percentile(arousal.ccc, 25) == arousal.ccc.max() > arousal.ccc.min()
    drawing = drawn(one)
    assert panels(drawing)[0].images[0].get_clim() == (arousal.ccc.min(), arousal.ccc.max())
    assert save(drawing, tmp_path)


def test_one_target_is_one_panel(new_sweep):
    made = new_sweep(targets=("valence",))
    made.add(KEY, made.config(0), 0.5)
    made.search(KEY)
    assert [panel.get_title() for panel in panels(drawn(made))] == ["valence"]


@pytest.mark.parametrize("method", ["greedy", "exhaustive"])
def test_one_search_has_one_mark_and_raw_another(one, method):
    one.search(KEY, (method,))
    for panel in panels(drawn(one)):
        assert [line.get_label().split()[0] for line in panel.lines] == [method, "raw"]


def test_the_caption_names_a_joint_choice(one):
    one.search(KEY, choice="joint")
    assert "chosen jointly for all targets, by the mean of their CCCs" in drawn(one).caption


def test_nothing_searched_or_kept_no_figure(one):
    assert drawn(one) is None
    one.search(KEY)
    assert drawn(one) is not None
    one.folder.part("predictions", KEY).unlink()
    assert drawn(one) is None


def test_devel_without_gold_is_no_figure(one):
    one.search(KEY)
    one.rewrite("predictions", KEY, gold_arousal=None, gold_valence=None)
    assert drawn(one) is None


def test_recordings_of_one_frame_have_no_grid(one):
    one.search(KEY)
    rows = [{"recording": "devel_0", "partition": "devel", "frame": 0, "time_s": 0.0, "gold_arousal": 0.1}]
    one.write("predictions", KEY, [rows[0] | {"prediction_arousal": 0.2}])
    assert drawn(one) is None


def test_a_trial_that_is_asked_for_is_shown_in_place_of_the_best(one):
    one.add("11bb11bb11bb", one.config(1), 0.9)
    for key in (KEY, "11bb11bb11bb"):
        one.search(key)
    best, asked = drawn(one), drawn(one, KEY)
    assert best.figure.get_suptitle().endswith("trial 11bb11bb11bb")
    assert "of the finished trial with the highest raw devel CCC" in best.caption
    assert asked.figure.get_suptitle().endswith(f"trial {KEY}")
    assert f"of trial {KEY}" in asked.caption


def luminance(colour):
    """Relative luminance of sRGB, as contrast is measured by (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def test_lines_are_seen_on_bright_and_on_dark(one):
    one.search(KEY, max_window_s=3.0, max_shift_s=2.0)
    for panel in panels(drawn(one)):
        (lines,), (image,) = panel.collections, panel.images
        for level, line in zip(lines.levels, lines.get_edgecolors(), strict=True):
            dark, bright = sorted((luminance(line), luminance(image.cmap(image.norm(level)))))
            assert (bright + 0.05) / (dark + 0.05) > 3
