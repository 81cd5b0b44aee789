import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ser_ray.models import ModelConfig, build, kernels
from ser_ray.models.conv_pool import choose, cpu, reference
from ser_ray.models.dropout import Draw, Dropout, keep_mask

CPU = torch.device("cpu")


# inputs, kernel, pool of layers that are compiled for their sizes, so few of them
NARROW = [(1, 8, 10), (1, 1, 1), (1, 7, 3), (3, 5, 2), (2, 3, 5)]
WIDE = st.one_of(
    st.tuples(st.sampled_from([17, 33]), st.integers(1, 9), st.integers(1, 11)),
    st.tuples(st.sampled_from([3, 5]), st.integers(6, 9), st.integers(1, 11)),
    st.just((1, 40, 7)),
)


@st.composite
def problems(draw):
    """Any shapes: kernels above the pool, pools that leave a rest, one channel, one frame."""
    inputs, kernel, pool = draw(st.one_of(st.sampled_from(NARROW), WIDE))
    before, after = draw(st.integers(0, kernel)), draw(st.integers(0, kernel))
    least = max(1, kernel - 1 + pool - before - after)
    rate = draw(st.sampled_from([None, 0.2, 0.5, 0.9]))
    return {
        "rows": draw(st.integers(1, 3)),
        "steps": draw(st.integers(least, least + 150)),
        "inputs": inputs,
        "channels": draw(st.sampled_from([1, 2, 3, 4, 7, 26])),
        "kernel": kernel,
        "pool": pool,
        "padding": (before, after),
        "dropout": None if rate is None else Dropout(rate, draw(st.integers(0, 4)), Draw(draw(st.integers(0, 99)), 7)),
        "seed": draw(st.integers(0, 2**31)),
    }


def tensors(p, dtype=torch.float64):
    generator = torch.Generator().manual_seed(p["seed"])
    shapes = [
        (p["rows"], p["steps"], p["inputs"]),
        (p["channels"], p["inputs"], p["kernel"]),
        (p["channels"],),
    ]
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def run(operation, p, x, weight, bias):
    return operation(x, weight, bias, pool=p["pool"], padding=p["padding"], dropout=p["dropout"])


@given(problems())
@settings(deadline=None, max_examples=150)
def test_values_and_gradients_are_the_references_in_float64(p):
    inputs = tensors(p)
    expected, got = run(reference.conv_pool, p, *inputs), run(cpu.conv_pool, p, *inputs)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    towards = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, towards),
        torch.autograd.grad(expected, inputs, towards),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


PAPERS_LAYERS = [(1, 64, 8, 10, 20_000), (64, 128, 6, 8, 4000), (128, 256, 6, 8, 1000)]


@pytest.mark.parametrize(("inputs", "channels", "kernel", "pool", "steps"), PAPERS_LAYERS)
@pytest.mark.parametrize("rate", [None, 0.5])
def test_the_papers_layers_in_float64(inputs, channels, kernel, pool, steps, rate):
    p = {
        "rows": 2,
        "steps": steps,
        "inputs": inputs,
        "channels": channels,
        "kernel": kernel,
        "pool": pool,
        "padding": ((kernel - 1) // 2, kernel // 2),
        "dropout": None if rate is None else Dropout(rate, 1, Draw(3, 4)),
        "seed": 0,
    }
    given_ = tensors(p)
    expected, got = run(reference.conv_pool, p, *given_), run(cpu.conv_pool, p, *given_)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    towards = torch.randn_like(expected)
    mine = torch.autograd.grad(got, given_, towards)
    theirs = torch.autograd.grad(expected, given_, towards)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * b.abs().max().item())


@pytest.mark.parametrize(("inputs", "kernel", "pool"), [(3, 5, 2), (1, 7, 3), (20, 2, 4)])
def test_gradients_are_those_of_the_values(inputs, kernel, pool):
    p = {
        "rows": 2,
        "steps": 13,
        "inputs": inputs,
        "channels": 3,
        "kernel": kernel,
        "pool": pool,
        "padding": (1, 0),
        "dropout": Dropout(0.3, 0, Draw(0, 0)),
        "seed": 5,
    }
    assert torch.autograd.gradcheck(lambda *given_: run(cpu.conv_pool, p, *given_), tensors(p))


