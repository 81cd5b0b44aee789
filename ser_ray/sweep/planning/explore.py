"""Expand a sweep into its configurations: items multiply, lists within one item go together; create the trials."""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from ser_ray.corpus import Corpus
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.models.config import SAMPLES_PER_MS
from ser_ray.overlap import designs, nearest_pools
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import SweepFolder
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.sweep.spec.items import Design, GuidedSearch, Item, RandomSearch
from ser_ray.sweep.spec.reading import plain_message
from ser_ray.sweep.spec.space import MOST_CONFIGURATIONS
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import Trial, TrialConfig, trial_key

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One explored value: the dotted field that it sets, and its position in the sweep file."""

    path: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """One point of the exploration: the resolved trial and the settings that distinguish it."""

    trial: TrialConfig
    settings: tuple[Setting, ...]


def configurations(sweep: SweepConfig, hop: int) -> list[Configuration]:
    """List every configuration that a sweep explores, in the order of its file, without the seeds of replicates.

    They are the product of the items, the last varying fastest. Proposals of a guided search are not included.

    Args:
        sweep: the sweep.
        hop: samples of one frame of its corpus, for designs without a hop of their own.

    Raises:
        InputError: if a design has no pools, values do not go together, or there are too many configurations.
    """
    axes = [_choices(sweep, index, item, hop) for index, item in enumerate(sweep.explore)]
    total = math.prod(map(len, axes))
    if total * sweep.replicates > MOST_CONFIGURATIONS:
        raise InputError(
            f"{sweep.source.where(('explore',))}: {' x '.join(str(len(axis)) for axis in axes)} configurations "
            f"with {sweep.replicates} seeds each are {total * sweep.replicates} trials; at most {MOST_CONFIGURATIONS} "
            "are allowed: explore fewer values"
        )
    build = resolver(sweep)
    return [build(tuple(itertools.chain(*choices))) for choices in itertools.product(*axes)]


def resolver(sweep: SweepConfig) -> Callable[[tuple[Setting, ...]], Configuration]:
    """Create a function that applies settings to a sweep's trial and returns the configuration.

    Equal models and trainings are created only once. The function raises InputError if values do not go together.
    """
    owners = {"search": SearchConfig, "model": ModelConfig, "training": TrainingConfig}

    @functools.cache
    def made(section: str, settings: tuple[Setting, ...]) -> Any:
        explored = {setting.path.split(".")[1]: setting.value for setting in settings}
        try:
            return owners[section](**(sweep.trial.get(section, {}) | explored))
        except ValidationError as error:
            message = plain_message(error)
            place = _place_of(sweep, section, settings, message)
            raise InputError(f"{place}: {section}: {message}") from None

    def build(settings: tuple[Setting, ...]) -> Configuration:
        sections = {
            section: made(section, tuple(setting for setting in settings if setting.path.startswith(f"{section}.")))
            for section in owners
        }
        return Configuration(TrialConfig(**sections), settings)

    return build


def evenly_spread(values: Sequence[T], count: int) -> list[T]:
    """Select `count` evenly spread values, the first and the last among them; all if there are no more."""
    if count >= len(values):
        return list(values)
    if count == 1:
        return [values[0]]
    last = len(values) - 1
    return [values[(2 * index * last + count - 1) // (2 * (count - 1))] for index in range(count)]


def _choices(sweep: SweepConfig, index: int, item: Item, hop: int) -> list[tuple[Setting, ...]]:
    """List the choices of one item, each a tuple of settings that go together."""
    where = sweep.source.where
    if isinstance(item, Design):
        place = where(("explore", index, "design"))
        _check_layers(sweep, item, index, place)
        designs = _designed(item, (item.hop or hop) // sweep.given("model.average", 1), index, place)
        if sweep.given("model.front_end") == "filterbank":
            steps = sweep.given("model.energy_steps", 1)
            made = [_filterbank_fields(*design, steps) for design in designs if design[1][0] % steps == 0]
            if not made:
                raise InputError(f"{place}: no first pool is a multiple of model.energy_steps {steps}: set it to 1")
        else:
            made = [{"model.kernels": kernels, "model.pools": pools} for kernels, pools in designs]
        return [tuple(Setting(path, value, place) for path, value in fields.items()) for fields in made]
    if isinstance(item, GuidedSearch):
        return []
    if isinstance(item, RandomSearch):
        places = {path: where(("explore", index, *item.place(path))) for path in item.paths}
        return [tuple(Setting(path, value, places[path]) for path, value in drawn.items()) for drawn in item.draws()]
    columns = [
        [Setting(path, value, where(("explore", index, path, row))) for row, value in enumerate(values)]
        for path, values in item.values.items()
    ]
    return list(zip(*columns, strict=True))


def _filterbank_fields(kernels: tuple[int, ...], pools: tuple[int, ...], energy_steps: int) -> dict[str, Any]:
    """Return the fields of a design whose first kernel and pool are a filterbank's, as in `ModelConfig.layers`."""
    hop = pools[0] // energy_steps
    return {
        "model.width_ms": (kernels[0] + hop - 1) / SAMPLES_PER_MS,
        "model.hop_ms": hop / SAMPLES_PER_MS,
        "model.kernels": kernels[1:],
        "model.pools": pools[1:],
    }


