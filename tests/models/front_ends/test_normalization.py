"""Normalisation against its literal formula: what counts, what does not, and what nothing becomes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.models.front_ends.normalization import (
    EPSILON,
    RecordingMoments,
    normalize_by,
    normalize_running,
    normalize_segment,
    sounding,
)

ROWS, STEPS, CHANNELS = 3, 40, 5


def case(seed=0, share=0.7):
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.normal(size=CHANNELS) * 5, rng.uniform(0.1, 3, CHANNELS), (ROWS, STEPS, CHANNELS))
    return x, rng.random((ROWS, STEPS)) < share


def literal(x, counted, deviation):
    own = x[counted] if counted.any() else x
    centred = x - own.mean(axis=0)
    return centred / np.sqrt(own.var(axis=0) + EPSILON) if deviation else centred


@given(seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]), deviation=st.booleans())
@settings(deadline=None, max_examples=30)
def test_a_segment_is_normalised_by_its_counted_steps(seed, share, deviation):
    x, counted = case(seed, share)
    found = normalize_segment(torch.from_numpy(x), torch.from_numpy(counted), deviation=deviation).numpy()
    for row in range(ROWS):
        np.testing.assert_allclose(found[row], literal(x[row], counted[row], deviation), atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("deviation", [False, True])
def test_gradients_of_a_segment_are_numerical_ones(share, deviation):
    x, counted = case(3, share)
    x = torch.from_numpy(x[:, :12]).requires_grad_()
    own = torch.from_numpy(counted[:, :12])
    assert torch.autograd.gradcheck(lambda x: normalize_segment(x, own, deviation=deviation), (x,))


@given(seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.3, 1.0]), cut=st.integers(1, STEPS - 1))
@settings(deadline=None, max_examples=30)
def test_running_statistics_are_of_the_steps_so_far(seed, share, cut):
    x, counted = case(seed, share)
    expected = np.empty_like(x)
    for row in range(ROWS):
        for t in range(STEPS):
            seen = x[row, : t + 1][counted[row, : t + 1]]
            mean, variance = (seen.mean(axis=0), seen.var(axis=0)) if len(seen) else (0, 0)
            expected[row, t] = (x[row, t] - mean) / np.sqrt(variance + EPSILON)
    x, counted = torch.from_numpy(x), torch.from_numpy(counted)
    whole, _ = normalize_running(x, counted)
    np.testing.assert_allclose(whole.numpy(), expected, rtol=1e-6, atol=1e-6)
    first, sums = normalize_running(x[:, :cut], counted[:, :cut])
    rest, _ = normalize_running(x[:, cut:], counted[:, cut:], sums)
    assert torch.equal(torch.cat([first, rest], dim=1), whole)
    changed = x.clone()
    changed[:, cut:] += 7
    assert torch.equal(normalize_running(changed, counted)[0][:, :cut], first), "the future is not heard"


@pytest.mark.parametrize("deviation", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_recording_is_normalised_by_the_sums_of_its_blocks(deviation, share):
    x, counted = case(4, share)
    moments = RecordingMoments()
    for start in range(0, STEPS, 16):
        block = slice(start, start + 16)
        moments.add(torch.from_numpy(x[:1, block]), torch.from_numpy(counted[:1, block]))
    found = normalize_by(torch.from_numpy(x[:1]), moments.statistics()[None], deviation=deviation)[0].numpy()
    np.testing.assert_allclose(found, literal(x[0], counted[0], deviation), atol=1e-7)


def test_a_constant_becomes_zero():
    x, everything = torch.full((2, 9, 3), 4.0), torch.ones(2, 9, dtype=torch.bool)
    assert normalize_segment(x, everything, deviation=True).abs().max() == 0
    assert normalize_running(x, everything)[0].abs().max() < 1e-3
    moments = RecordingMoments()
    moments.add(x[:1], everything[:1])
    assert normalize_by(x[:1], moments.statistics()[None], deviation=True).abs().max() == 0


def test_padding_and_silence_do_not_sound():
    waveform = torch.randn(2, 10 * 16)
    waveform[0, 48:96] = 0.25  # digital silence, of any level
    waveform[1, 100:] = 0  # padding, from within a step on
    heard = sounding(waveform, 16)
    assert heard[0].tolist() == [True] * 3 + [False] * 3 + [True] * 4
    assert heard[1].tolist() == [True] * 7 + [False] * 3
