"""Optimisers: RMSprop as in PyTorch, RMSprop as in the paper's framework, Adam and AdamW."""

from collections.abc import Callable, Iterable
from typing import Any, assert_never, overload

import torch
from torch import nn

from ser_ray.training.config import TrainingConfig


class RMSpropTF(torch.optim.Optimizer):
    """RMSprop of TensorFlow 1: the mean square starts at one and epsilon is inside the root.

    s <- decay s + (1 - decay) g^2;  m <- momentum m + learning_rate g / sqrt(s + epsilon);  w <- w - m. The first steps
    are therefore much smaller than PyTorch's, whose mean square starts at zero. Weight decay is as in PyTorch:
    weight_decay times w is added to g.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        learning_rate: float,
        decay: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-10,
        weight_decay: float = 0.0,
    ):
        super().__init__(
            parameters,
            {
                "lr": learning_rate,
                "decay": decay,
                "momentum": momentum,
                "epsilon": epsilon,
                "weight_decay": weight_decay,
            },
        )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step along the gradients; return the loss that the closure computes, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update([weight for weight in group["params"] if weight.grad is not None], group)
        return loss

    def _update(self, weights: list[torch.Tensor], group: dict[str, Any]) -> None:
        """Update all weights together: on a GPU each operation is one kernel."""
        if not weights:
            return
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {"mean_square": torch.ones_like(weight), "momentum": torch.zeros_like(weight)}
        gradients: list[torch.Tensor] = [weight.grad for weight in weights if weight.grad is not None]
        mean_squares = [self.state[weight]["mean_square"] for weight in weights]
        momenta = [self.state[weight]["momentum"] for weight in weights]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        torch._foreach_mul_(mean_squares, group["decay"])
        torch._foreach_addcmul_(mean_squares, gradients, gradients, value=1 - group["decay"])
        roots = list(torch._foreach_add(mean_squares, group["epsilon"]))
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_addcdiv_(momenta, gradients, roots, value=group["lr"])
        torch._foreach_sub_(weights, momenta)


def make_optimizer(
    config: TrainingConfig, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]
) -> torch.optim.Optimizer:
    """Make the optimiser that a configuration names, with its settings.

    Each takes groups of weights, which may have their own `lr` and `weight_decay`, and steps without a closure. Its
    first step makes all entries of its state, and the numbers in its groups never change: `check_content` of
    training/state.py refuses other checkpoints.
    """
    rate, weight_decay = config.learning_rate, config.weight_decay
    match config.optimizer:
        case "rmsprop":
            return torch.optim.RMSprop(
                parameters, lr=rate, alpha=config.decay, momentum=config.momentum, weight_decay=weight_decay
            )
        case "rmsprop_tf":
            return RMSpropTF(parameters, rate, config.decay, config.momentum, weight_decay=weight_decay)
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=weight_decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay)
        case _:
            assert_never(config.optimizer)
