"""The plan of a sweep: every trial that it runs, resolved, checked against the corpus, with its key."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ser_ray import allocation
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.overlap import check_pools
from ser_ray.sweep.planning.explore import Configuration, Setting, configurations, evenly_spread, resolver
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.sweep.spec.items import GuidedSearch, RandomSearch
from ser_ray.sweep.spec.space import WHOLE_FRAMES, size_of
from ser_ray.training.config import TrainingConfig, segment_bytes, weights_bytes
from ser_ray.trial import TrialConfig, trial_key

if TYPE_CHECKING:
    from ser_ray.sweep.planning.guided import Guided


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

    Of a guided search it holds those that are proposed already, the seeds of each configuration together.

    Args:
        sweep: the sweep.
        corpus_fingerprint: of the corpus that it was planned for.
        hop: samples of one frame of that corpus.
        trials: with distinct keys.
        configurations: how many of the trials differ in more than the seed of their replicate.
        collapsed: configurations that were equal to others and are planned once.
        left_out: configurations that schedule.max_configurations leaves out.
        cut: trials that schedule.max_trials leaves out.
        to_propose: trials that a guided search has still to propose, at most, replicates counted.
        notes: what else is to be said of it, a text each.
    """

    sweep: SweepConfig
    corpus_fingerprint: str
    hop: int
    trials: tuple[PlannedTrial, ...]
    configurations: int
    collapsed: int
    left_out: int
    cut: int = 0
    to_propose: int = 0
    notes: tuple[str, ...] = ()


def make_plan(sweep: SweepConfig, corpus: PlannedCorpus, guided: "Guided | None" = None) -> Plan:
    """Return the trials of a sweep on a corpus.

    Args:
        sweep: the sweep.
        corpus: what it runs on.
        guided: the guided search of this sweep, if it has one; None plans as if nothing were proposed yet.

    Returns:
        The plan; the same for the same sweep, corpus and proposals.

    Raises:
        InputError: if the exploration yields no networks, or a configuration does not fit the corpus: pools that do
            not multiply to its hop, times that are no whole number of its frames, targets that it lacks.
    """
    if sweep.guided is not None:
        return _guided_plan(sweep, sweep.guided, corpus, guided)
    explored = configurations(sweep, corpus.hop)
    first: dict[TrialConfig, Configuration] = {}
    for configuration in explored:
        first.setdefault(configuration.trial, configuration)
    distinct = list(first.values())
    chosen = evenly_spread(distinct, sweep.schedule.max_configurations or len(distinct))
    check = _Check(sweep, corpus)
    check.steps()
    for configuration in chosen:
        check.configuration(configuration)
    everything = [(configuration, replicate) for replicate in range(sweep.replicates) for configuration in chosen]
    budgeted = everything[: sweep.schedule.max_trials]
    trials = {trial.key: trial for trial in (plan_trial(one, replicate, corpus) for one, replicate in budgeted)}
    return Plan(
        sweep=sweep,
        corpus_fingerprint=corpus.fingerprint,
        hop=corpus.hop,
        trials=tuple(trials.values()),
        configurations=min(len(chosen), len(budgeted)),
        collapsed=len(explored) - len(distinct),
        left_out=len(distinct) - len(chosen),
        cut=len(everything) - len(budgeted),
        notes=_cut_note(sweep, len(everything)),
    )


def _cut_note(sweep: SweepConfig, trials: int) -> tuple[str, ...]:
    most = sweep.schedule.max_trials
    if most is None or trials <= most:
        return ()
    return (f"schedule.max_trials {most} leaves out {trials - most} of {trials} trials",)


def _guided_plan(sweep: SweepConfig, search: GuidedSearch, corpus: PlannedCorpus, guided: "Guided | None") -> Plan:
    if guided is None:
        check_space(sweep, search, corpus)
    trials = guided.recorded if guided else ()
    most = most_proposals(sweep, search)
    remaining = guided.remaining if guided else min(most, size_of(search.space) or most)
    return Plan(
        sweep=sweep,
        corpus_fingerprint=corpus.fingerprint,
        hop=corpus.hop,
        trials=trials,
        configurations=len(trials) // sweep.replicates,
        collapsed=0,
        left_out=0,
        to_propose=remaining * sweep.replicates,
        notes=guided.notes if guided else (),
    )


def most_proposals(sweep: SweepConfig, search: GuidedSearch) -> int:
    """Return how many configurations a guided search proposes at most, by its count and by the schedule.

    Args:
        sweep: the sweep.
        search: its search.

    Raises:
        InputError: if schedule.max_trials does not allow for the replicates of one.
    """
    schedule = sweep.schedule
    if schedule.max_trials is not None and schedule.max_trials < sweep.replicates:
        raise InputError(
            f"{sweep.source.where(('schedule', 'max_trials'))}: schedule.max_trials is {schedule.max_trials}, but each "
            f"configuration has replicates: {sweep.replicates}; allow for at least one configuration"
        )
    trials = None if schedule.max_trials is None else schedule.max_trials // sweep.replicates
    return min(bound for bound in (search.count, schedule.max_configurations, trials) if bound is not None)


