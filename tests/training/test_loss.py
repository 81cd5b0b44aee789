import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.metrics import ccc
from ser_ray.training.loss import ccc_loss, largest_loss, mse_loss


def batch(seed, B=3, T=20, targets=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, targets, generator=generator, dtype=dtype)
    return x, 0.4 * x + torch.randn(B, T, targets, generator=generator, dtype=dtype) + 0.3


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(2, 30), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_loss_is_1_minus_pooled_ccc(seed, B, T, targets):
    x, y = batch(seed, B, T, targets)
    expected = np.mean([1 - ccc(x[..., d].numpy(), y[..., d].numpy()) for d in range(targets)])
    assert ccc_loss(x, y).item() == pytest.approx(expected, abs=1e-12)


def test_loss_pools_over_the_batch_and_not_per_sequence():
    x, y = batch(0)
    y[1] += 2
    per_sequence = np.mean([ccc_loss(x[b : b + 1], y[b : b + 1]).item() for b in range(3)])
    assert abs(ccc_loss(x, y).item() - per_sequence) > 0.01


def test_gradient_is_2_over_n_times_equation_5():
    x, y = batch(1, B=2, T=25, targets=1)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(ccc_loss(x, y), x)
    a, b = x.detach().flatten(), y.flatten()
    cov = ((a - a.mean()) * (b - b.mean())).mean()
    psi = a.var(correction=0) + b.var(correction=0) + (a.mean() - b.mean()) ** 2
    equation_5 = 2 * cov * (a - b.mean()) / psi**2 + (b.mean() - b) / psi
    torch.testing.assert_close(gradient.flatten(), 2 / a.numel() * equation_5, rtol=1e-10, atol=1e-14)


def test_gradient_is_that_of_finite_differences():
    x, y = batch(2)
    mask = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)) > 0.3
    assert torch.autograd.gradcheck(lambda p: ccc_loss(p, y, mask), x.requires_grad_())


@pytest.mark.parametrize("loss", [ccc_loss, mse_loss])
def test_masked_frames_do_not_count_whatever_is_in_them(loss):
    x, y = batch(3, B=2)
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[0, :4] = mask[1, 13:] = False
    filled = y.clone()
    filled[~mask] = float("nan")
    x.requires_grad_()
    value = loss(x, filled, mask)
    expected = loss(x[mask][None], y[mask][None])
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)
    (gradient,) = torch.autograd.grad(value, x)
    assert gradient.isfinite().all()
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3])
def test_equal_constants_have_no_gradient_and_count_as_ccc_0(dtype, level):
    x = torch.full((2, 7, 2), level, dtype=dtype, requires_grad=True)
    loss = ccc_loss(x, torch.full((2, 7, 2), level, dtype=dtype))
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.item() == 1
    assert (gradient == 0).all()
    assert loss.dtype == dtype


def test_a_constant_prediction_learns_from_varied_gold():
    _, y = batch(4)
    x = torch.zeros_like(y, requires_grad=True)
    loss = ccc_loss(x, y)
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.item() == 1
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


@pytest.mark.parametrize("loss", [ccc_loss, mse_loss])
def test_nothing_counted_has_no_gradient(loss):
    x = torch.randn(1, 5, 2, requires_grad=True)
    value = loss(x, torch.full((1, 5, 2), float("nan")), torch.zeros(1, 5, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(value, x)
    assert value.isfinite()
    assert (gradient == 0).all()


def test_first_frame_masked_with_nan_gold():
    x, y = batch(5, B=1)
    mask = torch.ones(1, 20, dtype=torch.bool)
    mask[0, 0] = False
    filled = y.clone()
    filled[0, 0] = float("nan")
    assert ccc_loss(x, filled, mask).item() == pytest.approx(ccc_loss(x[:, 1:], y[:, 1:]).item(), abs=1e-12)


def test_mse_is_the_mean_of_squares():
    x, y = batch(6)
    assert mse_loss(x, y).item() == pytest.approx(float(np.mean((x.numpy() - y.numpy()) ** 2)))


@pytest.mark.parametrize(
    ("gold", "limit"),
    [
        ([[0.5, -1.0], [0.1]], 1e3),
        ([[0.0]], 1e3),
        ([[np.nan, 0.2], [np.nan]], 1e3),
        ([], 1e3),
        ([[0.0, 3.0], [-100.0, np.nan]], 1e7),
    ],
)
def test_the_loss_that_is_taken_for_divergence_follows_the_labels(gold, limit):
    arrays = [np.array(one, np.float32) for one in gold]
    assert largest_loss("mse", arrays) == limit
    assert largest_loss("ccc", arrays) == 1e3
