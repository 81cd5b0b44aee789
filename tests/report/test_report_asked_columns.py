import pytest

from ser_ray.errors import InputError
from ser_ray.report.attributes import FIGURES
from ser_ray.report.columns import attribute_column, resolve_columns, shared_value
from ser_ray.report.configurations import read_sweep_tables
from ser_ray.results import SCHEMAS


def text(made, rows, name):
    """The text of one column for the only configuration of rows."""
    for row in rows:
        made.write("trials", row["key"], [row])
    tables = read_sweep_tables(made.folder)
    (named,) = resolve_columns(tables, [name])
    (configuration,) = tables.configurations
    return attribute_column(named).text(configuration)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("train_seconds", [90.0, 100.0, 110.0], "100 ± 24.84"),  # 4.3027 x 10 / sqrt(3)
        ("train_seconds", [90.0], "90"),
        ("train_seconds", [None], "-"),
        ("train_seconds", [90.0, None], "90 (n 1)"),
        ("samples_per_second", [123_456.0, 123_456.0], "123,456 ± 0"),
        ("ccc_test_greedy_mean", [0.25, 0.75], "0.500 ± 3.177"),
        ("device", ["cpu", "cpu"], "cpu"),
        ("device", ["cpu", "cuda"], "varies"),
        ("device", ["cpu", None], "cpu"),
        ("device", [None], "-"),
        ("gpus", [0.25, 0.25], "0.25"),
        ("seed", [0, 1], "varies"),
        ("training.seed", [0, 1], "varies"),
    ],
)
def test_figures_are_means_and_the_rest_is_what_seeds_share(new_sweep, name, values, expected):
    made = new_sweep()
    rows = [made.row(f"k{n}", made.config(0, n)) for n in range(len(values))]
    column = name.rpartition(".")[2]
    rows = [{**row, column: value} for row, value in zip(rows, values, strict=True)]
    assert text(made, rows, name) == expected


def test_a_figure_leaves_out_stopped_and_failed_trials(new_sweep):
    made = new_sweep()
    ended = {"finished": 90.0, "stopped": 5.0, "failed": 6.0}
    rows = [
        made.row(status, made.config(0, seed), status, train_seconds=seconds)
        for seed, (status, seconds) in enumerate(ended.items())
    ]
    assert text(made, rows, "train_seconds") == "90"


def test_a_field_is_named_by_its_end_or_in_full(sweep):
    tables = read_sweep_tables(sweep.folder)
    short, whole = resolve_columns(tables, ["learning_rate", "training.learning_rate"])
    assert [attribute_column(named).text(tables.configurations[0]) for named in (short, whole)] == ["0.0001", "0.0001"]
    assert attribute_column(whole).label == "learning_rate"
    (kernels,) = resolve_columns(tables, ["kernels"])
    assert shared_value(tables.configurations[0], kernels) == [8, 6, 6]


def test_an_unknown_column_names_the_nearest(sweep):
    with pytest.raises(InputError, match=r"--columns train_second: no such column; closest: train_seconds"):
        resolve_columns(read_sweep_tables(sweep.folder), ["train_second"])
    with pytest.raises(InputError, match=r"closest: .*learning_rate"):
        resolve_columns(read_sweep_tables(sweep.folder), ["training.learningrate"])


def test_every_column_of_trials_can_be_shown(sweep):
    tables = read_sweep_tables(sweep.folder)
    for named in resolve_columns(tables, SCHEMAS["trials"].names):
        assert all(attribute_column(named).text(configuration) for configuration in tables.configurations)
    assert set(SCHEMAS["trials"].names) >= FIGURES
