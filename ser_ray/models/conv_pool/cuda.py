# mypy: disable-error-code="import-untyped, no-untyped-def, untyped-decorator"
"""The fused block on a GPU, in Triton.

UNMEASURED: it gives the reference's values in Triton's interpreter, and it compiles, but no GPU has run it yet.

The convolution's own output, pool times as large as the pooled output, never leaves the registers. The backward pass
needs three things from the forward pass: the input; the pooled output, whose positive values are the mask of ReLU and
dropout; and one small integer per output, the winning step of the pool.

The backward pass is dense. For each step of the pools it computes an ordinary matrix product with the errors of the
windows that the step won, and zeros elsewhere. These are twice as many products as in the forward pass, but tensor
cores should compute them faster than a GPU gathers the winners' inputs one by one. One program sums each value in a
fixed order, and partial sums of the weights' gradients are added afterwards. There are no atomics, so every run on the
same kind of GPU gives the same numbers.

Layout: steps before channels, so that the inputs of one output (its taps, kernel x channels in) are contiguous.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from ser_ray.errors import InputError
from ser_ray.models.dropout import Dropout, quads
from ser_ray.triton_host import keep_cache_on_node

keep_cache_on_node()

FEW_TAPS = 32
"""Up to this many taps are multiplied and added one by one, since a matrix product would be padded with zeros."""
TILES_PER_SHARE = 32
"""Largest number of tiles of windows over which one program sums the gradients of weights."""
LARGEST_ROW = 2**30
"""Largest number of values in a sequence of the input or the output: offsets in it have 32 bits."""


def conv_pool(
    x: Tensor, weight: Tensor, bias: Tensor, *, pool: int, padding: tuple[int, int], dropout: Dropout | None
) -> Tensor:
    """Compute a block's output; arguments as in `reference.conv_pool`, all tensors float32 on one GPU.

    Matrix products are rounded to TF32 if `torch.backends.cuda.matmul.allow_tf32` allows it. Raises InputError if a
    sequence has more than 2^30 values.
    """
    output: Tensor = _ConvPool.apply(x, weight, bias, pool, padding, dropout)  # type: ignore[no-untyped-call]
    return output


class _ConvPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, pool: int, padding: tuple[int, int], dropout: Dropout | None
    ) -> Tensor:
        channels, inputs, kernel = weight.shape
        rows, steps = x.shape[:2]
        before, after = padding
        frames = max(0, (steps + before + after - kernel + 1) // pool)
        largest = max(steps * inputs, frames * channels)
        if largest > LARGEST_ROW:
            raise InputError(
                f"a sequence of {largest} values in a convolutional block is too long for its fused GPU back end, "
                f"which takes at most {LARGEST_ROW}: cut it, or build the network with the reference back end"
            )
        x = x.contiguous()
        out = x.new_empty(rows, frames, channels)
        winners = torch.empty_like(out, dtype=torch.uint8 if pool <= 256 else torch.int32)
        scale = 1.0 if dropout is None else dropout.scale
        words = (0, 0, 0, 0, 0) if dropout is None else (dropout.layer, dropout.step, *dropout.key, dropout.threshold)
        block_f, block_q = _tile(frames, 16, 64), _tile(quads(channels), 4, 16)
        tiles = triton.cdiv(frames, block_f)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            forward[rows * tiles, triton.cdiv(quads(channels), block_q)](
                *(x, weight.permute(2, 1, 0).contiguous(), bias.contiguous(), out, winners),
                *(steps * inputs, frames, tiles, before, *words, scale),
                HOP=inputs,
                TAPS=inputs * kernel,
                CHANNELS=channels,
                QUADS=quads(channels),
                POOL=pool,
                DROPS=dropout is not None,
                DOT=inputs * kernel > FEW_TAPS,
                PRECISION=_precision(),
                BLOCK_F=block_f,
                BLOCK_Q=block_q,
                BLOCK_J=32,
            )
        ctx.save_for_backward(x, weight, out, winners)
        ctx.pool, ctx.before, ctx.scale = pool, before, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor, None, None, None]:
        x, weight, out, winners = ctx.saved_tensors
        errors = torch.where(out <= 0, 0, grad * ctx.scale).contiguous()  # NaN passes, as through PyTorch's ReLU
        d_x = d_weight = None
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            if ctx.needs_input_grad[0]:
                d_x = _input_gradients(x, weight, errors, winners, ctx.pool, ctx.before)
            if ctx.needs_input_grad[1]:
                d_weight = _weight_gradients(x, weight, errors, winners, ctx.pool, ctx.before)
        return d_x, d_weight, errors.sum((0, 1)), None, None, None


def _input_gradients(x: Tensor, weight: Tensor, errors: Tensor, winners: Tensor, pool: int, before: int) -> Tensor:
    """Compute the gradient of x [B, T, channels in] from the errors [B, frames, channels] of the winners."""
    channels, inputs, kernel = weight.shape
    rows, steps = x.shape[:2]
    d_x = torch.empty_like(x)
    block_s, block_i = _tile(steps, 16, 64), _tile(inputs, 16, 64)
    tiles = triton.cdiv(steps, block_s)
    input_gradients[rows * tiles, triton.cdiv(inputs, block_i)](
        *(errors, winners, weight.permute(0, 2, 1).contiguous(), d_x, steps, errors.shape[1], tiles, before),
        HOP=inputs,
        KERNEL=kernel,
        CHANNELS=channels,
        POOL=pool,
        PRECISION=_precision(),
        BLOCK_S=block_s,
        BLOCK_C=32,
        BLOCK_I=block_i,
    )
    return d_x


def _weight_gradients(x: Tensor, weight: Tensor, errors: Tensor, winners: Tensor, pool: int, before: int) -> Tensor:
    """Compute the gradient of weight [channels, channels in, kernel] from the errors of the winners."""
    channels, inputs, kernel = weight.shape
    rows, frames = errors.shape[:2]
    taps = inputs * kernel
    block_f, block_j, block_c = 16, _tile(taps, 16, 64), _tile(channels, 16, 64)
    tiles = min(TILES_PER_SHARE, triton.cdiv(rows * frames, block_f)) or 1
    shares = triton.cdiv(rows * frames, block_f * tiles)
    partial = errors.new_empty(shares, taps, channels)
    weight_gradients[shares, triton.cdiv(taps, block_j), triton.cdiv(channels, block_c)](
        *(x, errors, winners, partial, x.shape[1] * inputs, frames, rows * frames, before),
        HOP=inputs,
        TAPS=taps,
        CHANNELS=channels,
        POOL=pool,
        TILES=tiles,
        PRECISION=_precision(),
        BLOCK_F=block_f,
        BLOCK_J=block_j,
        BLOCK_C=block_c,
    )
    return partial.sum(0).reshape(kernel, inputs, channels).permute(2, 1, 0).contiguous()


def _tile(size: int, least: int, most: int) -> int:
    """Return the power of two that covers a size, within bounds (powers of two); products need 16 at least."""
    return min(max(int(triton.next_power_of_2(size)), least), most)


def _precision() -> str:
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


@triton.jit
def philox(key_0, key_1, a, b, c, d):
    """Compute four words of random bits from counters of four uint32, which broadcast; as `models.dropout.philox`."""
    return tl.philox(key_1.to(tl.uint64) << 32 | key_0.to(tl.uint64), a, b, c, d)


@triton.jit
def kept(layer, step, key_0, key_1, threshold, row, frame, quad):
    """Compute the mask of kept values [frames, 4 quads]: those of the quads' first words, of the second, ..."""
    counter = layer.to(tl.uint32) << 16 | quad.to(tl.uint32)
    a, b, c, d = philox(
        key_0, key_1, counter[None, :], frame.to(tl.uint32)[:, None], row.to(tl.uint32), step.to(tl.uint32)
    )
    words = tl.permute(tl.join(tl.join(a, c), tl.join(b, d)), (0, 2, 3, 1))  # [frames, 2, 2, quads]
    return tl.reshape(words, (frame.shape[0], 4 * quad.shape[0])) >= threshold.to(tl.uint32)


