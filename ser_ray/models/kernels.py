"""The fused block on a CPU core: loops that numba compiles for the machine they run on.

Layout: steps before channels, so that the inputs of one output are contiguous in memory. A window's values are
computed only for its kept channels. Of the convolution only the pooled values and the index of the winning step are
kept.

All are in one file, since numba's cache on disk notices changes only in the file that contains a function. Flat
arrays with unsigned offsets, and sums in several named accumulators, make LLVM generate vector code; it may
reassociate sums, but not ignore NaN.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_ray import kernel_cache

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}

LANES = 16
"""Rows of weights are padded with zeros to a multiple of this, so that no sum has a remainder. If the padding meets an
input that is not finite, one more window becomes NaN; training ends either way."""
BLOCK_VALUES = 8192
"""Input values that the backward pass processes at a time: they and their gradients stay in the fastest cache."""
BLOCKS_PER_SUM = 64
"""Number of blocks over which weight gradients are summed before they are added to the total, to limit rounding."""
NARROW_TAPS, NARROW_PRODUCTS = 16, 256
"""Channels are computed side by side up to this many inputs per output, and products per window and channel."""

_u = np.uint64
_M0, _M1 = _u(0xD2511F53), _u(0xCD9E8D57)
_K0, _K1 = _u(0x9E3779B9), _u(0xBB67AE85)
_LOW, _HALF, _LAYER = _u(0xFFFFFFFF), _u(32), _u(16)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function with numba on its first call; the code is cached on disk if a folder can be written."""
    return kernel_cache.compiled(function, **OPTIONS)


@compiled
def draw(words, quads, layer, frame, row, step, key):  # type: ignore[no-untyped-def]
    """Fill words [4 quads] with the random bits for a frame's channels (Philox4x32-10, as in models.dropout)."""
    for q in range(quads):
        a, b, c, d = (_u(layer) << _LAYER) | _u(q), _u(frame), _u(row), _u(step)
        key_0, key_1 = _u(key[0]), _u(key[1])
        for _ in range(10):
            high, low = _M0 * a, _M1 * c
            a, b, c, d = (low >> _HALF) ^ b ^ key_0, low & _LOW, (high >> _HALF) ^ d ^ key_1, high & _LOW
            key_0, key_1 = (key_0 + _K0) & _LOW, (key_1 + _K1) & _LOW
        words[q] = a
        words[quads + q] = b
        words[2 * quads + q] = c
        words[3 * quads + q] = d


@compiled
def keep(mask, layer, step, key, threshold):  # type: ignore[no-untyped-def]
    """Fill mask [B, F, C] with whether each value is kept by the dropout."""
    B, F, C = mask.shape
    n = (C + 3) // 4
    words = np.zeros(4 * n, np.uint32)
    for row in range(B):
        for f in range(F):
            draw(words, n, layer, f, row, step, key)
            for c in range(C):
                mask[row, f, c] = words[c] >= threshold


