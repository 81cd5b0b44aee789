"""The fused block on a CPU core, with its own backward pass.

Dropped values are never computed, and the backward pass touches only the winners of the pools: for a pool of P and a
dropout rate of one half, 1 of 2 P positions. It needs three things from the forward pass: the input; the pooled output,
whose positive values are the mask of ReLU and dropout; and one small integer per output, the winning step of the pool.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ser_ray.models import kernels
from ser_ray.models.dropout import Dropout


def conv_pool(
    x: Float[Tensor, "batch steps inputs"],
    weight: Float[Tensor, "channels inputs kernel"],
    bias: Float[Tensor, " channels"],
    *,
    pool: int,
    padding: tuple[int, int],
    dropout: Dropout | None,
) -> Float[Tensor, "batch pooled channels"]:
    """Compute a block's output; arguments as in `reference.conv_pool`, all tensors float32 or float64 on the CPU."""
    output: Tensor = _ConvPool.apply(x, weight, bias, pool, padding, dropout)  # type: ignore[no-untyped-call]
    return output


class _ConvPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, pool: int, padding: tuple[int, int], dropout: Dropout | None
    ) -> Tensor:
        x = x.contiguous()
        channels, inputs, kernel = weight.shape
        before, after = padding
        frames = max(0, (x.shape[1] + before + after - kernel + 1) // pool)
        out = x.new_zeros(x.shape[0], frames, channels)
        winners = np.zeros(out.shape, np.min_scalar_type(pool - 1))
        real = x.numpy().dtype.type
        scale = real(1 if dropout is None else dropout.scale)
        if kernels.is_narrow(inputs * kernel, pool):
            run = kernels.narrow_forward(inputs * kernel, inputs, pool)
            w = np.ascontiguousarray(weight.detach().permute(2, 1, 0).reshape(inputs * kernel, channels).numpy())
        else:
            run, w = kernels.forward, kernels.padded_rows(weight.detach().numpy())
        layer, step, key, threshold = 0, 0, (0, 0), 0
        if dropout is not None:
            layer, step, key, threshold = dropout.layer, dropout.step, dropout.key, dropout.threshold
        b = bias.detach().contiguous().numpy()
        run(x.detach().numpy(), before, kernel, pool, w, b, layer, step, key, threshold, scale, out.numpy(), winners)
        ctx.save_for_backward(x, weight, out)
        ctx.winners, ctx.pool, ctx.before, ctx.scale = winners, pool, before, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None, None]:
        x, weight, out = ctx.saved_tensors
        channels, inputs, kernel = weight.shape
        w = kernels.padded_rows(weight.detach().numpy())
        dw, db = kernels.aligned(w.size, w).reshape(w.shape), np.zeros(channels, w.dtype)
        wants_dx = ctx.needs_input_grad[0]
        dx = torch.zeros_like(x if wants_dx else x[:0])
        kernels.backward(
            x.detach().numpy(),
            ctx.before,
            kernel,
            ctx.pool,
            w,
            ctx.scale,
            out.detach().numpy(),
            ctx.winners,
            grad.contiguous().numpy(),
            dw,
            db,
            dx.numpy(),
            wants_dx,
        )
        rows = torch.from_numpy(dw)[:, : inputs * kernel]
        d_weight = rows.reshape(channels, kernel, inputs).transpose(1, 2).contiguous()
        return dx if wants_dx else None, d_weight, torch.from_numpy(db), None, None, None
