import numpy as np
import pytest

from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.figures.ccc_against import axis_label, draw_against_fields, draw_against_overlap, scale_of
from ser_ray.results import read_table


def lines(panel, label):
    """Return the points of a panel's lines of a label; an error bar's own line has none."""
    found = [line.get_xydata() for line in panel.lines if line.get_label() == label]
    return np.concatenate(found) if found else np.empty((0, 2))


def means(panel):
    return np.concatenate([container.lines[0].get_xydata() for container in panel.containers])


def bars(panel):
    return [
        segment for container in panel.containers for segment in container.lines[2][0].get_segments() if len(segment)
    ]


def test_points_are_the_trials_and_markers_their_means(sweep):
    drawing = draw_against_overlap(read_sweep_tables(sweep.folder))
    rows = [r for r in read_table(sweep.folder, "trials").to_pylist() if r["status"] == "finished"]
    assert [panel.get_title() for panel in drawing.figure.axes] == ["devel", "test"]
    for panel, partition in zip(drawing.figure.axes, ("devel", "test"), strict=True):
        expected = sorted((np.mean(r["overlap_ratios"]), r[f"ccc_{partition}_mean"]) for r in rows)
        assert np.allclose(sorted(map(tuple, lines(panel, "_seeds"))), expected)
        by_hand = {}
        for ratio, ccc in expected:
            by_hand.setdefault(round(ratio, 9), []).append(ccc)
        expected_means = sorted((ratio, np.mean(values)) for ratio, values in by_hand.items())
        assert np.allclose(sorted(map(tuple, means(panel))), expected_means)


def test_bars_are_the_intervals(sweep):
    tables = read_sweep_tables(sweep.folder)
    panel = draw_against_overlap(tables).figure.axes[0]
    estimates = [c.over_seeds("ccc_devel_mean") for c in tables.configurations]
    expected = [(e.mean - e.interval, e.mean + e.interval) for e in estimates if e.interval is not None]
    drawn = [(low[1], high[1]) for low, high in bars(panel) if not np.isnan(low[1])]
    assert np.allclose(sorted(drawn), sorted(expected))
    assert len(drawn) == 3  # the configuration of a single finished seed has none


def test_no_test_panel_without_gold(sweep_without_test_gold):
    drawing = draw_against_overlap(read_sweep_tables(sweep_without_test_gold.folder))
    assert [panel.get_title() for panel in drawing.figure.axes] == ["devel"]


def test_axes_and_title_have_labels(sweep):
    drawing = draw_against_overlap(read_sweep_tables(sweep.folder))
    panel = drawing.figure.axes[0]
    assert panel.get_xlabel() == "overlap ratio (mean of the layers)"
    assert panel.get_ylabel() == "CCC (mean of targets)"
    assert drawing.figure.get_suptitle() == "sweep overlap on corpus synthetic: CCC against overlap ratio"


def test_one_ratio_is_no_figure(new_sweep):
    made = new_sweep()
    made.add("00aa00aa00aa", made.config(0), 0.4)
    assert draw_against_overlap(read_sweep_tables(made.folder)) is None
    assert draw_against_fields(read_sweep_tables(made.folder)) == []


@pytest.fixture
def crossed(new_sweep):
    made = new_sweep("crossed")
    number = 0
    for design in range(2):
        for sequence_s in (6.0, 20.0):
            for seed in range(2):
                number += 1
                config = made.config(design, seed, sequence_s=sequence_s)
                made.add(f"{number:08x}cafe", config, 0.3 + 0.1 * design + 0.005 * sequence_s)
    return made


def test_another_field_has_its_own_figure_with_pairs_joined(crossed):
    tables = read_sweep_tables(crossed.folder)
    (drawing,) = draw_against_fields(tables)
    panel = drawing.figure.axes[0]
    assert drawing.name == "ccc_against_sequence_s"
    assert panel.get_xlabel() == "sequence (s)"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["6", "20"]
    rows = read_table(crossed.folder, "trials").to_pylist()
    expected = sorted((r["sequence_s"], r["ccc_devel_mean"]) for r in rows)
    assert np.allclose(sorted(map(tuple, lines(panel, "_seeds"))), expected)
    joined = [line.get_xydata() for line in panel.lines if line.get_label() == "_equal but for x"]
    assert len(joined) == 2
    for configuration in tables.configurations:
        point = (configuration.fields["training.sequence_s"], configuration.over_seeds("ccc_devel_mean").mean)
        pair = next(pair for pair in joined if np.isclose(pair, point).all(axis=1).any())
        kernels = configuration.fields["model.kernels"]
        others = [c for c in tables.configurations if c.fields["model.kernels"] == kernels]
        assert np.allclose(sorted(pair[:, 1]), sorted(c.over_seeds("ccc_devel_mean").mean for c in others))


def test_the_other_field_has_colours_in_the_overlap_figure(crossed):
    figure = draw_against_overlap(read_sweep_tables(crossed.folder)).figure
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "sequence (s)"
    assert [text.get_text() for text in legend.get_texts()] == ["6", "20"]
    assert len(figure.axes[0].containers) == 2


def test_names_are_sorted_and_numbers_are_positions():
    named = scale_of(["rmsprop", "adam", "rmsprop"])
    assert (named.positions, named.ticks) == ((1.0, 0.0, 1.0), ("adam", "rmsprop"))
    assert scale_of([None, 15]).ticks == ("15", "none")
    numbers = scale_of([1e-4, 1e-3, 1e-5])
    assert (numbers.positions, numbers.ticks, numbers.logarithmic) == ((1e-4, 1e-3, 1e-5), None, True)
    assert not scale_of([6, 20]).logarithmic
    assert not scale_of([0.0, 20]).logarithmic


@pytest.mark.parametrize(
    ("name", "label"),
    [("sequence_s", "sequence (s)"), ("learning_rate", "learning rate"), ("rate_hz", "rate (Hz)"), ("s", "s")],
)
def test_axis_labels_have_units(name, label):
    assert axis_label(name) == label


@pytest.mark.parametrize("values", [(1e-5, 1e-4, 1e-3), (0.1, 0.2, 0.3), ("ccc", "mse")])
def test_any_field_can_be_drawn_and_saved(new_sweep, values, tmp_path):
    made = new_sweep()
    for number, value in enumerate(values):
        made.add(f"{number:08x}cafe", made.config(0, anything=value), 0.3)
    (drawing,) = draw_against_fields(read_sweep_tables(made.folder))
    drawing.figure.savefig(tmp_path / "figure.png")
    ticks = [tick.get_text() for tick in drawing.figure.axes[0].get_xticklabels()]
    assert ticks == [f"{value:g}" if isinstance(value, float) else value for value in values]
