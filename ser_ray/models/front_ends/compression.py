"""Compression of a front end's output, which is not negative: by the logarithm, or by per-channel energy normalisation.

PCEN: Wang, Getreuer, Hughes, Lyon, Saurous, "Trainable frontend for robust and far-field keyword spotting", ICASSP
2017.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

LOG_FLOOR = 1e-4
"""Added before the logarithm; a waveform of unit power has energies of about one."""
SMOOTHING = 0.025
"""Share of each step in PCEN's running mean, as in the paper, whose steps are 10 ms."""
PCEN_EPSILON = 1e-6

PcenState = Float[Tensor, "batch channels"]


class LogCompression(nn.Module):
    """log(x + LOG_FLOOR): [B, T, C] -> [B, T, C]."""

    def forward(self, x: Float[Tensor, "batch steps channels"]) -> Float[Tensor, "batch steps channels"]:
        """Compress; no step depends on others."""
        return torch.log(x + LOG_FLOOR)


class Pcen(nn.Module):
    """Per-channel energy normalisation: (x / (epsilon + m)^alpha + delta)^r - delta^r, [B, T, C] -> [B, T, C].

    m is the running mean m_t = (1 - s) m_(t-1) + s x_t, which begins with the first step. Exponents alpha and r and the
    bias delta are learned per channel, as logarithms, so that they stay positive.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.full((channels,), 0.98).log())
        self.log_delta = nn.Parameter(torch.full((channels,), 2.0).log())
        self.log_r = nn.Parameter(torch.full((channels,), 0.5).log())

    def forward(
        self, x: Float[Tensor, "batch steps channels"], state: Float[Tensor, "batch channels"] | None = None
    ) -> tuple[Float[Tensor, "batch steps channels"], Float[Tensor, "batch channels"]]:
        """Compress; `state` is the running mean after the step before, None at the start. Returns the last one, too."""
        mean = running_mean(x, x[:, 0] if state is None else state)
        alpha, delta, r = self.log_alpha.exp(), self.log_delta.exp(), self.log_r.exp()
        return (x / (PCEN_EPSILON + mean) ** alpha + delta) ** r - delta**r, mean[:, -1].detach()


def running_mean(
    x: Float[Tensor, "batch steps channels"], before: Float[Tensor, "batch channels"]
) -> Float[Tensor, "batch steps channels"]:
    """Compute m_t = (1 - s) m_(t-1) + s x_t for all steps in logarithmically many operations, from the mean before.

    After k rounds each step has the weighted sum of itself and the 2^k - 1 steps before it.
    """
    total, decay, reach = SMOOTHING * x, 1 - SMOOTHING, 1
    steps = x.shape[1]
    while reach < steps:
        total = total + decay * nn.functional.pad(total, (0, 0, reach, 0))[:, :steps]
        decay, reach = decay * decay, 2 * reach
    powers = (1 - SMOOTHING) ** torch.arange(1, steps + 1, device=x.device, dtype=x.dtype)
    return total + powers[:, None] * before[:, None]
