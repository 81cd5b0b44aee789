"""Refuse configurations that do not fit their corpus or this machine's memory, with the position of the setting."""

import functools
import math
from collections.abc import Callable

from ser_ray import allocation
from ser_ray.corpus import Corpus
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.overlap import check_pools
from ser_ray.sweep.planning.explore import Configuration
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.sweep.spec.items import RandomSearch
from ser_ray.sweep.spec.space import WHOLE_FRAMES
from ser_ray.training.config import LEAST_DELAY_S, TrainingConfig, segment_bytes, weights_bytes


class CorpusFit:
    """Checks configurations against a corpus, each model and each training once.

    Its checks raise InputError: for pools that do not multiply to the corpus's hop, times that are not whole frames of
    it, targets that it lacks, delays that it is too short for, and networks that do not fit into this machine's memory.
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
            self._check_delay(training, functools.partial(place, "training.estimate_delay"))
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
            path = "model.channels" if model.channels else "model.filters"
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

    def _check_delay(self, training: TrainingConfig, place: Callable[[], str]) -> None:
        if not training.estimate_delay:
            return
        recordings = [r for r in self._corpus.recordings("train")[: training.limit_recordings] if r.labelled]
        longest_s = max((recording.frames for recording in recordings), default=0) / self._corpus.label_rate
        if min(longest_s, training.limit_s or longest_s) < LEAST_DELAY_S:
            limited = f", and limit_s is {training.limit_s:g}" if training.limit_s else ""
            raise InputError(
                f"{place()}: a delay is estimated from train recordings of at least {LEAST_DELAY_S:g} s, but the "
                f"longest labelled one has {longest_s:g} s{limited}; set training.label_shift_s instead"
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


def _check_hop(model: ModelConfig, hop: int) -> None:
    """Refuse a network whose frames are not those of the corpus, of `hop` samples."""
    if model.front_end == "conv" and model.average == 1:
        check_pools(model.pools, hop)
    if model.hop == hop:
        return
    parts = [f"hop_ms {model.hop_ms:g}"] if model.front_end == "filterbank" else []
    parts += [f"energy_steps {model.energy_steps}"] if model.energy_steps > 1 else []
    parts += [f"pools {list(model.pools)}", f"average {model.average}"]
    rest = model.hop // model.average
    fix = f"average {hop // rest} fits" if hop % rest == 0 else "change hop_ms or the pools"
    if model.energy_steps > 1 and hop % rest:
        fix = "change energy_steps, hop_ms or the pools"
    raise InputError(f"{', '.join(parts)} make frames of {model.hop} samples, but this corpus has {hop}; {fix}")
