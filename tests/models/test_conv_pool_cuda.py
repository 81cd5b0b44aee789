"""Triton's interpreter runs the kernels where there is no GPU, and its compiler makes them for one that is not there.

Which of them is chosen when a kernel is defined, so each has a process of its own: this very file, run as a script.
"""

import os
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
import triton
import triton.language as tl
from torch.nn import functional as F

from ser_ray import triton_host
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig, build
from ser_ray.models.conv_pool import choose, cuda, reference
from ser_ray.models.dropout import Draw, Dropout, philox

DRAW = Draw(seed=2**64 - 0x12345679, step=2**32 - 3)
KEY = Dropout(0.5, 0, DRAW).key
COUNTERS = 1000


@dataclass(frozen=True)
class Case:
    """Sizes of a block and its input; as in `reference.conv_pool`."""

    rows: int
    steps: int
    inputs: int
    channels: int
    kernel: int
    pool: int
    padding: tuple[int, int]
    rate: float | None

    @property
    def dropout(self):
        return None if self.rate is None else Dropout(self.rate, 3, DRAW)

    @property
    def frames(self):
        return (self.steps + sum(self.padding) - self.kernel + 1) // self.pool


CASES = {
    "first layer, two tiles of windows": Case(2, 650, 1, 20, 8, 10, (3, 4), 0.5),
    "two tiles of everything": Case(2, 40, 66, 70, 2, 8, (0, 1), 0.5),
    "odd kernel, few taps": Case(2, 103, 3, 26, 9, 5, (4, 4), 0.2),
    "kernel longer than the pool, no padding": Case(2, 53, 5, 7, 7, 3, (0, 0), None),
    "few taps, kernel longer than the pool": Case(1, 33, 2, 3, 12, 2, (5, 6), 0.5),
    "more padding than kernel": Case(3, 21, 2, 17, 3, 4, (7, 2), 0.2),
    "nothing pooled, several shares": Case(2, 600, 1, 2, 1, 1, (0, 0), 0.5),
    "largest pool of a byte": Case(1, 256, 1, 2, 1, 256, (0, 0), None),
    "pool beyond a byte": Case(1, 600, 1, 16, 2, 300, (0, 1), None),
    "shorter than a pool": Case(2, 9, 2, 3, 4, 8, (1, 2), 0.5),
}


NAN_CASES = ["odd kernel, few taps", "kernel longer than the pool, no padding"]