def check_space(sweep: SweepConfig, search: GuidedSearch, corpus: PlannedCorpus) -> None:
    """Refuse a space that holds configurations which do not go together or do not fit a corpus.

    Each field's values are tried beside the first of the others: that finds every misfit, since lists that must have
    one length have that of the first, and all else concerns one field alone.

    Args:
        sweep: the sweep.
        search: its search.
        corpus: what it runs on.

    Raises:
        InputError: as `make_plan`.
    """
    build, check = resolver(sweep), _Check(sweep, corpus)
    first = {path: axis.probes[0] for path, axis in search.space.items()}
    for path, axis in search.space.items():
        for value in axis.probes:
            check.configuration(build(settings_of(sweep, search, first | {path: value})))


def settings_of(sweep: SweepConfig, search: GuidedSearch, values: dict[str, Any]) -> tuple[Setting, ...]:
    """Return values of a guided search's fields as settings.

    Args:
        sweep: the sweep.
        search: its search.
        values: a value for each field of its space.

    Returns:
        The settings in the order of the space.
    """
    where = sweep.source.where  # it is the only item
    return tuple(Setting(path, values[path], where(("explore", 0, *search.place(path)))) for path in search.space)


def plan_trial(configuration: Configuration, replicate: int, corpus: PlannedCorpus) -> PlannedTrial:
    """Return one trial of a configuration.

    Args:
        configuration: resolved.
        replicate: which of its seeds, from 0.
        corpus: what it runs on.
    """
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
        self.seen: set[ModelConfig | TrainingConfig | tuple[ModelConfig, float]] = set()
        self.memory_bytes = allocation.machine_memory_bytes()

    def configuration(self, configuration: Configuration) -> None:
        model, training = configuration.trial.model, configuration.trial.training
        if model not in self.seen:
            self.model(model, functools.partial(self.place, configuration))
            self.seen.add(model)
        if training not in self.seen:
            self.training(training, functools.partial(self.place, configuration))
            self.seen.add(training)
        if (model, training.sequence_s) not in self.seen:
            self.memory(configuration)
            self.seen.add((model, training.sequence_s))

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
        for path in WHOLE_FRAMES:
            self.whole_frames(path, getattr(training, path.split(".")[1]), functools.partial(place, path))

    def memory(self, configuration: Configuration) -> None:
        model, sequence_s = configuration.trial.model, configuration.trial.training.sequence_s
        weights, segment = weights_bytes(model), segment_bytes(model, round(sequence_s * self.corpus.sample_rate))
        if weights + segment <= self.memory_bytes:
            return
        short = segment_bytes(model, self.corpus.sample_rate)  # of a second
        if weights + short <= self.memory_bytes:
            path = "training.sequence_s"
        elif short > weights or 2 * model.convolution_parameters > model.parameters:
            path = "model.channels"
        else:
            path = "model.hidden"
        raise InputError(
            f"{self.place(configuration, path)}: training {model.parameters:,} parameters on a single segment of "
            f"{sequence_s:g} s takes at least {(weights + segment) / 1e9:,.0f} GB, but this machine has "
            f"{self.memory_bytes / 1e9:,.0f} GB of memory; make it smaller"
        )

    def whole_frames(self, path: str, seconds: float, place: Callable[[], str]) -> None:
        least = 1 if path == "training.sequence_s" else 0
        frames = seconds * self.corpus.label_rate
        if abs(frames - round(frames)) > 1e-6 or round(frames) < least:
            near = sorted({max(least, math.floor(frames)), max(least, math.ceil(frames))})
            fitting = " and ".join(f"{frame / self.corpus.label_rate:.10g}" for frame in near)
            raise InputError(
                f"{place()}: {seconds:g} s are {frames:g} frames of this corpus "
                f"({self.corpus.label_rate:g} a second), but must be whole frames; nearest: {fitting}"
            )

    def steps(self) -> None:
        """Look at the ranges of random searches, so that a larger count finds nothing new that does not fit."""
        for index, item in enumerate(self.sweep.explore):
            for path, axis in item.space.items() if isinstance(item, RandomSearch) else ():
                where = self.sweep.source.where(("explore", index, *item.place(path)))
                for seconds in axis.probes if path in WHOLE_FRAMES else ():
                    self.whole_frames(path, seconds, functools.partial(str, f"{where}: {path}"))

    def place(self, configuration: Configuration, path: str) -> str:
        """Return where a field of a configuration was set, and its name."""
        for setting in configuration.settings:
            if setting.path == path:
                return f"{setting.place}: {path}"
        section, field = path.split(".")
        if field in self.sweep.trial.get(section, {}):
            return f"{self.sweep.source.where(('trial', section, field))}: trial.{path}"
        return f"{self.sweep.source.name}: trial.{path} (by default)"
