"""Import PyTorch and test each GPU with a computation, in a separate process, since a broken GPU may crash or hang it.

`python -m ser_ray.gpus.probe` prints two lines of JSON: the versions, and the result for each GPU.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

TOLERANCE = 1e-4
"""Relative to the largest value: float32 sums of a few hundred products err by about 1e-6, TF32 by 1e-3."""
LSTM_TOLERANCE = 1e-3
"""The same for gradients through two layers of 40 steps."""
MOST_CHARACTERS = 200
"""Length at which a reason is cut off; CUDA's messages continue with advice on debugging."""


def import_torch() -> dict[str, Any]:
    """Import PyTorch and torchaudio; return their versions, the CUDA version (or None) and the duration in seconds."""
    started = time.monotonic()
    import torch
    import torchaudio

    return {
        "torch": torch.__version__,
        "torchaudio": torchaudio.__version__,
        "cuda": torch.version.cuda,
        "seconds": time.monotonic() - started,
    }


def probe_gpus(cuda: Any, device: Callable[[int], Any]) -> dict[str, Any]:
    """Test each GPU with a computation; `cuda` is torch.cuda, `device` maps a GPU's number to its torch.device.

    Returns:
        "gpus": for each visible GPU its name, its total and free bytes of memory (measured when only CUDA itself is
        loaded on it), and its problem or None. "reason": PyTorch's message why there is no GPU, or None.
    """
    if not cuda.is_available():
        return {"gpus": [], "reason": _why_none(cuda)}
    return {"gpus": [_probe_gpu(cuda, device, index) for index in range(cuda.device_count())], "reason": None}


def _why_none(cuda: Any) -> str | None:
    try:
        cuda.init()
    except (RuntimeError, AssertionError) as error:  # AssertionError: from a PyTorch built without CUDA
        return _short(error)
    return None


def _probe_gpu(cuda: Any, device: Callable[[int], Any], index: int) -> dict[str, Any]:
    gpu: dict[str, Any] = {"name": f"GPU {index}", "total": 0, "free": 0, "wrong": None}
    try:
        gpu["name"] = cuda.get_device_name(index)
        gpu["free"], gpu["total"] = cuda.mem_get_info(index)
        gpu["wrong"] = computed_wrongly(device(index))
    except RuntimeError as error:
        gpu["wrong"] = _short(error)
    return gpu


def computed_wrongly(device: Any) -> str | None:
    """Compare operations on a torch.device with the CPU in double precision; return the first deviation, or None."""
    import torch

    generator = torch.Generator().manual_seed(0)
    operations: tuple[tuple[str, Callable[..., torch.Tensor], tuple[tuple[int, ...], ...]], ...] = (
        ("a matrix product", torch.matmul, ((256, 256), (256, 256))),
        ("a convolution", torch.nn.functional.conv1d, ((2, 8, 4096), (16, 8, 9))),
    )
    for name, operation, shapes in operations:
        operands = [torch.randn(shape, generator=generator) for shape in shapes]
        expected = operation(*(operand.double() for operand in operands))
        found = operation(*(operand.to(device) for operand in operands)).cpu().double()
        error = ((found - expected).abs().max() / expected.abs().max()).item()
        if not error < TOLERANCE:  # also true for NaN
            return f"{name} is wrong by {error:.2g} of its largest value"
    return _lstm_wrongly(device)


def _lstm_wrongly(device: Any) -> str | None:
    """Compare an LSTM's gradients on a device with the CPU and with a second run; return a deviation, or None."""
    import torch

    generator = torch.Generator().manual_seed(1)
    lstm = torch.nn.LSTM(16, 32, num_layers=2, batch_first=True)
    weights = [torch.randn(weight.shape, generator=generator) / 8 for weight in lstm.parameters()]
    x = torch.randn((3, 40, 16), generator=generator)

    def gradients(where: Any, dtype: torch.dtype) -> list[torch.Tensor]:
        network = torch.nn.LSTM(16, 32, num_layers=2, batch_first=True).to(where, dtype)
        with torch.no_grad():
            for parameter, weight in zip(network.parameters(), weights, strict=True):
                parameter.copy_(weight)
        network(x.to(where, dtype))[0].square().mean().backward()
        return [parameter.grad.cpu() for parameter in network.parameters() if parameter.grad is not None]

    expected = gradients(torch.device("cpu"), torch.float64)
    first, second = gradients(device, torch.float32), gradients(device, torch.float32)
    for gradient, right in zip(first, expected, strict=True):
        error = ((gradient.double() - right).abs().max() / right.abs().max()).item()
        if not error < LSTM_TOLERANCE:
            return f"a step of an LSTM is wrong by {error:.2g} of its largest gradient"
    if not all(map(torch.equal, first, second)):
        return "a step of an LSTM gives different gradients when it is repeated"
    return None


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:MOST_CHARACTERS]


def main() -> int:
    """Print a line of JSON with the versions, and one with the result for each GPU; return 0."""
    print(json.dumps(import_torch()), flush=True)
    import torch

    from ser_ray.training.numerics import prepare_process

    prepare_process()  # as a trial does: deterministic, and without TF32, whose products exceed the tolerance
    print(json.dumps(probe_gpus(torch.cuda, lambda index: torch.device("cuda", index))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
