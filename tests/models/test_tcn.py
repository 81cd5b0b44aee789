"""The TCN against its unrolled sum, and what its frames see."""

import numpy as np
import pytest
import torch

from ser_ray.models.dropout import Draw, Dropout, keep_mask
from ser_ray.models.tcn import TcnLayer, tcn_layers

FRAMES = 60


def unrolled(x, weight, bias, dilation, left):
    """x + relu(sum over taps), frame by frame; frames outside are zero."""
    frames = len(x)
    out = np.empty_like(x)
    for t in range(frames):
        total = bias.copy()
        for tap in range(weight.shape[2]):
            seen = t + tap * dilation - left
            if 0 <= seen < frames:
                total += weight[:, :, tap] @ x[seen]
        out[t] = x[t] + np.maximum(total, 0)
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kernel", "dilation"), [(5, 1), (5, 8), (4, 3), (1, 2)])
def test_a_layer_is_its_unrolled_sum(kernel, dilation, causal):
    torch.manual_seed(kernel)
    layer = TcnLayer(3, kernel, dilation, causal=causal).double().requires_grad_(False)
    x = np.random.default_rng(0).normal(size=(FRAMES, 3))
    found = layer(torch.from_numpy(x)[None])[0].numpy()
    left = (kernel - 1) * dilation if causal else (kernel - 1) // 2 * dilation
    expected = unrolled(x, layer.conv.weight.numpy(), layer.conv.bias.numpy(), dilation, left)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("causal", "before", "after"), [(False, 30, 30), (True, 60, 0)])
def test_frames_see_as_far_as_the_dilations_reach(causal, before, after):
    torch.manual_seed(0)
    layers = tcn_layers(4, 6, 5, (1, 2, 4, 8), causal=causal)
    x = torch.randn(1, 201, 4, requires_grad=True)
    y = x
    for layer in layers:
        y = layer(y)
    y[0, 100].sum().backward()
    seen = np.flatnonzero(x.grad[0].abs().sum(dim=1).numpy())
    assert (100 - seen.min(), seen.max() - 100) == (before, after)
    assert sum(layer.pad_left for layer in layers) == before
    assert sum(layer.pad_right for layer in layers) == after


def test_dropout_is_in_the_branch_alone_and_its_masks_are_of_the_layer():
    torch.manual_seed(0)
    layer = TcnLayer(8, 3, 1, causal=False).requires_grad_(False)
    x, dropout = torch.randn(2, 20, 8), Dropout(0.4, 7, Draw(1, 2))
    branch = layer(x) - x
    kept = keep_mask(dropout, 2, 20, 8, x.device)
    torch.testing.assert_close(layer(x, dropout=dropout), x + torch.where(kept, branch / 0.6, 0))


@pytest.mark.parametrize(("kernel", "dilation"), [(5, 1), (3, 4), (1, 2)])
def test_gradients_are_those_of_an_independent_convolution(kernel, dilation):
    torch.manual_seed(kernel)
    layer = TcnLayer(4, kernel, dilation, causal=False).double()
    x = torch.randn(3, 30, 4, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(3, 30, 4, dtype=torch.float64)
    inputs = (x, layer.conv.weight, layer.conv.bias)
    found = torch.autograd.grad((layer(x) * upstream).sum(), inputs)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (layer.pad_left, layer.pad_right))
    expected = torch.autograd.grad(((x + layer.conv(padded).relu().transpose(1, 2)) * upstream).sum(), inputs)
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)