@pytest.mark.parametrize(("inputs", "channels", "kernel", "pool", "steps"), PAPERS_LAYERS)
def test_float32_against_float64_with_the_winners_pinned(inputs, channels, kernel, pool, steps):
    """In float32 near ties may fall the other way, so float64 is led through float32's winners."""
    rows, before = 2, (kernel - 1) // 2
    p = {"rows": rows, "steps": steps, "inputs": inputs, "channels": channels, "kernel": kernel, "seed": 0}
    dropout = Dropout(0.5, 0, Draw(1, 2))
    p |= {"pool": pool, "padding": (before, kernel // 2), "dropout": dropout}
    single = [t.detach().float().requires_grad_() for t in tensors(p)]
    got = run(cpu.conv_pool, p, *single)
    winners = torch.from_numpy(got.grad_fn.winners.astype(np.int64))
    double = [t.detach().double().requires_grad_() for t in single]
    conv = F.conv1d(F.pad(double[0].transpose(1, 2), p["padding"]), double[1], double[2]).transpose(1, 2)
    at = winners + torch.arange(got.shape[1])[None, :, None] * pool
    kept = keep_mask(dropout, *got.shape, CPU)
    expected = torch.where(kept, F.relu(conv.gather(1, at)) * 2, 0)
    assert (expected - got).abs().max() < 2e-6 * expected.abs().max()
    exact = F.max_pool1d(conv.transpose(1, 2), pool).transpose(1, 2)[kept]
    assert (exact - conv.gather(1, at)[kept]).max() < 1e-5  # a winner is one, but for rounding
    towards = torch.randn_like(got)
    mine = torch.autograd.grad(got, single, towards)
    theirs = torch.autograd.grad(expected, double, towards.double())
    for a, b in zip(mine, theirs, strict=True):
        assert (a - b).abs().max() < 5e-6 * b.abs().max()


def test_a_network_without_its_dropout_equals_the_reference():
    config = ModelConfig(channels=(4, 6, 5), kernels=(8, 6, 6), pools=(5, 4, 4), dropout=0.0, hidden=5)
    networks = []
    for backend in ("reference", "fused"):
        torch.manual_seed(0)
        networks.append(build(config, backend=backend).double())
    waveform = torch.randn(2, 80 * 30, dtype=torch.float64)
    outputs = [network(waveform) for network in networks]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-12)
    for output in outputs:
        output.square().sum().backward()
    for mine, theirs in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-10)


