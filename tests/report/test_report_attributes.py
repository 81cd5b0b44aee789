import operator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.report.attributes import filter_trials
from ser_ray.report.configurations import read_sweep_tables

ORDERS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def pairs(values, name="training.x", **columns):
    return [({"key": str(number), **columns}, {name: value}) for number, value in enumerate(values)]


def kept(values, condition):
    return [fields["training.x"] for _, fields in filter_trials(pairs(values), [condition])]


@given(
    values=st.lists(st.integers(-9, 9) | st.sampled_from([-0.5, 1e-4, 6.25]), min_size=1),
    sign=st.sampled_from(sorted(ORDERS)),
    bound=st.integers(-9, 9) | st.sampled_from([-0.5, 1e-4, 6.25]),
    space=st.sampled_from(["", " "]),
    name=st.sampled_from(["x", "training.x"]),
)
def test_numbers_are_compared_as_python_does(values, sign, bound, space, name):
    condition = f"{name}{space}{sign}{space}{bound}"
    assert kept(values, condition) == [value for value in values if ORDERS[sign](value, bound)]


@pytest.mark.parametrize(
    ("values", "condition", "left"),
    [
        ([[8, 6, 6], [8, 6]], "x = 8-6-6", [[8, 6, 6]]),
        ([[8, 6, 6], [8, 6]], "x=8,6", [[8, 6]]),
        ([[8, 6, 6], [8, 6]], "x != [8, 6, 6]", [[8, 6]]),
        ([["arousal", "valence"], ["arousal"]], "x = arousal", [["arousal"]]),
        ([True, False], "x = true", [True]),
        ([True, False], "x != yes", [False]),
        ([None, 5, 9], "x = none", [None]),
        ([None, 5, 9], "x != none", [5, 9]),
        ([None, 5, 9], "x < 9", [5]),
        ([None, 5, 9], "x != 5", [None, 9]),
        ([None, None], "x > 5", []),
        (["adam", "rmsprop"], "x == adam", ["adam"]),
        (["a b", "ab"], "x = a b", ["a b"]),
        ([20.0, 6.0], "x = 20", [20.0]),
    ],
)
def test_a_value_is_taken_as_what_the_field_is(values, condition, left):
    assert kept(values, condition) == left


def test_a_value_that_is_true_is_no_number():
    assert kept([True, 1], "x = true") == [True, 1]  # as in Python
    assert kept([2, True], "x > 0") == [2]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("x", "FIELD OP VALUE"),
        ("x ~ 5", "= != < <= > >="),
        ("= 5", "FIELD OP VALUE"),
        ("x = five", "'five' is not a number, but x is"),
        ("x > none", "none has no order"),
        ("y = 5", "no such column"),
        ("devise = cpu", "closest: device"),
    ],
)
def test_what_is_no_condition_is_an_input_error(condition, said):
    with pytest.raises(InputError, match=r"^--where") as raised:
        filter_trials(pairs([5]), [condition])
    assert said in str(raised.value)


@pytest.mark.parametrize(("values", "condition"), [(["a"], "x < b"), ([[1]], "x >= 1"), ([True], "x > false")])
def test_what_has_no_order_is_neither_more_nor_less(values, condition):
    with pytest.raises(InputError, match="is not ordered"):
        kept(values, condition)


def test_true_or_false_is_all_that_a_switch_is():
    with pytest.raises(InputError, match="'1' is not true or false"):
        kept([True], "x = 1")


def test_columns_are_compared_too_and_conditions_add_up(sweep):
    def kept_keys(*conditions):
        return [row["key"] for row in read_sweep_tables(sweep.folder, where=conditions).trials]

    assert kept_keys("status = failed") == sweep.keys["failed"]
    assert kept_keys("status = finished") == sweep.keys["finished"]
    assert kept_keys("kernels = 8-6-6", "seed >= 1") == ["21cd04ef0123", "22cd05ef0123"]
    assert kept_keys("model.kernels = 8-6-6", "training.seed < 1") == ["20cd03ef0123"]
    assert kept_keys("error != none") == sweep.keys["failed"]
    assert len(kept_keys("ended_at < 2026-03-01T11:30")) == 12
    assert kept_keys("ended_at > 2026-03-01T11:30+00:00") == []
    with pytest.raises(InputError, match="'soon' is not a time"):
        kept_keys("ended_at > soon")


def test_times_of_the_table_are_utc():
    rows = [({"ended_at": datetime(2026, 3, 1, 11)}, {})]
    assert filter_trials(rows, ["ended_at < 2026-03-01T12:30+01:00"]) == rows
    assert filter_trials(rows, ["ended_at > 2026-03-01T12:30+01:00"]) == []


def test_what_is_kept_is_all_that_is_grouped(sweep):
    whole, some = read_sweep_tables(sweep.folder), read_sweep_tables(sweep.folder, where=["seed != 0"])
    assert (len(some.trials), some.total, some.where) == (8, 12, ("seed != 0",))
    assert len(some.configurations) == 4
    assert some.configurations[0].over_seeds("ccc_devel_mean").n == 2
    assert whole.configurations[0].over_seeds("ccc_devel_mean").n == 3
