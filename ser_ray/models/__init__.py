"""The networks. The configuration is imported at once; modules that need PyTorch are imported on first use."""

from typing import TYPE_CHECKING, Any

from ser_ray.models.config import ModelConfig

if TYPE_CHECKING:
    from ser_ray.models.network import build

__all__ = ["ModelConfig", "build"]


def __getattr__(name: str) -> Any:
    if name == "build":
        from ser_ray.models.network import build

        return build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
