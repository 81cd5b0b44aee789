"""Times as SLURM writes them, trials side by side, and the limit that is asked for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.slurm.estimate import START_H, limit_s, shared_wall_hours, wall_hours
from ser_ray.slurm.request import format_time, read_time
from ser_ray.sweep.nodes.trial_resources import GpuShares, slots

FIELD = st.integers(0, 200)


@pytest.mark.parametrize(
    ("text", "seconds"),
    # as slurmctld 22.05 took them, which rounds up to minutes
    [
        ("90", 90 * 60),
        ("90:90", 91 * 60 + 30),
        ("1:90:00", 9000),
        ("1-30", 54 * 3600),
        ("0-48:00:00", 48 * 3600),
        ("1-02:03", (26 * 60 + 3) * 60),
        ("1-2:3:4", (26 * 60 + 3) * 60 + 4),
        ("00:00:01", 1),
    ],
)
def test_each_of_slurms_forms_is_read(text, seconds):
    assert read_time(text) == seconds


@given(st.integers(1, 10**7))
def test_what_is_written_is_read_back(seconds):
    assert read_time(format_time(seconds)) == seconds


@given(FIELD, FIELD, FIELD, FIELD)
def test_fields_mean_what_slurm_says(d, h, m, s):
    forms = {
        f"{m}": 60 * m,
        f"{m}:{s}": 60 * m + s,
        f"{h}:{m}:{s}": 3600 * h + 60 * m + s,
        f"{d}-{h}": 86400 * d + 3600 * h,
        f"{d}-{h}:{m}": 86400 * d + 3600 * h + 60 * m,
        f"{d}-{h:02}:{m:02}:{s:02}": 86400 * d + 3600 * h + 60 * m + s,
    }
    for text, seconds in forms.items():
        if seconds:
            assert read_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "4h", "1:2:3:4", "1-", "-1", "1-2:3:4:5", " 5", "5 ", "1.5", "1::2", ":30", "UNLIMITED", "2-1-1", "٣", "90\n"],
)
def test_other_forms_are_refused_with_the_legal_ones(text):
    with pytest.raises(InputError) as refused:
        read_time(text)
    assert str(refused.value) == (
        f"--time is {text!r}, but must be minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, such as "
        "--time 4:00:00 for four hours"
    )


@pytest.mark.parametrize("text", ["0", "00:00", "0-00:00:00"])
def test_no_time_which_slurm_takes_for_no_limit_is_refused(text):
    with pytest.raises(InputError, match=rf"--time is '{text}', but must be above 0"):
        read_time(text)


def test_times_are_written_with_days_from_a_day_on():
    assert format_time(15 * 60) == "00:15:00"
    assert format_time(86399) == "23:59:59"
    assert format_time(86400) == "1-00:00:00"
    assert format_time(3 * 86400 + 3661) == "3-01:01:01"


@pytest.mark.parametrize(
    ("hours", "slots", "expected"),
    [
        ([], 4, 0),
        ([2.0], 1, 2),
        ([1.0, 2.0, 3.0], 1, 6),
        ([1.0] * 8, 4, 2),
        ([1.0] * 9, 8, 2),  # one is left, for which nothing stops earlier
        ([1.0, 5.0, 1.0, 1.0], 2, 5),  # the three short ones beside the long one
        ([1.0, 1.0, 5.0], 2, 6),  # the long one begins last
        ([3.0, 2.0, 2.0, 2.0], 2, 5),  # 3 then 2; 2 then 2
        ([1.0, 4.0], 100, 4),
    ],
)
def test_trials_side_by_side(hours, slots, expected):
    assert wall_hours(hours, slots) == pytest.approx(START_H + expected)


@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=30), st.integers(1, 12))
def test_between_what_cannot_be_beaten_and_one_trial_more(hours, slots):
    found = wall_hours(hours, slots) - START_H
    least = max(*hours, math.fsum(hours) / slots) if len(hours) > 1 else hours[0]
    assert least - 1e-9 <= found <= math.fsum(hours) / slots + max(hours) + 1e-9


@pytest.mark.parametrize(
    ("hours", "quarters"),
    [
        (0.0, 1),
        (0.05, 1),
        (1 / 6, 1),  # a quarter of an hour exactly
        (0.1667, 2),
        (1.0, 6),
        (2.05, 13),  # 3.075 h
        (16.0, 96),
        (15.9, 96),
        (500.0, 96),
    ],
)
def test_the_limit_is_half_as_much_again_in_quarters_of_an_hour_up_to_a_day(hours, quarters):
    assert limit_s(hours) == quarters * 900


@given(st.floats(0.2, 15.5))
def test_the_limit_leaves_half_as_much_and_less_than_a_quarter_more(hours):
    found = limit_s(hours) / 3600
    assert 1.5 * hours - 1e-6 <= found < 1.5 * hours + 0.25
    assert (found * 4) == int(found * 4)


@pytest.mark.parametrize(
    ("trials", "gpus", "least", "expected"),
    [
        # an hour each on a whole GPU, whose throughput is shared equally
        (1, 1, 0.25, 1),
        (3, 1, 0.25, 3),
        (4, 1, 0.25, 4),
        (6, 1, 0.25, 8),  # the fifth begins when the first ends, with the quarter that is free then, and keeps it
        (6, 4, 0.25, 2),  # two alone, four two by two
        (16, 4, 0.25, 4),
        (8, 4, 1.0, 2),
        (3, 4, 2.0, 2),  # two GPUs each: they train on one, and are no quicker
    ],
)
def test_trials_that_share_gpus_take_as_long_as_their_shares_let_them(trials, gpus, least, expected):
    def hours(number, share):
        return 1 / min(share, 1)

    found = shared_wall_hours(trials, hours, GpuShares([(99, gpus)], 1, least))
    assert found == pytest.approx(START_H + expected, rel=1e-3)  # Ray counts shares in parts of 10,000


@given(st.lists(st.floats(0.01, 10), max_size=12), st.integers(1, 4), st.sampled_from([0.25, 0.5, 1.0]))
def test_with_hours_that_no_share_lengthens_it_is_that_of_trials_side_by_side(hours, gpus, least):
    found = shared_wall_hours(len(hours), lambda number, _: hours[number], GpuShares([(99, gpus)], 1, least))
    assert found == pytest.approx(wall_hours(hours, slots([(99, gpus)], 1, least)))
