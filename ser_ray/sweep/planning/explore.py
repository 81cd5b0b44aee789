"""Expand a sweep into configurations: items multiply, lists in one item go together; check that they fit a corpus."""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from ser_ray import allocation
from ser_ray.corpus import Corpus
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.models.config import SAMPLES_PER_MS
from ser_ray.overlap import check_pools, designs, nearest_pools
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import SweepFolder
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.sweep.spec.items import Design, GuidedSearch, Item, RandomSearch
from ser_ray.sweep.spec.reading import plain_message
from ser_ray.sweep.spec.space import MOST_CONFIGURATIONS, WHOLE_FRAMES
from ser_ray.training.config import TrainingConfig, segment_bytes, weights_bytes
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
        average = sweep.given("model.average", 1)
        filterbank = sweep.given("model.front_end") == "filterbank"
        return [
            tuple(Setting(path, value, place) for path, value in _design_fields(*design, filterbank=filterbank).items())
            for design in _designed(item, (item.hop or hop) // average, index, place)
        ]
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


def _design_fields(kernels: tuple[int, ...], pools: tuple[int, ...], *, filterbank: bool) -> dict[str, Any]:
    """Return the values of a design's fields; the first kernel and pool may be those of a filterbank."""
    if not filterbank:
        return {"model.kernels": kernels, "model.pools": pools}
    return {
        "model.width_ms": (kernels[0] + pools[0] - 1) / SAMPLES_PER_MS,
        "model.hop_ms": pools[0] / SAMPLES_PER_MS,
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
    words = set(re.findall(r"\w+", message))
    for setting in settings:
        if setting.path.split(".")[1] in words:
            return setting.place
    given = (field for field in sweep.trial.get(section, {}) if field in words)
    return sweep.source.where(("trial", section, *itertools.islice(given, 1)))


class CorpusFit:
    """Checks configurations against a corpus, each model and each training once.

    Its checks raise InputError: for pools that do not multiply to the corpus's hop, times that are not whole frames of
    it, targets that it lacks, and networks that do not fit into this machine's memory.
    """

    def __init__(self, config: SweepConfig, corpus: Corpus) -> None:
        self._config, self._corpus = config, corpus
        self._seen: set[ModelConfig | TrainingConfig | tuple[ModelConfig, float]] = set()
        self._memory_bytes = allocation.machine_memory_bytes()

    def check(self, configuration: Configuration) -> None:
        """Check a configuration."""
        model, training = configuration.trial.model, configuration.trial.training
        place = functools.partial(self._place, configuration)
        if model not in self._seen:
            self._check_model(model, place)
            self._seen.add(model)
        if training not in self._seen:
            for path in WHOLE_FRAMES:
                self._check_whole_frames(path, getattr(training, path.split(".")[1]), functools.partial(place, path))
            self._seen.add(training)
        if (model, training.sequence_s) not in self._seen:
            self._check_memory(configuration)
            self._seen.add((model, training.sequence_s))

    def check_ranges(self) -> None:
        """Check the ranges of random searches, so that a larger count cannot draw anything that does not fit."""
        for index, item in enumerate(self._config.explore):
            for path, axis in item.space.items() if isinstance(item, RandomSearch) else ():
                where = self._config.source.where(("explore", index, *item.place(path)))
                for seconds in axis.probes if path in WHOLE_FRAMES else ():
                    self._check_whole_frames(path, seconds, functools.partial(str, f"{where}: {path}"))

    def _check_model(self, model: ModelConfig, place: Callable[[str], str]) -> None:
        try:
            _check_hop(model, self._corpus.hop)
        except InputError as error:
            raise InputError(f"{place('model.pools')}: {error}") from None
        for target in model.targets:
            if target not in self._corpus.targets:
                raise InputError(
                    f"{place('model.targets')}: {target} is not labelled in this corpus; "
                    f"its targets are [{', '.join(self._corpus.targets)}]"
                )

    def _check_memory(self, configuration: Configuration) -> None:
        model, sequence_s = configuration.trial.model, configuration.trial.training.sequence_s
        weights, segment = weights_bytes(model), segment_bytes(model, round(sequence_s * self._corpus.sample_rate))
        if weights + segment <= self._memory_bytes:
            return
        short = segment_bytes(model, self._corpus.sample_rate)  # of a segment of one second
        if weights + short <= self._memory_bytes:
            path = "training.sequence_s"
        elif short > weights or 2 * model.convolution_parameters > model.parameters:
            path = "model.channels"
        else:
            path = "model.hidden"
        raise InputError(
            f"{self._place(configuration, path)}: training {model.parameters:,} parameters on a single segment of "
            f"{sequence_s:g} s takes at least {(weights + segment) / 1e9:,.0f} GB, but this machine has "
            f"{self._memory_bytes / 1e9:,.0f} GB of memory; make it smaller"
        )

    def _check_whole_frames(self, path: str, seconds: float, place: Callable[[], str]) -> None:
        least = 1 if path == "training.sequence_s" else 0
        frames = seconds * self._corpus.label_rate
        if abs(frames - round(frames)) > 1e-6 or round(frames) < least:
            near = sorted({max(least, math.floor(frames)), max(least, math.ceil(frames))})
            fitting = " and ".join(f"{frame / self._corpus.label_rate:.10g}" for frame in near)
            raise InputError(
                f"{place()}: {seconds:g} s are {frames:g} frames of this corpus "
                f"({self._corpus.label_rate:g} a second), but must be whole frames; nearest: {fitting}"
            )

    def _place(self, configuration: Configuration, path: str) -> str:
        """Return the position at which a field of a configuration was set, and its name."""
        for setting in configuration.settings:
            if setting.path == path:
                return f"{setting.place}: {path}"
        section, field = path.split(".")
        if field in self._config.trial.get(section, {}):
            return f"{self._config.source.where(('trial', section, field))}: trial.{path}"
        return f"{self._config.source.name}: trial.{path} (by default)"


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


def _check_hop(model: ModelConfig, hop: int) -> None:
    """Refuse a network whose frames are not those of the corpus, of `hop` samples."""
    if model.front_end == "conv" and model.average == 1:
        check_pools(model.pools, hop)
    if model.hop == hop:
        return
    parts = [f"hop_ms {model.hop_ms:g}"] if model.front_end == "filterbank" else []
    parts += [f"pools {list(model.pools)}", f"average {model.average}"]
    rest = model.hop // model.average
    fix = f"average {hop // rest} fits" if hop % rest == 0 else "change hop_ms or the pools"
    raise InputError(f"{', '.join(parts)} make frames of {model.hop} samples, but this corpus has {hop}; {fix}")
