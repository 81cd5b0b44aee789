"""A corpus so small that a network trains on it in a second, with recordings of unequal lengths."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from ser_ray.corpus import Corpus, CorpusWriter, open_corpus
from ser_ray.models import ModelConfig
from ser_ray.results import SweepFolder
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import Trial, TrialConfig, trial_key

settings.register_profile("ser_ray", deadline=None)  # machines are shared, and no test asserts a time
settings.load_profile("ser_ray")

TINY_HOP = 64  # 250 labels a second: the fewest samples for a frame, so that tests are quick
TINY_LENGTHS = {"train": (60, 45, 37), "devel": (50, 33), "test": (40, 28)}


LONGEST = (
    "test_sweep_faults.py",
    "test_sweep_troubles.py",
    "test_sweep_overlap_quick.py",
    "test_sweep_run_share.py",
    "test_sweep_run.py",
    "test_loop.py",
    "test_conv_pool_cuda.py",
    "test_sweep_search_pool.py",
    "test_sweep_search_again.py",
    "test_reference.py",
    "test_faults.py",
)
"""Files that take half a minute and more begin first, lest one of two workers has nothing at the end. Those that wait
for a Ray and those that compute take turns, so that two of one kind seldom run at once."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def write_tiny_corpus(out: Path, *, test_gold: bool = True, seed: int = 0) -> Path:
    """Noise whose loudness follows arousal and whose sign pattern follows valence."""
    rng = np.random.default_rng(seed)
    with CorpusWriter(out, name="tiny", label_rate=16000 / TINY_HOP, targets=("arousal", "valence")) as writer:
        for partition, lengths in TINY_LENGTHS.items():
            for number, frames in enumerate(lengths, start=1):
                gold = np.cumsum(rng.normal(0, 0.2, (frames, 2)), axis=0).clip(-1, 1)
                loudness = np.repeat(1.5 + gold[:, 0], TINY_HOP)
                audio = (1500 * loudness * rng.normal(size=frames * TINY_HOP)).clip(-32768, 32767).astype(np.int16)
                known = gold.astype(np.float32) if partition != "test" or test_gold else None
                writer.add(f"{partition}_{number}", partition, f"S{partition}{number}", audio, known)
    return out


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what runs remember out of the user's cache folder, but not Matplotlib's list of fonts, which takes long."""
    with pytest.MonkeyPatch.context() as patch:
        if "MPLCONFIGDIR" not in os.environ:
            before = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
            patch.setenv("MPLCONFIGDIR", os.path.join(before, "matplotlib"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return open_corpus(write_tiny_corpus(tmp_path_factory.mktemp("corpora") / "tiny"))


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., TrialConfig]:
    """Returns a configuration for the tiny corpus, with training fields as given."""

    def make(**training: Any) -> TrialConfig:
        fields = {"epochs": 3, "sequence_s": 0.08, "batch_size": 3, "learning_rate": 1e-3, "seed": 1, **training}
        model = ModelConfig(channels=(3, 4), kernels=(4, 6), pools=(8, 8), hidden=5)
        return TrialConfig(model=model, training=TrainingConfig(**fields))

    return make


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


@pytest.fixture
def make_trial(folder: SweepFolder, tiny_corpus: Corpus) -> Callable[..., Trial]:
    """Returns a trial of a configuration, on the tiny corpus unless said otherwise."""

    def make(config: TrialConfig, corpus: Corpus = tiny_corpus) -> Trial:
        key = trial_key(config, corpus.fingerprint)
        return Trial(key=key, config=config, corpus=corpus, sweep="tiny", folder=folder, git_commit="abc+")

    return make
