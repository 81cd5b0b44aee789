"""How fast trials were on each device, from the rows that they left."""

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.results import SweepFolder, read_table

Key = TypeVar("Key")

MOST_ROWS = 500
"""So many rows of a sweep are read, spread over all: more would make an estimate slower and no better."""

SHARE_DIGITS = 3
"""Shares of a GPU are equal that are so to as many digits: three trials on one have 0.3333 each, as Ray counts them."""

_OF_DEVICE = ("device", "precision", "backend")
_COLUMNS = ["key", "status", *_OF_DEVICE, "gpus", "batch_size", "sequence_s", "samples_per_second", "config"]


class DeviceClass(NamedTuple):
    """What trials have in common that are equally fast: "cpu: NAME" or a GPU's name, precision and back end."""

    device: str
    precision: str
    backend: str

    @property
    def is_gpu(self) -> bool:
        """Return whether its trials have a share of a GPU, and no core."""
        return not self.device.startswith("cpu")

    def __str__(self) -> str:
        """Return it as a table shows it."""
        return f"{self.device}, {self.precision}, {self.backend}"


@dataclass(frozen=True)
class Speed:
    """How fast one trial trained.

    Args:
        model: its network.
        batch_size: segments in a batch.
        sequence_s: length of a segment.
        seconds_per_sample: of training, for each sample of audio.
        share: of a GPU that it had, at most 1; 1 on a CPU.
    """

    model: ModelConfig
    batch_size: int
    sequence_s: float
    seconds_per_sample: float
    share: float = 1.0

    def seconds_at(self, share: float) -> float:
        """Return the seconds for each sample that such a trial takes at most at another share of a GPU.

        seconds(share) = seconds(measured) x max(1, measured / share): trials on a GPU share its throughput equally, so
        that one on a quarter of it takes up to four times as long as on the whole. With a larger share it is not taken
        to be quicker than it was: a small network does not fill a GPU, and nobody has measured how far it does.
        """
        return self.seconds_per_sample * max(1.0, self.share / share)


@dataclass(frozen=True)
class Speeds:
    """How fast the trials of a device class trained; at least one."""

    trials: tuple[Speed, ...]

    def seconds_per_sample(self, model: ModelConfig, batch_size: int, sequence_s: float, share: float = 1.0) -> float:
        """Return the seconds that training takes for each sample of audio, at a share of a GPU; 1 on a CPU.

        The median of the trials with this network, batch and sequence; where there are none, of those with this
        network; else the median network's, in proportion to the multiply-adds. Of these, the trials that had this
        share, if any had; else all, with the seconds that they would take at most at this share.
        """
        at = self._at(share)
        known = at.by_setting.get((model, batch_size, sequence_s)) or at.by_model.get(model)
        return known or at.seconds_per_multiply_add * model.multiply_adds / model.hop

    def knows(self, model: ModelConfig) -> bool:
        """Return whether a trial with this network was measured."""
        return model in self._models

    @cached_property
    def _models(self) -> set[ModelConfig]:
        return {trial.model for trial in self.trials}

    def _at(self, share: float) -> "_Medians":
        if share not in self._by_share:
            self._by_share[share] = _Medians(self.trials, share)
        return self._by_share[share]

    @cached_property
    def _by_share(self) -> "dict[float, _Medians]":
        return {}


class _Medians:
    """Seconds per sample at one share of a GPU: by network, batch and sequence, by network, and per multiply-add."""

    def __init__(self, trials: Sequence[Speed], share: float) -> None:
        self.by_setting = _medians(trials, share, lambda trial: (trial.model, trial.batch_size, trial.sequence_s))
        self.by_model = _medians(trials, share, lambda trial: trial.model)
        self.seconds_per_multiply_add = statistics.median(
            seconds * model.hop / model.multiply_adds for model, seconds in self.by_model.items()
        )


def read_speeds(folders: Sequence[SweepFolder]) -> dict[DeviceClass, Speeds]:
    """Return how fast the finished trials of sweeps were, by class of devices; a trial in several sweeps counts once.

    A sweep whose rows cannot be read, as of another version, is left out, and named on stderr. Of each sweep MOST_ROWS
    rows are read.
    """
    found: dict[DeviceClass, dict[str, Speed]] = {}
    for folder in folders:
        for row in _rows(folder):
            speed = _speed(row)
            if speed is not None:
                found.setdefault(DeviceClass(row["device"], row["precision"], row["backend"]), {})[row["key"]] = speed
    return {device: Speeds(tuple(speeds.values())) for device, speeds in sorted(found.items())}


def sweeps_beside(folder: SweepFolder) -> list[SweepFolder]:
    """Return the sweeps in the same folder of results, this one, which need not exist yet, first."""
    beside = (path.parent for path in sorted(folder.path.parent.glob("*/sweep.yaml")))
    others = [SweepFolder(path) for path in beside if path.name != folder.path.name]
    return [folder, *others] if folder.path.is_dir() else others


def _rows(folder: SweepFolder) -> list[dict[str, Any]]:
    keys = sorted(folder.keys("trials"))  # hashes: every so many of them are a fair sample
    try:
        rows = read_table(folder, "trials", keys=keys[:: -(-len(keys) // MOST_ROWS) or 1], columns=_COLUMNS)
    except InputError as error:
        print(f"left out of the estimate: {error}", file=sys.stderr)
        return []
    return list(rows.to_pylist())


def _speed(row: Mapping[str, Any]) -> Speed | None:
    if row["status"] != "finished" or not all(row[c] for c in (*_OF_DEVICE, "samples_per_second")):
        return None
    try:
        model = ModelConfig(**json.loads(row["config"])["model"])
    except (KeyError, TypeError, ValidationError):
        return None  # a network that this version does not have
    return Speed(
        model,
        row["batch_size"],
        row["sequence_s"],
        1 / row["samples_per_second"],
        # 0 on a CPU; a network trains on one GPU though it has several; rows of old say nothing: taken for a whole one,
        # from which the longest times follow
        round(min(1.0, row["gpus"] or 1.0), SHARE_DIGITS),
    )


def _medians(trials: Sequence[Speed], share: float, kind: Callable[[Speed], Key]) -> dict[Key, float]:
    """Return kind -> median of the trials that had a share; of a kind of which none had, of all of it."""
    kinds: dict[Key, list[Speed]] = {}
    for trial in trials:
        kinds.setdefault(kind(trial), []).append(trial)
    return {
        key: statistics.median(
            trial.seconds_at(share)
            for trial in [trial for trial in own if trial.share == round(share, SHARE_DIGITS)] or own
        )
        for key, own in kinds.items()
    }
