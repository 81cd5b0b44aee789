"""Shares of a plan: every trial in one of them, whatever the order in which they are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.sweep.nodes.heartbeat import WHOLE, Share, read_share

KEYS = st.lists(st.text("0123456789abcdef", min_size=12, max_size=12), max_size=60)
COUNTS = st.integers(1, 12)


@given(keys=KEYS, count=COUNTS)
def test_each_trial_is_in_one_share_and_all_have_as_many_but_for_one(keys, count):
    shares = [Share(number, count).keys(keys) for number in range(1, count + 1)]
    assert sorted(key for share in shares for key in share) == sorted(set(keys))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(keys=KEYS, count=COUNTS, data=st.data())
def test_a_share_does_not_depend_on_the_order_of_the_plan(keys, count, data):
    shuffled = data.draw(st.permutations(keys + keys[:3]))
    number = data.draw(st.integers(1, count))
    assert Share(number, count).keys(keys) == Share(number, count).keys(iter(shuffled))


@given(keys=KEYS, one=st.tuples(COUNTS, COUNTS), other=st.tuples(COUNTS, COUNTS))
def test_shares_that_run_side_by_side_have_no_trial_in_common(keys, one, other):
    first, second = (Share(min(pair), max(pair)) for pair in (one, other))
    assert first.beside(second) == second.beside(first)
    if first.beside(second):
        assert not first.keys(keys) & second.keys(keys)


def test_only_other_numbers_of_the_same_count_run_beside():
    assert Share(1, 2).beside(Share(2, 2))
    assert not Share(1, 2).beside(Share(1, 2))
    assert not Share(1, 2).beside(Share(2, 3))
    assert not Share(1, 2).beside(WHOLE)
    assert not WHOLE.beside(WHOLE)


def test_the_whole_is_every_trial():
    assert WHOLE.whole
    assert not Share(1, 2).whole
    assert WHOLE.keys(["b", "a"]) == {"a", "b"}


@given(pair=st.tuples(COUNTS, COUNTS))
def test_a_share_is_read_as_it_is_written(pair):
    share = Share(min(pair), max(pair))
    assert read_share(str(share)) == share


@pytest.mark.parametrize("number", [0, -1, 4])
def test_a_share_that_is_not_there_cannot_be_made(number):
    with pytest.raises(ValueError, match=rf"share {number} of 3 does not exist"):
        Share(number, 3)


@pytest.mark.parametrize(
    "text", ["", "3", "0/3", "4/3", "1/0", "a/b", "1/2/3", "-1/3", "1.0/3", " 1/3", "1/3\n", "1/1000000000"]
)
def test_what_names_no_share_is_answered_with_what_would(text):
    with pytest.raises(InputError) as raised:
        read_share(text)
    assert str(raised.value) == (
        f"--share is {text!r}, but must be NUMBER/COUNT with a number from 1 to the count, such as 3/8"
    )
