"""Refuse configurations that do not fit their corpus or this machine's memory, with the position of the setting."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ser_ray import allocation
from ser_ray.corpus import Corpus
from ser_ray.corpus.describing.gold_values import is_constant, range_beyond
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.overlap import check_pools
from ser_ray.postprocess.config import SearchConfig
from ser_ray.sweep.planning.explore import Configuration
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.sweep.spec.items import RandomSearch
from ser_ray.sweep.spec.space import WHOLE_FRAMES
from ser_ray.training.config import TrainingConfig, segment_bytes, weights_bytes
from ser_ray.trial import TrialConfig


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
        if model not in self._seen:
            self._check_model(model, functools.partial(self._place, configuration))
            self._seen.add(model)
        if training not in self._seen:
            self._check_training(training, functools.partial(self._place, configuration))
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
            check_pools(model.pools, self._corpus.hop)
        except InputError as error:
            raise InputError(f"{place('model.pools')}: {error}") from None
        for target in model.targets:
            if target not in self._corpus.targets:
                raise InputError(
                    f"{place('model.targets')}: {target} is not labelled in this corpus; "
                    f"its targets are [{', '.join(self._corpus.targets)}]"
                )

    def _check_training(self, training: TrainingConfig, place: Callable[[str], str]) -> None:
        for path in WHOLE_FRAMES:
            self._check_whole_frames(path, getattr(training, path.split(".")[1]), functools.partial(place, path))

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


NEEDED_BY = {
    "train": "networks are trained on it",
    "devel": "the best epoch and the post-processing are chosen by it",
}


def check_gold(sweep: SweepConfig, configs: Sequence[TrialConfig], corpus: Corpus) -> None:
    """Refuse a corpus without the gold standard that trials need, so that they do not fail in the end.

    Raises:
        InputError: if train or devel has no recording with gold of a target, if devel has none that is labelled
            throughout, or if the searches' grid is too large.
    """
    search = SearchConfig(**sweep.trial.get("search", {}))
    default = ((tuple(sweep.given("model.targets", ModelConfig().targets)), None),)
    for targets, limit in dict.fromkeys((c.model.targets, c.training.limit_recordings) for c in configs) or default:
        _check_partition(corpus, "train", targets, limit)
        # a joint choice needs recordings that are labelled for all targets
        for group in [targets] if search.choice == "joint" else [(target,) for target in targets]:
            _check_partition(corpus, "devel", group, limit)
    longest = max(recording.frames for recording in corpus.recordings("devel"))
    try:
        search.grid(corpus.label_rate, longest)
    except InputError as error:
        raise InputError(f"{sweep.source.where(('trial', 'search'))}: trial.search: {error}") from None


def gold_warnings(configs: Sequence[TrialConfig], corpus: Corpus) -> list[str]:
    """List warnings, a line each, about a gold standard that trials can run on but that may be a mistake."""
    return [*constant_targets(configs, corpus), *targets_beyond_scale(configs, corpus)]


def constant_targets(configs: Sequence[TrialConfig], corpus: Corpus) -> list[str]:
    """List warnings about targets with constant gold in train or devel: their CCC is 0/0 and counts 0."""
    used = list(dict.fromkeys((t, c.training.limit_recordings) for c in configs for t in c.model.targets))
    return [
        f"warning: gold of {target} is constant in {partition}: its CCC counts as 0 and lowers the mean CCC that "
        f"chooses the best epoch; list only the other targets in the sweep file, such as "
        "trial: {model: {targets: [arousal]}}"
        for target, limit in used
        for partition in NEEDED_BY
        if is_constant(corpus, partition, target, limit)
    ]


def targets_beyond_scale(configs: Sequence[TrialConfig], corpus: Corpus) -> list[str]:
    """List warnings about targets with gold outside [-1, 1] in train or devel."""
    lines = []
    for target, limit in dict.fromkeys((t, c.training.limit_recordings) for c in configs for t in c.model.targets):
        for partition in NEEDED_BY:
            found = range_beyond(corpus, partition, target, limit)
            if found is not None:
                lines.append(
                    f"warning: gold of {target} goes from {found[0]:.4g} to {found[1]:.4g} in a recording of "
                    f"{partition}: learning rates are chosen for labels from -1 to 1; rescale the labels before the "
                    "import, for example labels from 0 to 100 by (label - 50) / 50"
                )
                break
    return list(dict.fromkeys(lines))


def _check_partition(corpus: Corpus, partition: str, targets: Sequence[str], limit: int | None) -> None:
    """Refuse a partition that lacks gold: train needs some for each target, devel a recording labelled throughout."""
    recordings, why = corpus.recordings(partition)[:limit], NEEDED_BY[partition]
    if not recordings:
        raise InputError(
            f"{corpus.path}: partition {partition} has no recordings, but {why}: import the corpus again with "
            f"recordings in {partition}"
        )
    columns = [corpus.targets.index(target) for target in targets]
    seen: NDArray[np.bool_] = np.zeros(len(targets), bool)
    for recording in recordings:
        if recording.labelled:
            known = np.isfinite(corpus.gold(recording)[:, columns])
            seen = np.logical_or(seen, known.any(axis=0)) if partition == "train" else np.all(known, axis=0)
        if seen.all():
            return
    missing = targets if partition == "devel" else [t for t, found in zip(targets, seen, strict=True) if not found]
    used = f"the first {limit} recordings of {partition}" if limit else f"all {len(recordings)} of {partition}"
    labelled = "labelled" if partition == "train" else "labelled in all frames"
    raise InputError(
        f"{corpus.path}: of {used}, none is {labelled} for {' and '.join(missing)}, but {why}: add the labels, or set "
        "trial.model.targets to targets that have them"
    )
