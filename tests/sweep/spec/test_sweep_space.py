"""Lists and ranges that searches draw from, against exact fractions and textbook distributions."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from ser_ray.sweep.spec.space import Choices, Span, size_of

_rng = random.Random(1)
CHANCES = [_rng.getrandbits(64) for _ in range(4000)]
chances = st.integers(0, 2**64 - 1)


@given(st.lists(st.integers(), min_size=1, max_size=9, unique=True), chances)
def test_a_choice_is_the_share_of_the_list_that_the_chance_falls_into(values, chance):
    assert Choices(values=tuple(values)).drawn(chance) == values[math.floor(Fraction(chance, 2**64) * len(values))]


@settings(deadline=None)
@given(st.integers(-50, 50), st.integers(1, 300), st.sampled_from(["0.04", "0.4", "0.1", "3", "1e-5"]), chances)
def test_steps_are_drawn_and_counted_without_rounding_errors(first, count, step, chance):
    low = Fraction(first) * Fraction(step)
    exact = [float(low + index * Fraction(step)) for index in range(count + 1)]
    span = Span(low=exact[0], high=exact[-1], step=float(step))
    assert span.size == count + 1
    assert span.drawn(chance) == exact[math.floor(Fraction(chance, 2**64) * (count + 1))]
    assert [span.position(value) for value in exact] == list(range(count + 1))
    assert [span.at(index) for index in range(count + 1)] == exact
    assert span.position(exact[0] + float(step) / 2) is None


def test_whole_numbers_are_drawn_evenly_and_are_whole():
    span = Span(low=2, high=7, whole=True)
    drawn = [span.drawn(chance) for chance in CHANCES]
    assert all(type(value) is int for value in drawn)
    assert stats.chisquare([drawn.count(value) for value in range(2, 8)]).pvalue > 0.01
    assert set(drawn) == set(range(2, 8))
    assert {Span(low=2, high=8, step=3, whole=True).drawn(chance) for chance in CHANCES} == {2, 5, 8}


def test_numbers_are_drawn_evenly_over_the_range():
    drawn = [Span(low=1, high=3).drawn(chance) for chance in CHANCES]
    assert stats.kstest(drawn, stats.uniform(1, 2).cdf).pvalue > 0.01


def test_numbers_are_drawn_evenly_over_the_logarithm():
    drawn = [Span(low=1e-5, high=1e-2, log=True).drawn(chance) for chance in CHANCES]
    assert stats.kstest(drawn, stats.loguniform(1e-5, 1e-2).cdf).pvalue > 0.01
    assert all(value == float(f"{value:.6g}") for value in drawn)


def test_whole_numbers_are_drawn_evenly_over_the_logarithm():
    drawn = [Span(low=2, high=9, whole=True, log=True).drawn(chance) for chance in CHANCES]
    expected = [len(CHANCES) * math.log((k + 1) / k) / math.log(10 / 2) for k in range(2, 10)]
    assert stats.chisquare([drawn.count(k) for k in range(2, 10)], expected).pvalue > 0.01
    assert set(drawn) == set(range(2, 10))


SPANS = [
    Span(low=0, high=4, step=0.04),
    Span(low=1e-5, high=1e-2, log=True),
    Span(low=0.1, high=0.3),
    Span(low=1, high=64, whole=True, log=True),
    Span(low=-3, high=9, whole=True),
    Span(low=4, high=64, step=4, whole=True),
]


@pytest.mark.parametrize("span", SPANS)
def test_both_ends_are_drawn_and_nothing_outside(span):
    assert span.drawn(0) == span.low
    assert span.drawn(2**64 - 1) == pytest.approx(span.high, rel=1e-6)
    for chance in [0, 2**64 - 1, *CHANCES[:200]]:
        value = span.drawn(chance)
        assert span.low <= value <= span.high
        assert span.at(span.position(value)) == value


@pytest.mark.parametrize("span", SPANS)
def test_what_lies_outside_has_no_position(span):
    for value in (span.low - 1, span.high + 1, None, "x", True, float("nan")):
        assert span.position(value) is None
    if span.whole:
        assert span.position(span.low + 0.5) is None


def test_a_list_is_found_among_lists():
    pools = Choices(values=((10, 8, 8), (8, 8, 10), None))
    assert [pools.position(value) for value in ([8, 8, 10], (10, 8, 8), None, [8, 8])] == [1, 0, 2, None]
    assert pools.at(1) == (8, 8, 10)


def test_only_growing_numbers_are_ascending():
    assert Choices(values=(64, 128, 256)).ascending
    for values in ((3, 1), (1, None), ("a", "b"), (False, True), ((1, 2), (3, 4))):
        assert not Choices(values=values).ascending


def test_a_space_is_as_large_as_its_axes_multiply_to():
    space = {"a": Choices(values=(1, 2, 3)), "b": Span(low=0, high=4, step=0.04)}
    assert size_of(space) == 3 * 101
    assert size_of({**space, "c": Span(low=2, high=5, whole=True, log=True)}) == 3 * 101 * 4
    assert size_of({**space, "c": Span(low=0, high=1)}) is None


@pytest.mark.parametrize(
    ("span", "bound", "expected"),
    [
        (Span(low=6, high=58, step=4), 20, Span(low=6, high=18, step=4)),
        (Span(low=6, high=58, step=4), 9, Choices(values=(6,))),
        (Span(low=1, high=9, whole=True), 2, Span(low=1, high=2, whole=True)),
        (Span(low=1e-5, high=1e-2, log=True), 1e-3, Span(low=1e-5, high=1e-3, log=True)),
        (Span(low=0, high=4, step=0.04), 4, Span(low=0, high=4, step=0.04)),
    ],
)
def test_the_part_up_to_a_bound_ends_on_a_step(span, bound, expected):
    assert span.up_to(bound) == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"low": 2, "high": 1}, "low 2 is not below high 1"),
        ({"low": 1, "high": 1}, r"a single value is a list: \[1\]"),
        ({"low": 0, "high": 1, "log": True}, "low is 0, but with log it must be above 0"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "log and step cannot be combined"),
        ({"low": 1, "high": 4, "step": 0.5, "whole": True}, "step is 0.5, but must be a whole number"),
        ({"low": 0, "high": 1, "step": 0.3}, r"its high 1 is not reached from 0 in steps of 0\.3; end at 0\.9 or 1\.2"),
        ({"low": 0, "high": 5, "step": 2, "whole": True}, "in steps of 2; end at 4 or 6"),
        ({"low": 0, "high": 10**400, "whole": True}, r"low and high must be between -1e\+15 and 1e\+15"),
        ({"low": 0, "high": 1, "step": 1e-30}, "more than 1e.15 steps"),
    ],
)
def test_what_holds_no_range_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        Span(**fields)
