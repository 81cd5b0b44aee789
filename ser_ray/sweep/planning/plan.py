"""The plan of a sweep: every trial that it runs, with its key, checked against the corpus."""

from collections.abc import Iterable
from dataclasses import dataclass

from ser_ray.corpus import Corpus
from ser_ray.results import SweepFolder, write_planned
from ser_ray.sweep.planning.explore import Configuration, TrialFactory, configurations, evenly_spread
from ser_ray.sweep.planning.fit import CorpusFit
from ser_ray.sweep.planning.guided import Guided
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.trial import Trial, TrialConfig


@dataclass(frozen=True)
class Plan:
    """All trials that a sweep runs, the first seed of every configuration before the second.

    For a guided search these are the trials proposed so far, the seeds of each configuration together.

    Args:
        config: the sweep.
        corpus: what it runs on.
        folder: of its results, absolute.
        trials: with distinct keys.
        configurations: number of trials that differ in more than the seed of their replicate.
        collapsed: number of configurations that were equal to others and are planned once.
        left_out: number of configurations that schedule.max_configurations leaves out.
        guided: the guided search that proposes further trials, if there is one.
        source_sweeps: other sweeps, whose finished trials are taken over.
        notes: further remarks for the user, a text each.
    """

    config: SweepConfig
    corpus: Corpus
    folder: SweepFolder
    trials: tuple[Trial, ...]
    configurations: int
    collapsed: int = 0
    left_out: int = 0
    guided: Guided | None = None
    source_sweeps: tuple[SweepFolder, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def to_propose(self) -> int:
        """Maximum number of trials that a guided search has still to propose, replicates counted."""
        return 0 if self.guided is None else self.guided.remaining * self.config.replicates

    def record(self, proposed: Iterable[str] = ()) -> None:
        """Write the keys of the planned trials, for readers that show the trials of this plan alone.

        Args:
            proposed: keys of trials that a guided search has proposed since.

        Raises:
            OSError: if the disk is full or cannot be written.
        """
        write_planned(self.folder, {trial.key for trial in self.trials}.union(proposed))


def make_plan(config: SweepConfig, factory: TrialFactory) -> Plan:
    """Make the plan of a sweep, which depends only on the sweep, the corpus and recorded proposals.

    Raises:
        InputError: if the exploration yields no networks, or a configuration does not fit the corpus (see `CorpusFit`).
    """
    if config.guided is not None:
        return _guided_plan(config, factory)
    explored = configurations(config, factory.corpus.hop)
    first: dict[TrialConfig, Configuration] = {}
    for configuration in explored:
        first.setdefault(configuration.trial, configuration)
    distinct = list(first.values())
    chosen = evenly_spread(distinct, config.schedule.max_configurations or len(distinct))
    fit = CorpusFit(config, factory.corpus)
    fit.check_ranges()
    for configuration in chosen:
        fit.check(configuration)
    everything = [(configuration, replicate) for replicate in range(config.replicates) for configuration in chosen]
    most = config.schedule.max_trials
    budgeted, cut = everything[:most], len(everything) - (most or len(everything))
    trials = {trial.key: trial for trial in (factory.trial(*one) for one in budgeted)}
    return Plan(
        config=config,
        corpus=factory.corpus,
        folder=factory.folder,
        trials=tuple(trials.values()),
        configurations=min(len(chosen), len(budgeted)),
        collapsed=len(explored) - len(distinct),
        left_out=len(distinct) - len(chosen),
        notes=(f"schedule.max_trials {most} leaves out {cut} of {len(everything)} trials",) if cut > 0 else (),
    )


def _guided_plan(config: SweepConfig, factory: TrialFactory) -> Plan:
    guided = Guided(config, factory)
    return Plan(
        config=config,
        corpus=factory.corpus,
        folder=factory.folder,
        trials=guided.recorded,
        configurations=len(guided.recorded) // config.replicates,
        guided=guided,
        notes=guided.notes,
    )
