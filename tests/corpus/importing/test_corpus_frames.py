"""Stamps become frames that stay aligned to the audio, whatever the rates, and that know nothing of later rows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus.importing.frames import Framing, at_instants, to_frames
from ser_ray.corpus.source.traces import Traces
from ser_ray.errors import InputError

HOPS = [160, 320, 400, 640, 800, 1000, 1280, 1600, 4000, 8000]


def traces(times, *columns):
    names = [f"c{i}" for i in range(len(columns))]
    values = {name: np.asarray(column, np.float64) for name, column in zip(names, columns, strict=True)}
    return Traces(Path("x.csv"), np.asarray(times, np.float64), values, range(2, len(times) + 2))


def literally(times, values, instants, step):
    """The mean of the rows in (instant - step, instant], else the last row before, else nothing."""
    found = []
    for instant in instants:
        inside = [v for t, v in zip(times, values, strict=True) if instant - step + 1e-6 < t <= instant + 1e-6]
        before = [v for t, v in zip(times, values, strict=True) if t <= instant + 1e-6]
        found.append(np.mean(inside) if inside else before[-1] if before else np.nan)
    return np.array(found)


irregular = st.lists(st.integers(1, 400), min_size=2, max_size=60).map(lambda steps: np.cumsum(steps) / 100)


@given(times=irregular, hop=st.sampled_from(HOPS), seed=st.integers(0, 99), at_end=st.booleans())
def test_resampling_is_the_literal_rule(times, hop, seed, at_end):
    values = np.random.default_rng(seed).uniform(-1, 1, times.size)
    framing = Framing(hop, "end" if at_end else "start", resample=True)
    frames = to_frames(traces(times, values), framing)["c0"]
    instants = (np.arange(frames.size) + at_end) * hop / 16000
    np.testing.assert_allclose(frames, literally(times, values, instants, hop / 16000), rtol=0, atol=1e-12)
    # all instants up to the last row, and no further
    assert instants.size == 0 or instants[-1] <= times[-1] + 1e-6
    assert (frames.size + at_end) * hop / 16000 > times[-1]


@given(times=irregular, hop=st.sampled_from(HOPS), cut=st.floats(0, 1), alignment=st.sampled_from(["start", "end"]))
def test_nothing_is_known_of_what_comes_later(times, hop, cut, alignment):
    values = np.sin(times)
    row = int(cut * (times.size - 1))
    later = values.copy()
    later[row:] += 1 + np.arange(times.size - row)
    framing = Framing(hop, alignment, resample=True)
    one, other = (to_frames(traces(times, v), framing)["c0"] for v in (values, later))
    instants = (np.arange(one.size) + (alignment == "end")) * hop / 16000
    before = instants < times[row] - 1e-5
    np.testing.assert_array_equal(one[before], other[before])


@given(hop=st.sampled_from(HOPS), rows=st.integers(2, 200), at_end=st.booleans(), seed=st.integers(0, 99))
def test_the_same_rate_comes_as_it_is(hop, rows, at_end, seed):
    times = ((np.arange(rows) + at_end) * hop / 16000).round(6)
    values = np.random.default_rng(seed).uniform(-1, 1, rows)
    np.testing.assert_array_equal(to_frames(traces(times, values), Framing(hop, resample=True))["c0"], values)
    np.testing.assert_array_equal(to_frames(traces(times, values), Framing(hop))["c0"], values)


@settings(max_examples=50)
@given(source=st.sampled_from(HOPS), target=st.sampled_from(HOPS), rows=st.integers(20, 200))
def test_times_stay_aligned_for_any_pair_of_rates(source, target, rows):
    """A ramp says at each frame what time it is: never later, and at most a step of either rate earlier."""
    times = np.arange(rows) * source / 16000
    frames = to_frames(traces(times, times), Framing(target, "start", resample=True))["c0"]
    instants = np.arange(frames.size) * target / 16000
    assert (frames <= instants + 1e-9).all()
    assert (instants - frames < (source + target) / 16000).all()


@pytest.mark.parametrize("resample", [False, True])
@given(lag=st.integers(0, 30), alignment=st.sampled_from(["start", "end"]), rows=st.integers(60, 90))
def test_lag_and_alignment_move_rows_to_the_frames_they_speak_of(resample, lag, alignment, rows):
    """Frame i carries the label that stands lag frames later, at its start or its end."""
    times = np.arange(rows) * 0.04
    framing = Framing(640, alignment, resample=resample, lag_s=lag * 0.04)
    frames = to_frames(traces(times, np.arange(rows)), framing)["c0"]
    np.testing.assert_array_equal(frames, np.arange(lag + (alignment == "end"), rows))


def test_7501_rows_both_ways():
    """RECOLA's rows stand at 0, 0.04, ..., 300 s; the paper drops the first."""
    recola = traces(np.arange(7501) * 0.04, np.arange(7501))
    assert to_frames(recola, Framing(640, "end"))["c0"][[0, -1]].tolist() == [1, 7500]
    assert to_frames(recola, Framing(640, "start"))["c0"][[0, -1]].tolist() == [0, 7500]
    assert to_frames(recola, Framing(640))["c0"].size == 7501


def test_stamps_at_the_end_are_no_start():
    at_end = traces(np.arange(1, 51) * 0.04, np.arange(50))
    np.testing.assert_array_equal(to_frames(at_end, Framing(640, "end"))["c0"], np.arange(50))
    message = r"x.csv, line 2: the first time is 0.04 s, so there is no label at the start .* --alignment end"
    with pytest.raises(InputError, match=message):
        to_frames(at_end, Framing(640, "start"))


def test_nan_stays_where_it_is():
    values = [1.0, np.nan, 3.0, 4.0, np.nan, np.nan, 7.0, 8.0]
    frames = to_frames(traces(np.arange(8) * 0.02, values), Framing(640, "start", resample=True))["c0"]
    np.testing.assert_array_equal(frames, [1.0, np.nan, np.nan, np.nan])
    drawn_out = to_frames(traces(np.arange(3) * 0.08, [1.0, np.nan, 3.0]), Framing(640, "start", resample=True))["c0"]
    np.testing.assert_array_equal(drawn_out, [1.0, 1.0, np.nan, np.nan, 3.0])


def test_before_the_first_row_is_nothing():
    frames = to_frames(traces([0.1, 0.2], [5.0, 6.0]), Framing(640, "start", resample=True))["c0"]
    np.testing.assert_array_equal(frames, [np.nan, np.nan, np.nan, 5.0, 5.0, 6.0])
    assert np.isnan(at_instants(np.array([1.0]), np.array([2.0]), np.array([0.5]), 0.04)).all()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 0.04, 0.04], "line 4: time 0.04 s after 0.04 s, the same time as the row before"),
        ([0, 0.04, 0.02], "line 4: time 0.02 s after 0.04 s, a time before that of the row before"),
        ([0, np.nan, 0.04], "line 3: time is nan, but must be a finite number of seconds"),
        ([0], "has 1 row"),
    ],
)
def test_times_that_do_not_rise(times, message):
    with pytest.raises(InputError, match=message):
        to_frames(traces(times, np.zeros(len(times))), Framing(640, resample=True))
