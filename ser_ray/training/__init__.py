"""Training and evaluation. The configuration is imported at once; what needs PyTorch is in the modules."""

from ser_ray.training.config import TrainingConfig

__all__ = ["TrainingConfig"]
