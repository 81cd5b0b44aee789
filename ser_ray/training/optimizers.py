"""The optimisers: RMSprop as PyTorch does it, RMSprop as the paper's framework did it, Adam and AdamW."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import nn

from ser_ray.training.config import TrainingConfig


class RMSpropTF(torch.optim.Optimizer):
    """RMSprop as TensorFlow 1 has it: the mean square starts at one and epsilon stands inside the root.

    s <- decay s + (1 - decay) g^2;  m <- momentum m + learning_rate g / sqrt(s + epsilon);  w <- w - m.
    The first steps are therefore much smaller than PyTorch's, whose mean square starts at zero. Weight decay is
    PyTorch's: g has weight_decay times w in it.

    Args:
        parameters: what to optimise.
        learning_rate: step size.
        decay: of the mean square, in [0, 1).
        momentum: in [0, 1).
        epsilon: TensorFlow's 1e-10.
        weight_decay: at least 0.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
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
        """Take one step along the gradients that are there.

        Args:
            closure: computes the loss again, with gradients; usually None.

        Returns:
            The closure's loss, or None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    def _update(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["mean_square"] = torch.ones_like(weight)
            state["momentum"] = torch.zeros_like(weight)
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        mean_square, momentum = state["mean_square"], state["momentum"]
        mean_square.mul_(group["decay"]).addcmul_(gradient, gradient, value=1 - group["decay"])
        root = mean_square.add(group["epsilon"]).sqrt_()
        momentum.mul_(group["momentum"]).addcdiv_(gradient, root, value=group["lr"])
        weight.sub_(momentum)


def make_optimizer(config: TrainingConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser that a configuration names.

    Args:
        config: its optimizer, learning_rate, decay, momentum and weight_decay.
        parameters: what to optimise.

    Returns:
        A new optimiser without state.
    """
    rate, weight_decay = config.learning_rate, config.weight_decay
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            parameters, lr=rate, alpha=config.decay, momentum=config.momentum, weight_decay=weight_decay
        )
    if config.optimizer == "rmsprop_tf":
        return RMSpropTF(parameters, rate, config.decay, config.momentum, weight_decay=weight_decay)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=weight_decay)