def test_a_network_draws_its_masks_from_the_draw_alone():
    config = ModelConfig(channels=(8, 8), kernels=(4, 4), pools=(4, 4), hidden=4)
    torch.manual_seed(0)
    model = build(config)
    waveform = torch.randn(3, 320)
    first = model(waveform, Draw(1, 5))
    torch.manual_seed(99)
    assert torch.equal(model(waveform, Draw(1, 5)), first)
    assert not torch.equal(model(waveform, Draw(1, 6)), first)
    assert not torch.equal(model(waveform, Draw(2, 5)), first)
    torch.manual_seed(7)
    free = model(waveform)
    torch.manual_seed(7)
    assert torch.equal(model(waveform), free)
    # a row's masks, and so its values, do not depend on how many rows there are
    torch.testing.assert_close(model(waveform[:1], Draw(1, 5)), first[:1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("inputs", [1, 16, 20])
def test_nan_and_infinity_are_not_swallowed(inputs, bad):
    p = {"rows": 1, "steps": 40, "inputs": inputs, "channels": 5, "kernel": 7, "pool": 3, "padding": (1, 1)}
    p |= {"dropout": None, "seed": 3}
    for step in (16, 17, 18):  # in each step of a pool
        x, weight, bias = tensors(p)
        with torch.no_grad():
            x[0, step, 0] = bad
        expected, got = run(reference.conv_pool, p, x, weight, bias), run(cpu.conv_pool, p, x, weight, bias)
        if 7 * inputs % kernels.LANES and inputs > 1:
            # rows of weights end in zeros then, and zero times what is not finite is NaN: in one window more, too
            assert not got[~expected.isfinite()].isfinite().any()
            touched = got.isnan().any(-1, keepdim=True)
            assert touched.sum() <= 5
            got = torch.where(touched, expected, got)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("inputs", [1, 20])
def test_of_equal_values_the_first_wins(inputs):
    x = torch.zeros(1, 12, inputs, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.ones(5, inputs, 1, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    cpu.conv_pool(x, weight, bias, pool=4, padding=(0, 0), dropout=None).sum().backward()
    for channel in range(inputs):
        assert x.grad[0, :, channel].nonzero().flatten().tolist() == [0, 4, 8]


def test_pools_beyond_a_byte():
    p = {"rows": 2, "steps": 1400, "inputs": 1, "channels": 3, "kernel": 30, "pool": 640, "padding": (14, 15)}
    p |= {"dropout": None, "seed": 1}
    inputs = tensors(p)
    got, expected = run(cpu.conv_pool, p, *inputs), run(reference.conv_pool, p, *inputs)
    assert got.grad_fn.winners.dtype == np.uint16
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    for a, b in zip(torch.autograd.grad(got.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_chunks_of_an_input_are_bit_equal_to_the_whole():
    p = {"rows": 1, "steps": 800, "inputs": 64, "channels": 30, "kernel": 6, "pool": 8, "padding": (2, 3)}
    x, weight, bias = (t.detach() for t in tensors(p | {"seed": 0}, torch.float32))
    whole = cpu.conv_pool(x, weight, bias, pool=8, padding=(2, 3), dropout=None)
    parts = []
    for a in range(0, 100, 7):
        b = min(a + 7, 100)
        low, high = a * 8 - 2, b * 8 + 3
        padding = max(-low, 0), max(high - 800, 0)
        piece = x[:, max(low, 0) : high]
        parts.append(cpu.conv_pool(piece, weight, bias, pool=8, padding=padding, dropout=None))
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_a_row_is_bit_equal_whatever_the_batch():
    p = {"rows": 3, "steps": 300, "inputs": 16, "channels": 20, "kernel": 5, "pool": 6, "padding": (2, 2)}
    p |= {"dropout": Dropout(0.5, 0, Draw(0, 0)), "seed": 0}
    x, weight, bias = (t.detach() for t in tensors(p, torch.float32))
    assert torch.equal(run(cpu.conv_pool, p, x[:1], weight, bias), run(cpu.conv_pool, p, x, weight, bias)[:1])


def test_nothing_of_the_size_of_the_convolution_is_kept():
    p = {"rows": 2, "steps": 8000, "inputs": 4, "channels": 64, "kernel": 6, "pool": 10, "padding": (2, 3)}
    x, weight, bias = tensors(p | {"seed": 0}, torch.float32)
    out = cpu.conv_pool(x, weight, bias, pool=10, padding=(2, 3), dropout=None)
    kept = [t for t in out.grad_fn.saved_tensors if t.data_ptr() not in (x.data_ptr(), weight.data_ptr())]
    assert [t.shape for t in kept] == [out.shape]
    assert out.grad_fn.winners.dtype == np.uint8


def test_which_back_end_is_taken():
    assert choose("auto", CPU, torch.float32) is cpu.conv_pool
    assert choose("fused", CPU, torch.float64) is cpu.conv_pool
    assert choose("reference", CPU, torch.float32) is reference.conv_pool
    assert choose("auto", CPU, torch.bfloat16) is reference.conv_pool
    with torch.autocast("cpu", torch.bfloat16):
        assert choose("auto", CPU, torch.float32) is reference.conv_pool


@pytest.mark.slow
def test_workers_find_the_kernels_compiled(tmp_path):
    count = "print(sum(sum(k.stats.cache_misses.values()) for k in (kernels.forward, kernels.backward)))"
    warm = f"from ser_ray.models import kernels; kernels.warm(); {count}"
    step = (
        "import torch; from ser_ray.models import ModelConfig, build, kernels; "
        f"build(ModelConfig())(torch.randn(2, 6400)).sum().backward(); {count}"
    )
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    misses = [
        int(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
        for code in (warm, step)
    ]
    assert misses == [2, 0]
