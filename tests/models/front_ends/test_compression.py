"""Compression against its formula, step by step."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from ser_ray.models.front_ends.compression import LOG_FLOOR, SMOOTHING, LogCompression, Pcen, running_mean


@pytest.mark.parametrize("steps", [1, 2, 7, 64, 301])
def test_the_running_mean_is_a_first_order_filter(steps):
    rng = np.random.default_rng(steps)
    x, before = rng.exponential(size=(2, steps, 3)), rng.exponential(size=(2, 3))
    found = running_mean(torch.from_numpy(x), torch.from_numpy(before)).numpy()
    state = (1 - SMOOTHING) * before[:, None]
    expected, _ = lfilter([SMOOTHING], [1, SMOOTHING - 1], x, axis=1, zi=state)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_pcen_is_its_formula_and_goes_on_from_a_state():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.exponential(size=(1, 50, 4)))
    pcen = Pcen(4).double()
    with torch.no_grad():
        for parameter in pcen.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.1, 4)))
        whole, _ = pcen(x)
        alpha, delta, r = (p.exp().numpy() for p in (pcen.log_alpha, pcen.log_delta, pcen.log_r))
        first, state = pcen(x[:, :20])
        rest, _ = pcen(x[:, 20:], state)
    mean = x[0, 0].numpy()
    for t, step in enumerate(x[0].numpy()):
        mean = (1 - SMOOTHING) * mean + SMOOTHING * step
        expected = (step / (1e-6 + mean) ** alpha + delta) ** r - delta**r
        np.testing.assert_allclose(whole[0, t].numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(torch.cat([first, rest], dim=1).numpy(), whole.numpy(), rtol=1e-10)


def test_pcen_starts_where_the_paper_does_and_learns():
    pcen = Pcen(3)
    assert [round(p.exp()[0].item(), 4) for p in (pcen.log_alpha, pcen.log_delta, pcen.log_r)] == [0.98, 2.0, 0.5]
    pcen(torch.rand(2, 30, 3))[0].square().mean().backward()
    assert all(parameter.grad.abs().min() > 0 for parameter in pcen.parameters())


def test_pcen_takes_the_level_out():
    x = torch.rand(1, 2000, 1) + 0.5
    loud, soft = (Pcen(1)(level * x)[0][0, 500:].detach().mean().item() for level in (100.0, 1.0))
    # what is left of a level L is L^(1 - alpha), before a concave function
    assert 1 < loud / soft < 100**0.02


def test_the_logarithm_has_a_floor():
    found = LogCompression()(torch.tensor([[[0.0, 1.0]]]))
    np.testing.assert_allclose(found.numpy(), [[[np.log(LOG_FLOOR), np.log(1 + LOG_FLOOR)]]], rtol=1e-6, atol=1e-7)
