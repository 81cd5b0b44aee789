"""Trainings on the CPU, and supervisions that end them."""

import itertools

import torch

from ser_ray.training.loop import train
from ser_ray.training.supervision import Supervision

CPU = torch.device("cpu")


def run(corpus, config, folder, supervision=None, *, on_epoch=lambda reports: None, backend="auto"):
    return train(
        config.model,
        config.training,
        corpus,
        folder,
        device=CPU,
        on_epoch=on_epoch,
        backend=backend,
        supervision=supervision,
    )


def stop_after(blocks):
    """A supervision that asks for the end after that block of work."""
    counter = itertools.count(1)
    return Supervision(stop=lambda: next(counter) >= blocks)