def _designed(design: Design, hop: int, index: int, place: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """List (kernels, pools) of a design, without duplicates that rounding made."""
    found = []
    for ratio in design.overlap_ratio:
        fitting = [
            (kernels, pools)
            for kernels, pools in designs(hop, design.layers, design.smallest_pool, ratio)
            if design.largest_pool is None or max(pools) <= design.largest_pool
        ]
        found += evenly_spread(fitting, design.count or len(fitting)) if fitting else []
    if not found:
        largest = f" to {design.largest_pool}" if design.largest_pool else " or more"
        even = [max(1, round(hop ** (1 / design.layers)))] * design.layers
        near = ", ".join(str(list(pools)) for pools in nearest_pools(even, hop))
        raise InputError(
            f"{place}: explore[{index}].design: no {design.layers} pools of {design.smallest_pool}{largest} multiply "
            f"to the hop of {hop} samples; examples of pools that do: {near}"
        )
    return list(dict.fromkeys(found))


def _check_layers(sweep: SweepConfig, design: Design, index: int, place: str) -> None:
    if any("model.channels" in item.paths for item in sweep.explore):
        return
    channels = sweep.given("model.channels", ModelConfig().channels)
    filterbank = sweep.given("model.front_end") == "filterbank"
    blocks = design.layers - 1 if filterbank else design.layers
    if len(channels) != blocks:
        first = ", the first of them the filterbank," if filterbank else ","
        raise InputError(
            f"{place}: explore[{index}].design has {design.layers} layers{first or ','} but trial.model.channels "
            f"{list(channels)} has {len(channels)}; give trial.model.channels {blocks} numbers"
        )


def _place_of(sweep: SweepConfig, section: str, settings: tuple[Setting, ...], message: str) -> str:
    """Return the position of the first field that a message names."""
    words = re.findall(r"\w+", message)
    for setting in settings:
        if setting.path.split(".")[1] in words:
            return setting.place
    given = (word for word in words if word in sweep.trial.get(section, {}))
    return sweep.source.where(("trial", section, *itertools.islice(given, 1)))


@dataclass(frozen=True)
class TrialFactory:
    """Creates the trials of a sweep, from what they all share.

    Args:
        corpus: what they train on.
        sweep: name of the sweep.
        folder: of its results, absolute, since trials run in other processes.
        git_commit: of the code, if known.
        git_diff: name of the code's uncommitted changes, if any are stored.
    """

    corpus: Corpus
    sweep: str
    folder: SweepFolder
    git_commit: str | None = None
    git_diff: str | None = None

    def trial(self, configuration: Configuration, replicate: int = 0) -> Trial:
        """Create a configuration's trial; `replicate` is the number of its seed, from 0."""
        config = configuration.trial
        if replicate:
            training = dataclasses.replace(config.training, seed=config.training.seed + replicate)
            config = dataclasses.replace(config, training=training)
        return Trial(
            key=trial_key(config, self.corpus.fingerprint),
            config=config,
            corpus=self.corpus,
            sweep=self.sweep,
            folder=self.folder,
            explored=tuple((setting.path, setting.value) for setting in configuration.settings),
            git_commit=self.git_commit,
            git_diff=self.git_diff,
        )
