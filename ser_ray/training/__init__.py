"""Training and evaluation. The package imports only the configuration; its other modules need PyTorch."""

from ser_ray.training.config import TrainingConfig

__all__ = ["TrainingConfig"]
