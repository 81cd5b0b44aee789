import pytest

from ser_ray.report.columns import (
    cells,
    constant_columns,
    format_mean,
    format_value,
    labelled_values,
    not_counted,
    score_columns,
    shown_figures,
    shown_stages,
    unseen_cells,
    unseen_target,
    varying_columns,
    varying_fields,
)
from ser_ray.report.configurations import group, read_sweep_tables, seed_mean


def test_what_varies_is_a_column_and_what_does_not_is_a_constant(sweep):
    configurations = read_sweep_tables(sweep.folder).configurations
    assert [column.label for column in varying_columns(configurations)] == ["kernel/pool", "overlap"]
    constants = {column.label: column.text(configurations[0]) for column in constant_columns(configurations)}
    assert constants == {
        "trial_version": "1",
        "corpus_fingerprint": "0123456789ab",
        "channels": "64 128 256",
        "hidden": "256",
        "targets": "arousal valence",
        "epochs": "20",
        "sequence_s": "6",
        "learning_rate": "0.0001",
    }
    assert labelled_values(configurations[0], varying_columns(configurations)) == ["8/10 6/8 6/8", "overlap 0.394"]


def test_seed_never_varies(sweep):
    rows = [sweep.row(f"k{seed}", sweep.config(0, seed)) for seed in range(3)]
    assert varying_fields(group(rows)) == []


def test_a_field_that_only_some_configurations_have_varies(sweep):
    rows = [sweep.row("a", sweep.config(0)), sweep.row("b", sweep.config(0, label_shift_s=2.0))]
    configurations = group(rows)
    (column,) = varying_columns(configurations)
    assert [column.text(c) for c in configurations] == ["none", "2"]


def test_figures_that_nobody_has_are_not_shown(sweep, sweep_without_test_gold):
    with_gold = read_sweep_tables(sweep.folder).configurations
    assert ("test", "mean") in shown_figures(with_gold)
    assert shown_stages(with_gold) == ["", "greedy", "exhaustive"]
    without = read_sweep_tables(sweep_without_test_gold.folder).configurations
    assert shown_figures(without) == [("devel", "arousal"), ("devel", "valence"), ("devel", "mean")]
    assert cells(without[0], "test", "mean", ["", "greedy"], "") == ["-", "-"]


def test_a_single_target_has_no_mean(new_sweep):
    single = new_sweep("single", targets=("arousal",))
    single.add("00aa00aa00aa", single.config(0), 0.4)
    assert shown_figures(read_sweep_tables(single.folder).configurations) == [("devel", "arousal"), ("test", "arousal")]


ALL = ["", "greedy", "exhaustive"]
PAIRS = [(partition, target) for partition in ("devel", "test") for target in ("arousal", "valence", "mean")]


def test_scores_are_the_cells_of_what_is_shown(sweep):
    configurations = read_sweep_tables(sweep.folder).configurations
    columns = score_columns(configurations, ALL, "_per_recording")
    assert [column.heading for column in columns] == PAIRS
    for column, pair in zip(columns, PAIRS, strict=True):
        assert column.cells(configurations[1]) == cells(configurations[1], *pair, ALL, "_per_recording")


def test_unseen_follows_devel_where_it_is_estimated(sweep):
    assert ("devel", "unseen") not in [
        c.heading for c in score_columns(read_sweep_tables(sweep.folder).configurations, ALL, "")
    ]
    sweep.estimate_unseen()
    configurations = read_sweep_tables(sweep.folder).configurations
    columns = score_columns(configurations, ALL, "")
    assert [column.heading for column in columns] == [*PAIRS[:3], ("devel", "unseen"), *PAIRS[3:]]
    for configuration in configurations:
        raw, *searched = columns[3].cells(configuration)
        assert raw == "-"
        for method, text in zip(ALL[1:], searched, strict=True):
            in_sample = configuration.over_seeds(f"ccc_devel_{method}_mean")
            interval = "" if in_sample.interval is None else f" ± {in_sample.interval:.3f}"
            assert text == f"{in_sample.mean - 0.1:.3f}{interval}"
        assert columns[3].cells(configuration) == unseen_cells(configuration, "mean", ALL)


def test_unseen_is_no_mean_over_recordings(sweep):
    sweep.estimate_unseen()
    columns = score_columns(read_sweep_tables(sweep.folder).configurations, ALL, "_per_recording")
    assert [column.heading for column in columns] == PAIRS


def test_unseen_is_of_the_only_target(new_sweep):
    single = new_sweep("single", targets=("arousal",))
    single.add("00aa00aa00aa", single.config(0), 0.4, ccc_devel_exhaustive_crossfit_arousal=0.321)
    configurations = read_sweep_tables(single.folder).configurations
    assert unseen_target(configurations) == "arousal"
    columns = score_columns(configurations, ALL, "")
    assert [c.heading for c in columns] == [("devel", "arousal"), ("devel", "unseen"), ("test", "arousal")]
    assert columns[1].cells(configurations[0]) == ["-", "-", "0.321"]


def test_n_is_printed_where_it_is_not_the_number_of_seeds(sweep):
    rows = [sweep.row(f"k{seed}", sweep.config(0, seed), ccc_devel_mean=0.5) for seed in range(3)]
    rows = [{**dict.fromkeys(["ccc_devel_mean"]), **row} for row in rows]
    rows[2]["ccc_devel_mean"] = None
    (configuration,) = group(rows)
    assert cells(configuration, "devel", "mean", [""], "") == ["0.500 ± 0.000 (n 2)"]


def test_not_counted_are_trials_in_no_mean(sweep):
    said = {tuple(not_counted(c)) for c in read_sweep_tables(sweep.folder).configurations}
    assert said == {(), ("1 stopped", "1 failed")}


@pytest.mark.parametrize(
    ("values", "text"), [([], "-"), ([0.0], "0.000"), ([0.5], "0.500"), ([0.25, 0.75], "0.500 ± 3.177")]
)
def test_estimates_are_printed_with_a_dash_for_none(values, text):
    assert format_mean(seed_mean(values)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (1e-4, "0.0001"), (20.0, "20"), ([8, 6], "8 6"), ("max", "max"), ("ab" * 32, "abababababab")],
)
def test_values_are_printed_short(value, text):
    assert format_value(value) == text


def test_a_switch_and_a_number_are_not_the_same(sweep):
    configs = [sweep.config(0, momentum=value) for value in (1, True)]
    configurations = group([sweep.row(str(number), config) for number, config in enumerate(configs)])
    assert varying_fields(configurations) == ["training.momentum"]
