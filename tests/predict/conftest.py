"""A sweep with one trained trial."""

import pytest
import torch
from predict_cases import SHIFT_FRAMES, Case

from ser_ray.results import SweepFolder
from ser_ray.training.loop import train


@pytest.fixture
def case(tiny_corpus, tiny_config, tmp_path):
    config = tiny_config(epochs=1, label_shift_s=SHIFT_FRAMES / 250)
    sweep = SweepFolder(tmp_path / "results" / "tiny")
    device = torch.device("cpu")
    folder = sweep.checkpoints("abc")
    trained = train(config.model, config.training, tiny_corpus, folder, device=device, on_epoch=lambda reports: None)
    (tmp_path / "audio").mkdir()
    return Case(sweep, folder / "best.pt", tiny_corpus, trained.model, tmp_path / "audio")
