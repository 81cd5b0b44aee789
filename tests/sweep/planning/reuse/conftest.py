"""A sweep, another that has finished trials of its plan, and trials."""

import pytest
from reuse_cases import Fingerprinted

from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import SweepFolder
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import Trial, TrialConfig, trial_key


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "results" / "new")


@pytest.fixture
def donor(tmp_path):
    return SweepFolder(tmp_path / "results" / "old")


@pytest.fixture
def trial(folder):
    """Make a trial; by default of 100 epochs."""

    def make(*, fingerprint="f0", model=None, methods=("greedy",), search=None, **training):
        config = TrialConfig(
            model=ModelConfig(**(model or {})),
            training=TrainingConfig(**training),
            search=SearchConfig(methods=methods, **(search or {})),
        )
        corpus = Fingerprinted(fingerprint)
        return Trial(key=trial_key(config, fingerprint), config=config, corpus=corpus, sweep="new", folder=folder)

    return make
