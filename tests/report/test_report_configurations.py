import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ser_ray.errors import InputError
from ser_ray.report.attributes import Attribute
from ser_ray.report.configurations import group, headline_target, read_sweep_tables, seed_mean, sort_configurations

DEVEL = Attribute("ccc_devel_mean", is_field=False)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8))
def test_interval_is_students(values):
    figure = seed_mean(values)
    low = high = values[0]
    if np.std(values) > 0:  # scipy's own interval of no width is NaN
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert figure.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert figure.mean - figure.interval == pytest.approx(low, abs=1e-9)
    assert figure.mean + figure.interval == pytest.approx(high, abs=1e-9)
    assert figure.n == len(values)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert (seed_mean([0.3]).mean, seed_mean([0.3]).interval, seed_mean([0.3]).n) == (0.3, None, 1)
    assert (seed_mean([]).mean, seed_mean([]).interval, seed_mean([]).n) == (None, None, 0)


def test_every_field_but_the_seed_separates_configurations(sweep):
    base = sweep.config(0, seed=0)
    other_seed = sweep.config(0, seed=7)
    rows = [sweep.row("a", base), sweep.row("b", other_seed)]
    assert len(group(rows)) == 1
    for name in base["model"]:
        changed = json.loads(json.dumps(base))
        changed["model"][name] = "changed"
        assert len(group([rows[0], {**rows[1], "config": json.dumps(changed)}])) == 2, name
    for name in set(base["training"]) - {"seed"}:
        assert len(group([rows[0], sweep.row("c", sweep.config(0, seed=7, **{name: 0.5}))])) == 2, name
    other_corpus = {**base, "corpus_fingerprint": "ff"}
    assert len(group([rows[0], {**rows[1], "config": json.dumps(other_corpus)}])) == 2


def test_a_seed_elsewhere_in_the_configuration_is_no_replicate(sweep):
    rows = []
    for seed in (0, 1):
        config = sweep.config(0)
        config["model"]["seed"] = seed
        rows.append({**sweep.row(f"k{seed}", config), "config": json.dumps(config)})
    assert len(group(rows)) == 2


def test_the_order_of_keys_in_the_json_is_nothing(sweep):
    config = sweep.config(0)
    turned = {name: config[name] for name in reversed(config)}
    rows = [sweep.row("a", config), {**sweep.row("b", config), "config": json.dumps(turned)}]
    assert len(group(rows)) == 1


def test_means_leave_out_stopped_and_failed_trials(sweep):
    tables = read_sweep_tables(sweep.folder)
    assert len(tables.configurations) == 4
    rows = {row["key"]: row for row in tables.trials}
    partial = next(c for c in tables.configurations if c.count("failed"))
    assert (partial.count("finished"), partial.count("stopped"), partial.count("failed")) == (1, 1, 1)
    finished = next(key for key, row in rows.items() if row in partial.finished)
    assert partial.over_seeds("ccc_devel_mean").values == (rows[finished]["ccc_devel_mean"],)
    assert rows[finished]["status"] == "finished"
    assert tables.configurations[0].over_seeds("ccc_devel_mean").n == 3


def test_configurations_are_sorted_by_the_mean_of_the_column(sweep):
    for column in ("ccc_devel_mean", "ccc_test_greedy_valence", "ccc_devel_exhaustive_arousal_per_recording"):
        tables = read_sweep_tables(sweep.folder, sort=column)
        by_hand = []
        for configuration in tables.configurations:
            values = [row[column] for row in configuration.trials if row["status"] == "finished"]
            by_hand.append(sum(values) / len(values))
        assert by_hand == sorted(by_hand, reverse=True)
        assert tables.sort == column


def test_a_configuration_without_the_figure_comes_last(sweep):
    tables = read_sweep_tables(sweep.folder)
    failed = [row for row in tables.trials if row["status"] == "failed"]
    none = group(failed)[0]
    assert none.over_seeds("ccc_devel_mean").mean is None
    assert sort_configurations([none, *tables.configurations], DEVEL)[-1] is none
    (negative,) = group([{**sweep.row("a", sweep.config()), "ccc_devel_mean": -0.1}])
    assert sort_configurations([none, negative], DEVEL) == [negative, none]