@compiled
def aligned(size, like):  # type: ignore[no-untyped-def]
    """Allocate zeros [size] that begin at a cache line."""
    raw = np.zeros(size + 64, like.dtype)
    skip = (-raw.ctypes.data // raw.itemsize) % (64 // raw.itemsize)
    return raw[skip : skip + size]


@compiled
def load(window, x, row, start, steps):  # type: ignore[no-untyped-def]
    """Copy `steps` steps of one row of x [B, T, C], from `start` on, into window; outside the row they are zero."""
    T, C = x.shape[1], x.shape[2]
    first, last = max(start, 0), min(start + steps, T)
    flat = x.reshape(x.size)
    if last <= first:
        window[:] = 0
        return
    begin, end = (first - start) * C, (last - start) * C
    window[:begin] = 0
    window[begin:end] = flat[(row * T + first) * C : (row * T + last) * C]
    window[end:] = 0


@compiled
def dots_4x4(x, at, hop, w, r0, r1, r2, r3, length):  # type: ignore[no-untyped-def]
    """Compute dot products of four stretches of x, a hop apart, with four rows of w: a tuple of four per stretch."""
    x0, x1, x2, x3 = at, at + hop, at + hop + hop, at + hop + hop + hop
    zero = x.dtype.type(0)
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = zero
    for k in range(length):
        a, b, c, d = x[x0 + k], x[x1 + k], x[x2 + k], x[x3 + k]
        v = w[r0 + k]
        a0, b0, c0, d0 = a0 + a * v, b0 + b * v, c0 + c * v, d0 + d * v
        v = w[r1 + k]
        a1, b1, c1, d1 = a1 + a * v, b1 + b * v, c1 + c * v, d1 + d * v
        v = w[r2 + k]
        a2, b2, c2, d2 = a2 + a * v, b2 + b * v, c2 + c * v, d2 + d * v
        v = w[r3 + k]
        a3, b3, c3, d3 = a3 + a * v, b3 + b * v, c3 + c * v, d3 + d * v
    return (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3), (d0, d1, d2, d3)


@compiled
def dots_1x4(x, at, w, r0, r1, r2, r3, length):  # type: ignore[no-untyped-def]
    """Compute the dot products of one stretch of x with four rows of w."""
    a = b = c = d = x.dtype.type(0)
    for k in range(length):
        v = x[at + k]
        a, b, c, d = a + v * w[r0 + k], b + v * w[r1 + k], c + v * w[r2 + k], d + v * w[r3 + k]
    return a, b, c, d


@compiled
def convolve(window, hop, pool, w, length, kept, n, values, stride):  # type: ignore[no-untyped-def]
    """Fill values [pool, stride] with the outputs of n kept channels at each step of a window."""
    whole = pool // 4 * 4
    for m in range(0, n, 4):
        r0, r1, r2, r3 = kept[m] * length, kept[m + 1] * length, kept[m + 2] * length, kept[m + 3] * length
        for p in range(0, whole, 4):
            products = dots_4x4(window, _u(p) * hop, hop, w, r0, r1, r2, r3, length)
            to = _u(p) * stride + _u(m)
            for own in products:
                values[to], values[to + _u(1)], values[to + _u(2)], values[to + _u(3)] = own
                to += stride
        for p in range(whole, pool):
            own = dots_1x4(window, _u(p) * hop, w, r0, r1, r2, r3, length)
            to = _u(p) * stride + _u(m)
            values[to], values[to + _u(1)], values[to + _u(2)], values[to + _u(3)] = own


@compiled
def pool_values(values, stride, pool, n, best, winner):  # type: ignore[no-untyped-def]
    """Find the largest of values [pool, stride] for n channels, and its step: the first of equals; NaN beats all."""
    for m in range(_u(n)):
        best[m] = values[m]
        winner[m] = 0
    for p in range(1, pool):
        of = _u(p) * stride
        for m in range(_u(n)):
            v = values[of + m]
            new = (v > best[m]) | (v != v)
            best[m] = v if new else best[m]
            winner[m] = winner.dtype.type(p) if new else winner[m]


@compiled
def forward(  # type: ignore[no-untyped-def]
    x, before, kernel, pool, w, bias, layer, step, key, threshold, scale, out, winners
):
    """Fill out and winners [B, F, C], which must be zeros, from x [B, T, channels in] and w [C, length]."""
    B, F, C = out.shape
    zero = x.dtype.type(0)
    length, hop = _u(w.shape[1]), _u(x.shape[2])
    flat = w.reshape(w.size)
    window = aligned((pool - 1) * x.shape[2] + w.shape[1], x)
    stride = _u(C + LANES)
    values, best = aligned(pool * (C + LANES), x), aligned(C + LANES, x)
    winner = np.zeros(C + LANES, winners.dtype)
    quads = (C + 3) // 4
    words = np.zeros(4 * quads, np.uint32)
    kept = np.zeros(C + 4, np.uint64)
    for row in range(B):
        for f in range(F):
            n = 0
            if threshold > 0:
                draw(words, quads, layer, f, row, step, key)
            for c in range(C):
                kept[n] = c
                n += words[c] >= threshold
            if n == 0:
                continue
            kept[n] = kept[n + 1] = kept[n + 2] = kept[n - 1]
            load(window, x, row, f * pool - before, pool + kernel - 1)
            convolve(window, hop, pool, flat, length, kept, n, values, stride)
            pool_values(values, stride, pool, n, best, winner)
            for m in range(n):
                c = kept[m]
                v = best[m] + bias[c]
                out[row, f, c] = zero if v <= zero else v * scale
                winners[row, f, c] = winner[m]


@cache
def narrow_forward(taps: int, hop: int, pool: int) -> Any:
    """Compile a variant of `forward` for few inputs per output (taps = kernel x channels in); its w is [taps, C].

    All channels are computed, side by side. The taps x pool products are unrolled, so their number must be small.
    """

    @compiled
    def narrow(  # type: ignore[no-untyped-def]
        x, before, kernel, _pool, w, bias, layer, step, key, threshold, scale, out, winners
    ):
        B, F, C = out.shape
        zero, lowest = x.dtype.type(0), x.dtype.type(-np.inf)
        window = np.zeros((pool - 1) * hop + taps, x.dtype)
        quads = (C + 3) // 4
        words = np.zeros(4 * quads, np.uint32)
        weights, flat_out, flat_winners = w.reshape(w.size), out.reshape(out.size), winners.reshape(out.size)
        for row in range(B):
            for f in range(F):
                load(window, x, row, f * pool - before, pool + kernel - 1)
                if threshold > 0:
                    draw(words, quads, layer, f, row, step, key)
                at = _u((row * F + f) * C)
                for c in range(_u(C)):
                    best, winner = lowest, winners.dtype.type(0)
                    for p in range(pool):
                        v = zero
                        for k in range(taps):
                            v += window[p * hop + k] * weights[k * C + c]
                        if (v > best) | (v != v):
                            best, winner = v, winners.dtype.type(p)
                    best += bias[c]
                    best = zero if best <= zero else best * scale
                    flat_out[at + c] = best if words[c] >= threshold else zero
                    flat_winners[at + c] = winner

    return narrow


@compiled
def survivors(c, C, n_frames, step, errors, winners, hop, error, at):  # type: ignore[no-untyped-def]
    """List the frames of a block that pass a gradient to channel c: the gradients, and the offsets of their inputs."""
    n, total = 0, errors.dtype.type(0)
    for i in range(n_frames):
        k = _u(i * C + c)
        error[n] = errors[k]
        at[n] = (_u(i * step) + _u(winners[k])) * hop
        total += errors[k]
        n += errors[k] != 0
    for i in range(n, n + 3):  # fill up the last group of four
        error[i] = 0
        at[i] = 0
    return n, total


@compiled
def backward(  # type: ignore[no-untyped-def]
    x, before, kernel, pool, w, scale, out, winners, grad, dw, db, dx, wants_dx
):
    """Add the gradients of grad [B, F, C] to dw [C, length], db [C] and, if wanted, dx [B, T, channels in].

    Only values that won their pool, were positive and were kept pass on a gradient: exactly these are positive in out.
    """
    B, F, C = out.shape
    T, zero = x.shape[1], x.dtype.type(0)
    length, hop = _u(w.shape[1]), _u(x.shape[2])
    block = max(4, min(64, BLOCK_VALUES // (pool * x.shape[2])))
    size = (block * pool - 1) * x.shape[2] + w.shape[1]
    inputs, d_inputs = aligned(size, x), aligned(size, x)
    errors, sum_dw, sum_db = aligned(block * C, x), aligned(w.size, x), aligned(C, x)
    error, at = np.zeros(block + 4, x.dtype), np.zeros(block + 4, np.uint64)
    flat_w, flat_dw, flat_dx = w.reshape(w.size), dw.reshape(w.size), dx.reshape(dx.size)
    flat_out, flat_grad, flat_winners = out.reshape(out.size), grad.reshape(out.size), winners.reshape(out.size)
    for row in range(B):
        for number, f in enumerate(range(0, F, block)):
            n_frames = min(block, F - f)
            start, steps = f * pool - before, n_frames * pool + kernel - 1
            load(inputs, x, row, start, steps)
            if wants_dx:
                d_inputs[:] = 0
            first = _u((row * F + f) * C)
            for k in range(_u(n_frames * C)):
                e = flat_grad[first + k] * scale
                errors[k] = zero if flat_out[first + k] <= zero else e
            for c in range(C):
                n, total = survivors(c, C, n_frames, pool, errors, flat_winners[first:], hop, error, at)
                sum_db[c] += total
                r = _u(c) * length
                for i in range(0, n, 4):
                    e0, e1, e2, e3 = error[i], error[i + 1], error[i + 2], error[i + 3]
                    x0, x1, x2, x3 = at[i], at[i + 1], at[i + 2], at[i + 3]
                    for k in range(length):
                        sum_dw[r + k] += (
                            e0 * inputs[x0 + k] + e1 * inputs[x1 + k] + e2 * inputs[x2 + k] + e3 * inputs[x3 + k]
                        )
                if wants_dx:
                    for i in range(n):
                        e0, x0 = error[i], at[i]
                        for k in range(length):
                            d_inputs[x0 + k] += e0 * flat_w[r + k]
            if wants_dx:
                a, b = max(start, 0), min(start + steps, T)
                to, of = (row * T + a) * x.shape[2], (a - start) * x.shape[2]
                for k in range((b - a) * x.shape[2]):
                    flat_dx[to + k] += d_inputs[of + k]
            if number % BLOCKS_PER_SUM == BLOCKS_PER_SUM - 1 or f + block >= F:
                flat_dw += sum_dw
                db += sum_db
                sum_dw[:] = 0
                sum_db[:] = 0


def is_narrow(taps: int, pool: int) -> bool:
    """Check whether `narrow_forward` computes a layer with this many inputs per output."""
    return taps <= NARROW_TAPS and taps * pool <= NARROW_PRODUCTS


def warm() -> None:
    """Compile the float32 kernels into numba's cache on disk, so that workers find them there.

    `narrow_forward` is left to the worker that needs it first: it is small, and there is one per design.
    """
    kernel, pool, inputs, channels = 2, 2, LANES, 4
    x, one = np.zeros((1, kernel + pool, inputs), np.float32), np.float32(1)
    out = np.zeros((1, 2, channels), np.float32)
    w, bias, winners = padded_rows(np.zeros((channels, inputs, kernel), np.float32)), out[0, 0].copy(), out.astype("u1")
    forward(x, 0, kernel, pool, w, bias, 0, 0, (0, 0), 1, one, out, winners)
    backward(x, 0, kernel, pool, w, one, out, winners, out.copy(), w.copy(), bias.copy(), x.copy(), True)


def padded_rows(weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """Copy weights [channels out, channels in, kernel] to zero-padded rows [channels out, length] in memory order."""
    channels, inputs, kernel = weight.shape
    taps = inputs * kernel
    length = -(-taps // LANES) * LANES
    rows: NDArray[np.floating] = aligned(channels * length, weight).reshape(channels, length)
    rows[:, :taps] = weight.transpose(0, 2, 1).reshape(channels, taps)
    return rows
