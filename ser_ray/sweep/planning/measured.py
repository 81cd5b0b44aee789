"""Training speed of trials on each class of devices, read from their rows."""

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
"""Maximum number of rows read of a sweep, spread over all: more would make an estimate slower and no better."""

SHARE_DIGITS = 3
"""Digits to which shares of a GPU are compared: three trials on one have 0.3333 each, as Ray counts them."""

_OF_DEVICE = ("device", "precision", "backend")
_COLUMNS = ["key", "status", *_OF_DEVICE, "gpus", "batch_size", "sequence_s", "samples_per_second", "config"]


class DeviceClass(NamedTuple):
    """Class of devices of equal speed: "cpu: NAME" or a GPU's name, precision and back end."""

    device: str
    precision: str
    backend: str

    @property
    def is_gpu(self) -> bool:
        """Whether its trials run on a share of a GPU instead of a core."""
        return not self.device.startswith("cpu")

    def __str__(self) -> str:
        """Format the class for tables."""
        return f"{self.device}, {self.precision}, {self.backend}"


@dataclass(frozen=True)
class Speed:
    """Training speed of one trial.

    Args:
        model: its network.
        batch_size: segments in a batch.
        sequence_s: length of a segment.
        seconds_per_sample: of training, per sample of audio.
        share: of a GPU that it had, at most 1; 1 on a CPU.
    """

    model: ModelConfig
    batch_size: int
    sequence_s: float
    seconds_per_sample: float
    share: float = 1.0

    def seconds_at(self, share: float) -> float:
        """Estimate an upper limit of such a trial's seconds per sample at another share of a GPU.

        seconds(share) = seconds(measured) x max(1, measured / share): trials on a GPU share its throughput equally, so
        that one on a quarter of it takes up to four times as long as on the whole. A larger share is not assumed to be
        faster: a small network does not fill a GPU, and how far it does has not been measured.
        """
        return self.seconds_per_sample * max(1.0, self.share / share)


@dataclass(frozen=True)
class Speeds:
    """Training speeds of the trials of a device class, at least one."""

    trials: tuple[Speed, ...]

    def seconds_per_sample(self, model: ModelConfig, batch_size: int, sequence_s: float, share: float = 1.0) -> float:
        """Estimate the seconds of training per sample of audio, at a share of a GPU; on a CPU the share is 1.

        The estimate is the median of the trials with this network, batch and sequence; if there are none, of those with
        this network; else the median network's, in proportion to the multiply-adds. Only trials that had this share are
        used, if there are any; else all, with their upper limits at this share (`seconds_at`).
        """
        at = self._at(share)
        known = at.by_setting.get((model, batch_size, sequence_s)) or at.by_model.get(model)
        return known or at.seconds_per_multiply_add * model.multiply_adds / model.hop

    def knows(self, model: ModelConfig) -> bool:
        """Check whether a trial with this network was measured."""
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
    """Median seconds per sample at one share of a GPU: by network, batch and sequence; by network; per multiply-add."""

    def __init__(self, trials: Sequence[Speed], share: float) -> None:
        self.by_setting = _medians(trials, share, lambda trial: (trial.model, trial.batch_size, trial.sequence_s))
        self.by_model = _medians(trials, share, lambda trial: trial.model)
        self.seconds_per_multiply_add = statistics.median(
            seconds * model.hop / model.multiply_adds for model, seconds in self.by_model.items()
        )


def read_speeds(folders: Sequence[SweepFolder]) -> dict[DeviceClass, Speeds]:
    """Read the speeds of sweeps' finished trials, by class of devices; a trial in several sweeps counts once.

    A sweep whose rows cannot be read, such as one of another version, is left out and named on stderr. At most
    MOST_ROWS rows of each sweep are read.
    """
    found: dict[DeviceClass, dict[str, Speed]] = {}
    for folder in folders:
        for row in _rows(folder):
            speed = _speed(row)
            if speed is not None:
                found.setdefault(DeviceClass(row["device"], row["precision"], row["backend"]), {})[row["key"]] = speed
    return {device: Speeds(tuple(speeds.values())) for device, speeds in sorted(found.items())}


def sweeps_beside(folder: SweepFolder) -> list[SweepFolder]:
    """List the sweeps in the same folder of results: this one first, if it exists yet, then the others."""
    beside = (path.parent for path in sorted(folder.path.parent.glob("*/sweep.yaml")))
    others = [SweepFolder(path) for path in beside if path.name != folder.path.name]
    return [folder, *others] if folder.path.is_dir() else others


def _rows(folder: SweepFolder) -> list[dict[str, Any]]:
    keys = sorted(folder.keys("trials"))  # hashes: every n-th of them makes a fair sample
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
        # 0 on a CPU; a network trains on one GPU even if it has several. Old rows lack the share: a whole GPU is
        # assumed, from which the longest times follow.
        round(min(1.0, row["gpus"] or 1.0), SHARE_DIGITS),
    )


def _medians(trials: Sequence[Speed], share: float, kind: Callable[[Speed], Key]) -> dict[Key, float]:
    """Return kind -> median of its trials that had this share or, if none had, of all its trials."""
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