def tensors(case, kind):
    """x, weight, bias and the gradient of the output, none of them one stretch of memory.

    "whole" are small whole numbers: their sums are exact in any order, and windows are full of equal values.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(repr((case, kind)).encode()))

    def draw(*shape):
        if kind == "whole":
            return torch.randint(-2, 3, shape, generator=generator).float()
        return torch.randn(shape, generator=generator)

    x = draw(case.rows, case.inputs, case.steps).transpose(1, 2)
    if kind == "NaN":
        x[0, case.steps // 3], x[-1, case.steps // 2, 0] = torch.nan, -torch.inf
    weight = draw(case.kernel, case.channels, case.inputs).permute(1, 2, 0)
    return x, weight, draw(2 * case.channels)[::2], draw(case.rows, case.channels, case.frames).transpose(1, 2)


def convolved(x, weight, bias, case):
    return F.conv1d(F.pad(x.transpose(1, 2), case.padding), weight, bias)


def expected(case, kind):
    """What `reference` makes of a case, in float64, and the step that wins each pool."""
    x, weight, bias, grad = (tensor.double() for tensor in tensors(case, kind))
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    out = reference.conv_pool(*leaves, pool=case.pool, padding=case.padding, dropout=case.dropout)
    _, index = F.max_pool1d(convolved(x, weight, bias, case), case.pool, return_indices=True)
    winners = index.transpose(1, 2) - case.pool * torch.arange(case.frames)[:, None]
    return {"out": out.detach(), "winners": winners, "gradients": torch.autograd.grad(out, leaves, grad)}


def computed(case, kind, device="cpu"):
    """The same from the kernels."""
    x, weight, bias, grad = (tensor.to(device) for tensor in tensors(case, kind))
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    out = cuda.conv_pool(*leaves, pool=case.pool, padding=case.padding, dropout=case.dropout)
    winners = out.grad_fn.saved_tensors[3]
    gradients = torch.autograd.grad(out, leaves, grad)
    return {"out": out.detach().cpu(), "winners": winners.cpu(), "gradients": [g.cpu() for g in gradients]}


def check(found, case, kind):
    wanted = expected(case, kind)
    assert found["winners"].dtype == (torch.uint8 if case.pool <= 256 else torch.int32)
    assert torch.equal(found["winners"].long(), wanted["winners"])
    pairs = [(found["out"], wanted["out"]), *zip(found["gradients"], wanted["gradients"], strict=True)]
    for own, other in pairs:
        assert own.dtype == torch.float32
        assert own.shape == other.shape
        if kind == "whole":
            assert torch.equal(own.double(), other)
        elif own.numel():
            assert (own - other).abs().max() <= 1e-6 * other.abs().max()


def counters():
    """Four words for each of some counters, the largest and the smallest among them; of int64."""
    words = torch.randint(2**32, (4, COUNTERS), generator=torch.Generator().manual_seed(0))
    words[:, 0], words[:, 1], words[:, 2] = 0, 2**32 - 1, 2**31
    return words


@triton.jit(do_not_specialize=["key_0", "key_1"])
def philox_kernel(counters, words, key_0: tl.uint32, key_1: tl.uint32, N: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a = tl.load(counters + i, mask=i < N).to(tl.uint32)
    b = tl.load(counters + N + i, mask=i < N).to(tl.uint32)
    c = tl.load(counters + 2 * N + i, mask=i < N).to(tl.uint32)
    d = tl.load(counters + 3 * N + i, mask=i < N).to(tl.uint32)
    a, b, c, d = cuda.philox(key_0.to(tl.uint32), key_1.to(tl.uint32), a, b, c, d)
    tl.store(words + i, a, mask=i < N)
    tl.store(words + N + i, b, mask=i < N)
    tl.store(words + 2 * N + i, c, mask=i < N)
    tl.store(words + 3 * N + i, d, mask=i < N)


def kernels_words(device="cpu"):
    words = torch.zeros(4, COUNTERS, dtype=torch.int64, device=device)
    philox_kernel[(1,)](counters().to(device), words, *KEY, N=COUNTERS, BLOCK=1024)
    return words.cpu()


def run_script(mode, folder, **environment):
    """Run this file in a process of its own and return what it saved."""
    path = folder / f"{mode}.pt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, str(Path(__file__)), mode, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(path)


def interpret():
    found = {(name, kind): computed(case, kind) for name, case in CASES.items() for kind in ("whole", "any")}
    found |= {(name, "NaN"): computed(CASES[name], "NaN") for name in NAN_CASES}
    case = CASES["more padding than kernel"]
    x, weight, bias, grad = tensors(case, "whole")
    leaf = bias.requires_grad_()
    with mock.patch.multiple(cuda, _input_gradients=None, _weight_gradients=None):  # not to be called
        cuda.conv_pool(x, weight, leaf, pool=case.pool, padding=case.padding, dropout=case.dropout).backward(grad)
    found["frozen"] = leaf.grad
    leaves = [x[:, :1].clone().requires_grad_(), weight.clone().requires_grad_(), leaf]
    out = cuda.conv_pool(*leaves, pool=2, padding=(0, 1), dropout=None)
    found["empty"] = [out.detach(), *torch.autograd.grad(out.sum(), leaves)]
    found["philox"] = kernels_words()
    return found


def compile_kernels():
    """Compile, for a GPU that is not there, what a training step launches; the names of its kernels come back."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    class NoDriver:
        get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
        get_current_device = staticmethod(lambda: 0)
        get_current_stream = staticmethod(lambda device: 0)

    compiled, run = [], JITFunction.run

    def compile_only(self, *args, warmup, **kwargs):
        kernel = run(self, *args, warmup=True, **kwargs)
        compiled.append((self.fn.__name__, len(kernel.asm["cubin"]) > 0))

    driver.set_active(NoDriver())
    JITFunction.run = compile_only
    computed(CASES["first layer, two tiles of windows"], "any")
    torch.backends.cuda.matmul.allow_tf32 = True
    computed(CASES["two tiles of everything"], "any")
    kernels_words()
    return compiled


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return run_script("interpret", tmp_path_factory.mktemp("interpreted"), TRITON_INTERPRET="1")