def test_unknown_column_names_the_closest(sweep):
    with pytest.raises(InputError, match=r"--sort ccc_dev_mean: no such column; closest: ccc_devel_mean.*\nlegal: "):
        read_sweep_tables(sweep.folder, sort="ccc_dev_mean")


def test_any_column_or_field_of_numbers_orders(sweep):
    for design in range(3):
        config = sweep.config(design, learning_rate=0.001 * (design + 1))
        sweep.add(f"9{design}aabbccddee", config, 0.3, train_seconds=50.0 + design)
    by_rate = read_sweep_tables(sweep.folder, sort="learning_rate").configurations
    rates = [c.fields["training.learning_rate"] for c in by_rate]
    assert rates == [0.003, 0.002, 0.001, *[1e-4] * 4]
    equal = [c.over_seeds("ccc_devel_mean").mean for c in by_rate[3:]]
    assert equal == sorted(equal, reverse=True), "among equals the best on devel come first"
    slowest = read_sweep_tables(sweep.folder, sort="learning_rate", ascending=True).configurations
    assert [c.fields["training.learning_rate"] for c in slowest] == rates[::-1]
    assert [c.over_seeds("ccc_devel_mean").mean for c in slowest[:4]] == equal
    quickest = read_sweep_tables(sweep.folder, sort="train_seconds", ascending=True).configurations
    seconds = [c.over_seeds("train_seconds").mean for c in quickest]
    assert seconds == [50, 51, 52, 100, 100, 100, 100]


def test_without_the_figure_a_configuration_is_last_in_either_order(sweep):
    failed = [row for row in read_sweep_tables(sweep.folder).trials if row["status"] == "failed"]
    (none,) = group(failed)
    (some,) = group([{**sweep.row("a", sweep.config()), "ccc_devel_mean": -0.1}])
    for ascending in (False, True):
        assert sort_configurations([none, some], DEVEL, ascending=ascending) == [some, none]


@pytest.mark.parametrize("column", ["device", "kernels", "model.kernels", "started_at", "targets"])
def test_what_has_no_numbers_orders_nothing(sweep, column):
    with pytest.raises(InputError, match=f"--sort {column}: it must be numeric, but contains "):
        read_sweep_tables(sweep.folder, sort=column)


def test_a_short_name_of_several_fields_is_refused(sweep):
    sweep.write("trials", "k", [sweep.row("k", {**sweep.config(), "search": {"windows": 1}, "other": {"windows": 2}})])
    with pytest.raises(
        InputError,
        match=r"--sort windows: the name is ambiguous; legal: other\.windows, "
        r"search\.windows",
    ):
        read_sweep_tables(sweep.folder, sort="windows")
    assert read_sweep_tables(sweep.folder, sort="other.windows").sort == "other.windows"


def test_a_configuration_that_is_no_json_names_the_part(sweep):
    with pytest.raises(InputError, match=r"trials/a\.parquet: its column config is not"):
        group([{**sweep.row("a", sweep.config()), "config": None}])


def test_overlap_ratio_is_the_mean_of_eq_2(sweep):
    configuration = next(
        c for c in read_sweep_tables(sweep.folder).configurations if c.fields["model.kernels"] == [8, 6, 6]
    )
    assert configuration.overlap_ratio == pytest.approx((7 / 17 + 5 / 13 + 5 / 13) / 3)


def test_the_only_target_is_the_headline(new_sweep):
    single = new_sweep("single", targets=("valence",))
    single.add("00aa00aa00aa", single.config(0), 0.4)
    tables = read_sweep_tables(single.folder)
    assert headline_target(tables.configurations) == "valence"
    assert tables.sort == "ccc_devel_valence"


def test_title_has_sweep_and_corpus(sweep, new_sweep):
    assert read_sweep_tables(sweep.folder).title == "sweep overlap on corpus synthetic"
    assert read_sweep_tables(new_sweep("empty").folder).title == "sweep empty"