@triton.jit(do_not_specialize=["before", "layer", "step", "key_0", "key_1", "threshold"])
def forward(
    x,  # [rows, length]
    weight,  # [TAPS, CHANNELS]
    bias,
    out,  # [rows, frames, CHANNELS]
    winners,  # as out
    length,
    frames,
    tiles,
    before,
    layer: tl.uint32,
    step: tl.uint32,
    key_0: tl.uint32,
    key_1: tl.uint32,
    threshold: tl.uint32,
    scale,
    HOP: tl.constexpr,
    TAPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    QUADS: tl.constexpr,
    POOL: tl.constexpr,
    DROPS: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """Fill out and winners for a tile of a row's windows and the channels of a tile of quads."""
    row = tl.program_id(0) // tiles
    frame = tl.program_id(0) % tiles * BLOCK_F + tl.arange(0, BLOCK_F)
    first_quad = tl.program_id(1) * BLOCK_Q
    n = tl.arange(0, 4 * BLOCK_Q)
    quad = first_quad + n % BLOCK_Q
    channel = n // BLOCK_Q * QUADS + quad
    exists = (quad < QUADS) & (channel < CHANNELS)
    x += row.to(tl.int64) * length
    best = tl.full((BLOCK_F, 4 * BLOCK_Q), float("-inf"), tl.float32)
    winner = tl.full((BLOCK_F, 4 * BLOCK_Q), 0, tl.int32)
    for p in range(POOL):
        start = (frame * POOL + p - before) * HOP
        value = tl.full((BLOCK_F, 4 * BLOCK_Q), 0, tl.float32)
        if DOT:
            for j in range(0, TAPS, BLOCK_J):
                tap = j + tl.arange(0, BLOCK_J)
                of_x, of_w = start[:, None] + tap[None, :], tap[:, None] * CHANNELS + channel[None, :]
                a = tl.load(x + of_x, mask=(of_x >= 0) & (of_x < length) & (tap < TAPS)[None, :], other=0)
                w = tl.load(weight + of_w, mask=(tap < TAPS)[:, None] & exists[None, :], other=0)
                value = tl.dot(a, w, value, input_precision=PRECISION)
        else:
            for tap in range(TAPS):
                of_x = start + tap
                a = tl.load(x + of_x, mask=(of_x >= 0) & (of_x < length), other=0)
                w = tl.load(weight + tap * CHANNELS + channel, mask=exists, other=0)
                value += a[:, None] * w[None, :]
        better = (value > best) | (value != value)  # the first of equals wins; NaN beats all
        winner = tl.where(better, p, winner)
        best = tl.where(better, value, best)
    best += tl.load(bias + channel, mask=exists, other=0)[None, :]
    best = tl.where(best <= 0, 0.0, best * scale)
    if DROPS:
        keeps = kept(layer, step, key_0, key_1, threshold, row, frame, first_quad + tl.arange(0, BLOCK_Q))
        best = tl.where(keeps, best, 0.0)
    of_out = row.to(tl.int64) * frames * CHANNELS + (frame[:, None] * CHANNELS + channel[None, :])
    stored = (frame < frames)[:, None] & exists[None, :]
    tl.store(out + of_out, best, mask=stored)
    tl.store(winners + of_out, winner, mask=stored)


@triton.jit(do_not_specialize=["before"])
def input_gradients(
    errors,  # [rows, frames, CHANNELS]
    winners,  # as errors
    weight,  # [CHANNELS, KERNEL, HOP]
    d_x,  # [rows, steps, HOP]
    steps,
    frames,
    tiles,
    before,
    HOP: tl.constexpr,
    KERNEL: tl.constexpr,
    CHANNELS: tl.constexpr,
    POOL: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_I: tl.constexpr,
):
    """Fill d_x for a tile of a row's steps and a tile of input channels; each step sums over the outputs it reaches."""
    row = tl.program_id(0) // tiles
    s = tl.program_id(0) % tiles * BLOCK_S + tl.arange(0, BLOCK_S)
    i = tl.program_id(1) * BLOCK_I + tl.arange(0, BLOCK_I)
    errors += row.to(tl.int64) * frames * CHANNELS
    winners += row.to(tl.int64) * frames * CHANNELS
    total = tl.full((BLOCK_S, BLOCK_I), 0, tl.float32)
    for k in range(KERNEL):
        t = s + before - k  # of the convolution's steps
        frame, p = t // POOL, t % POOL
        exists = (t >= 0) & (frame < frames)
        for c in range(0, CHANNELS, BLOCK_C):
            channel = c + tl.arange(0, BLOCK_C)
            of_out, reached = (
                frame[:, None] * CHANNELS + channel[None, :],
                exists[:, None] & (channel < CHANNELS)[None, :],
            )
            won = tl.load(winners + of_out, mask=reached, other=0) == p[:, None]
            error = tl.where(won, tl.load(errors + of_out, mask=reached, other=0), 0.0)
            of_w = (channel[:, None] * KERNEL + k) * HOP + i[None, :]
            w = tl.load(weight + of_w, mask=(channel < CHANNELS)[:, None] & (i < HOP)[None, :], other=0)
            total = tl.dot(error, w, total, input_precision=PRECISION)
    of_x = row.to(tl.int64) * steps * HOP + (s[:, None] * HOP + i[None, :])
    tl.store(d_x + of_x, total, mask=(s < steps)[:, None] & (i < HOP)[None, :])


@triton.jit(do_not_specialize=["before"])
def weight_gradients(
    x,  # [rows, length]
    errors,  # [windows, CHANNELS]
    winners,  # as errors
    partial,  # [shares, TAPS, CHANNELS]
    length,
    frames,
    windows,
    before,
    HOP: tl.constexpr,
    TAPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    POOL: tl.constexpr,
    TILES: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_J: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Fill partial for a share of all rows' windows, a tile of taps and a tile of channels."""
    share = tl.program_id(0).to(tl.int64)
    tap = tl.program_id(1) * BLOCK_J + tl.arange(0, BLOCK_J)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.full((BLOCK_J, BLOCK_C), 0, tl.float32)
    for tile in range(TILES):
        window = (share * TILES + tile) * BLOCK_F + tl.arange(0, BLOCK_F)
        exists = (window < windows)[:, None] & (channel < CHANNELS)[None, :]
        of_out = window[:, None] * CHANNELS + channel[None, :]
        error = tl.load(errors + of_out, mask=exists, other=0)
        winner = tl.load(winners + of_out, mask=exists, other=0)
        row, frame = window // frames, (window % frames).to(tl.int32)
        for p in range(POOL):
            of_x = ((frame * POOL + p - before) * HOP)[None, :] + tap[:, None]
            read = (of_x >= 0) & (of_x < length) & (window < windows)[None, :] & (tap < TAPS)[:, None]
            a = tl.load(x + (row * length)[None, :] + of_x, mask=read, other=0)
            total = tl.dot(a, tl.where(winner == p, error, 0.0), total, input_precision=PRECISION)
    of_w = share * TAPS * CHANNELS + (tap[:, None] * CHANNELS + channel[None, :])
    tl.store(partial + of_w, total, mask=(tap < TAPS)[:, None] & (channel < CHANNELS)[None, :])
