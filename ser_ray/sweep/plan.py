"""The plan of a sweep: every trial that it runs, resolved, checked against the corpus, with its key."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.overlap import check_pools
from ser_ray.sweep.config import SweepConfig
from ser_ray.sweep.explore import Configuration, configurations, evenly_spread
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import TrialConfig, trial_key


class PlannedCorpus(Protocol):
    """What planning asks of a corpus."""

    @property
    def fingerprint(self) -> str:
        """Changes with the corpus's contents."""

    @property
    def hop(self) -> int:
        """Samples of one frame."""

    @property
    def label_rate(self) -> float:
        """Frames per second."""

    @property
    def sample_rate(self) -> int:
        """Samples per second."""

    @property
    def targets(self) -> tuple[str, ...]:
        """What is labelled."""


@dataclass(frozen=True)
class PlannedTrial:
    """One trial to run.

    Args:
        key: names it; equal configurations on equal corpora have equal keys.
        config: resolved.
        explored: the fields that the sweep varies and their values here, such as ("training.sequence_s", 6.0).
        receptive_field_ms: of the convolutional part, at the corpus's sample rate.
    """

    key: str
    config: TrialConfig
    explored: tuple[tuple[str, Any], ...]
    receptive_field_ms: float

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return self.config.training.seed

    @property
    def parameters(self) -> int:
        """Weights and biases of the network."""
        return self.config.model.parameters


@dataclass(frozen=True)
class Plan:
    """All trials of a sweep, the first seed of every configuration before the second.

    Args:
        sweep: the sweep.
        corpus_fingerprint: of the corpus that it was planned for.
        hop: samples of one frame of that corpus.
        trials: with distinct keys.
        configurations: how many of the trials differ in more than the seed of their replicate.
        collapsed: configurations that were equal to others and are planned once.
        left_out: configurations that schedule.max_configurations leaves out.
    """

    sweep: SweepConfig
    corpus_fingerprint: str
    hop: int
    trials: tuple[PlannedTrial, ...]
    configurations: int
    collapsed: int
    left_out: int


def make_plan(sweep: SweepConfig, corpus: PlannedCorpus) -> Plan:
    """Return the trials of a sweep on a corpus.

    Args:
        sweep: the sweep.
        corpus: what it runs on.

    Returns:
        The plan; the same for the same sweep and corpus.

    Raises:
        InputError: if the exploration yields no networks, or a configuration does not fit the corpus: pools that do
            not multiply to its hop, times that are no whole number of its frames, targets that it lacks.
    """
    explored = configurations(sweep, corpus.hop)
    first: dict[TrialConfig, Configuration] = {}
    for configuration in explored:
        first.setdefault(configuration.trial, configuration)
    distinct = list(first.values())
    chosen = evenly_spread(distinct, sweep.schedule.max_configurations or len(distinct))
    check = _Check(sweep, corpus)
    for configuration in chosen:
        check.configuration(configuration)
    trials = {
        trial.key: trial
        for replicate in range(sweep.replicates)
        for trial in (_planned(configuration, replicate, corpus) for configuration in chosen)
    }
    return Plan(
        sweep=sweep,
        corpus_fingerprint=corpus.fingerprint,
        hop=corpus.hop,
        trials=tuple(trials.values()),
        configurations=len(chosen),
        collapsed=len(explored) - len(distinct),
        left_out=len(distinct) - len(chosen),
    )


def _planned(configuration: Configuration, replicate: int, corpus: PlannedCorpus) -> PlannedTrial:
    config = configuration.trial
    if replicate:
        config = _with_seed(config, config.training.seed + replicate)
    return PlannedTrial(
        key=trial_key(config, corpus.fingerprint),
        config=config,
        explored=tuple((setting.path, setting.value) for setting in configuration.settings),
        receptive_field_ms=1000 * config.model.receptive_field / corpus.sample_rate,
    )


def _with_seed(config: TrialConfig, seed: int) -> TrialConfig:
    return TrialConfig(
        model=config.model,
        training=dataclasses.replace(config.training, seed=seed),
        search=config.search,
    )


class _Check:
    """Refuses configurations that do not fit a corpus; each model and training is looked at once."""

    def __init__(self, sweep: SweepConfig, corpus: PlannedCorpus) -> None:
        self.sweep, self.corpus = sweep, corpus
        self.seen: set[ModelConfig | TrainingConfig] = set()

    def configuration(self, configuration: Configuration) -> None:
        model, training = configuration.trial.model, configuration.trial.training
        if model not in self.seen:
            self.model(model, functools.partial(self.place, configuration))
            self.seen.add(model)
        if training not in self.seen:
            self.training(training, functools.partial(self.place, configuration))
            self.seen.add(training)

    def model(self, model: ModelConfig, place: Callable[[str], str]) -> None:
        try:
            check_pools(model.pools, self.corpus.hop)
        except InputError as error:
            raise InputError(f"{place('model.pools')}: {error}") from None
        for target in model.targets:
            if target not in self.corpus.targets:
                raise InputError(
                    f"{place('model.targets')}: {target} is not labelled in this corpus; "
                    f"its targets are [{', '.join(self.corpus.targets)}]"
                )

    def training(self, training: TrainingConfig, place: Callable[[str], str]) -> None:
        for field, least in (("sequence_s", 1), ("label_shift_s", 0)):
            seconds = getattr(training, field)
            frames = seconds * self.corpus.label_rate
            if abs(frames - round(frames)) > 1e-6 or round(frames) < least:
                near = sorted({max(least, math.floor(frames)), max(least, math.ceil(frames))})
                fitting = " and ".join(f"{frame / self.corpus.label_rate:.10g}" for frame in near)
                raise InputError(
                    f"{place(f'training.{field}')}: {seconds:g} s are {frames:g} frames of this corpus "
                    f"({self.corpus.label_rate:g} a second), but must be whole frames; nearest: {fitting}"
                )

    def place(self, configuration: Configuration, path: str) -> str:
        """Return where a field of a configuration was set, and its name."""
        for setting in configuration.settings:
            if setting.path == path:
                return f"{setting.place}: {path}"
        section, field = path.split(".")
        if field in self.sweep.trial.get(section, {}):
            return f"{self.sweep.source.where(('trial', section, field))}: trial.{path}"
        return f"{self.sweep.source.name}: trial.{path} (by default)"
