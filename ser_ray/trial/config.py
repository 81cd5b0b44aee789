"""A trial: its configuration, and the key derived from it."""

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any, Self

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results.added_fields import without_added
from ser_ray.training.config import TrainingConfig

if TYPE_CHECKING:
    from ser_ray.corpus import Corpus
    from ser_ray.results import SweepFolder

TRIAL_VERSION = 2
"""Raised only when an equal configuration would give other numbers."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrialConfig:
    """Everything that a trial's numbers depend on, besides the corpus."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)  # of post-processing; not part of the key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a sweep: what to compute, on which corpus, and where its results go."""

    key: str  # see `trial_key`
    config: TrialConfig
    corpus: "Corpus"
    sweep: str
    folder: "SweepFolder"
    explored: tuple[tuple[str, Any], ...] = ()  # fields that the sweep varies: ("training.sequence_s", 6.0)
    git_commit: str | None = None  # of the code that runs it
    git_diff: str | None = None  # name of the code's uncommitted changes

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return this trial: it cannot change, and Tune copies its inputs several times."""
        return self

    @property
    def receptive_field_ms(self) -> float:
        """The receptive field of the convolutional part, at the corpus's sample rate."""
        return 1000 * self.config.model.receptive_field / self.corpus.sample_rate


def keyed_config(config: TrialConfig, corpus_fingerprint: str) -> dict[str, Any]:
    """Collect the contents of a trial's key: model, training, the corpus's fingerprint and TRIAL_VERSION.

    The search is left out: its result can be computed again from stored predictions. So are added fields with the value
    that reproduces what was before them.
    """
    return {
        "trial_version": TRIAL_VERSION,
        "corpus_fingerprint": corpus_fingerprint,
        "model": without_added("model", _fields(config.model)),
        "training": without_added("training", _fields(config.training)),
    }


def _fields(part: ModelConfig | TrainingConfig) -> dict[str, Any]:
    # what asdict gives, without its copies: plans of many thousand trials are made in half the time
    return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}


def trial_key(config: TrialConfig, corpus_fingerprint: str) -> str:
    """Compute the key of a trial: 12 hexadecimal digits, a hash of its resolved configuration and corpus."""
    return _hash(keyed_config(config, corpus_fingerprint))


def configuration_key(config: TrialConfig, corpus_fingerprint: str) -> str:
    """Compute the key of a trial's configuration: a hash as `trial_key`, equal for all its seeds."""
    keyed = keyed_config(config, corpus_fingerprint)
    del keyed["training"]["seed"]
    return _hash(keyed)


def _hash(keyed: dict[str, Any]) -> str:
    text = json.dumps(keyed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