@pytest.mark.parametrize("kind", ["whole", "any"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_winners_and_gradients_are_the_references(interpreted, name, kind):
    check(interpreted[name, kind], CASES[name], kind)


def test_the_cases_hold_what_they_are_there_for():
    assert expected(CASES["pool beyond a byte"], "any")["winners"].max() > 255
    case = CASES["first layer, two tiles of windows"]
    values = convolved(*tensors(case, "whole")[:3], case).unfold(2, case.pool, case.pool)
    assert ((values == values.amax(-1, keepdim=True)).sum(-1) > 1).float().mean() > 0.1
    assert 0.3 < (expected(case, "whole")["out"] > 0).float().mean() < 0.7


@pytest.mark.parametrize("name", NAN_CASES)
def test_nan_wins_a_pool_and_stays_in_its_windows(interpreted, name):
    found, wanted = interpreted[name, "NaN"], expected(CASES[name], "NaN")
    out = wanted["out"]
    assert 0 < out.isnan().float().mean() < 0.5
    largest = float(out[out.isfinite()].max())
    torch.testing.assert_close(found["out"].double(), out, rtol=0, atol=1e-6 * largest, equal_nan=True)
    assert torch.equal(found["winners"].long(), wanted["winners"])
    assert torch.isnan(found["gradients"][1]).any()


def test_what_is_frozen_costs_no_gradient(interpreted):
    _, _, d_bias = expected(CASES["more padding than kernel"], "whole")["gradients"]
    assert torch.equal(interpreted["frozen"].double(), d_bias)


def test_no_window_is_no_output_and_no_gradient(interpreted):
    out, d_x, d_weight, d_bias = interpreted["empty"]
    assert out.shape == (3, 0, 17)
    assert torch.equal(d_x, torch.zeros(3, 1, 2))
    assert torch.equal(d_weight, torch.zeros(17, 2, 3))
    assert torch.equal(d_bias, torch.zeros(17))


def test_philox_bit_for_bit(interpreted):
    assert torch.equal(interpreted["philox"], torch.stack(philox(tuple(counters()), KEY)))


def test_the_kernels_compile_for_a_gpu(tmp_path):
    compiled = run_script("compile", tmp_path, TRITON_CACHE_DIR=str(tmp_path / "cache"), TRITON_INTERPRET="0")
    step = ["forward", "input_gradients", "weight_gradients"]
    assert compiled == [(name, True) for name in [*step, *step, "philox_kernel"]]


def test_a_sequence_too_long_is_refused(monkeypatch):
    assert cuda.LARGEST_ROW <= 2**30  # so that an offset beyond its end, by a tile, still fits 32 bits
    monkeypatch.setattr(cuda, "LARGEST_ROW", 30)
    for inputs, channels in ((2, 1), (1, 4)):  # 32 values of input, of output
        weight, bias = torch.zeros(channels, inputs, 1), torch.zeros(channels)
        with pytest.raises(InputError, match=r"of 32 values .* at most 30: .* reference back end"):
            cuda.conv_pool(torch.zeros(1, 16, inputs), weight, bias, pool=2, padding=(0, 0), dropout=None)


@pytest.mark.parametrize(
    ("backend", "dtype", "taken"),
    [
        ("fused", torch.float32, cuda.conv_pool),
        ("fused", torch.float64, reference.conv_pool),
        ("fused", torch.bfloat16, reference.conv_pool),
        ("auto", torch.float32, reference.conv_pool),
        ("reference", torch.float32, reference.conv_pool),
    ],
)
def test_it_is_taken_on_a_gpu_in_float32_where_it_is_asked_for(monkeypatch, backend, dtype, taken):
    monkeypatch.setattr(triton_host, "missing_for_launchers", lambda: None)
    device = torch.device("cuda:0")
    assert choose(backend, device, dtype) is taken
    torch.set_autocast_enabled("cuda", True)
    try:
        assert choose(backend, device, dtype) is reference.conv_pool
    finally:
        torch.set_autocast_enabled("cuda", False)


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(triton_host, "missing_for_launchers", lambda: "there is no C compiler")


def test_without_what_triton_needs_it_is_refused_where_it_is_asked_for(no_compiler):
    with pytest.raises(InputError, match=r"resources\.backend is 'fused', .* there is no C compiler; take auto or ref"):
        choose("fused", torch.device("cuda:0"), torch.float32)
    for dtype in (torch.float64, torch.bfloat16):
        assert choose("fused", torch.device("cuda:0"), dtype) is reference.conv_pool
    assert choose("fused", torch.device("cpu"), torch.float32) is not reference.conv_pool


def test_auto_needs_nothing_of_triton_on_a_gpu(no_compiler):
    assert choose("auto", torch.device("cuda:0"), torch.float32) is reference.conv_pool


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", ["whole", "any"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_on_a_gpu(monkeypatch, name, kind):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    found = computed(CASES[name], kind, "cuda")
    check(found, CASES[name], kind)
    again = computed(CASES[name], kind, "cuda")
    assert all(torch.equal(a, b) for a, b in zip(found["gradients"], again["gradients"], strict=True))
    if kind == "whole":  # exact in TF32 too
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
        check(computed(CASES[name], kind, "cuda"), CASES[name], kind)


@pytest.mark.gpu
@needs_gpu
def test_philox_bit_for_bit_on_a_gpu():
    assert torch.equal(kernels_words("cuda"), torch.stack(philox(tuple(counters()), KEY)))


@pytest.mark.gpu
@needs_gpu
def test_the_papers_network_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    fused, plain = build(ModelConfig(), "fused").cuda(), build(ModelConfig(), "reference").cuda()
    plain.load_state_dict(fused.state_dict())
    waveform = torch.randn(2, 64_000, device="cuda")
    with torch.no_grad():
        difference = (fused.features(waveform, DRAW) - plain.features(waveform, DRAW)).abs().max()
    assert difference < 1e-5


if __name__ == "__main__":
    torch.save({"interpret": interpret, "compile": compile_kernels}[sys.argv[1]](), sys.argv[2])
