"""How fast trials were on each device, from the rows that they left."""

import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
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

_OF_DEVICE = ("device", "precision", "backend")
_COLUMNS = ["key", "status", *_OF_DEVICE, "batch_size", "sequence_s", "samples_per_second", "config"]


class DeviceClass(NamedTuple):
    """What trials have in common that are equally fast: "cpu: NAME" or a GPU's name, precision and back end."""

    device: str
    precision: str
    backend: str

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
        seconds_per_sample: seconds of training for each sample of audio.
    """

    model: ModelConfig
    batch_size: int
    sequence_s: float
    seconds_per_sample: float


@dataclass(frozen=True)
class Speeds:
    """How fast the trials of a device class trained.

    Args:
        trials: at least one.
    """

    trials: tuple[Speed, ...]

    def seconds_per_sample(self, model: ModelConfig, batch_size: int, sequence_s: float) -> float:
        """Return the seconds that training takes for each sample of audio.

        Args:
            model: the network.
            batch_size: segments in a batch.
            sequence_s: length of a segment.

        Returns:
            The median of the trials with this network, batch and sequence; where there are none, of those with this
            network; else the median network's, in proportion to the multiply-adds.
        """
        known = self._by_setting.get((model, batch_size, sequence_s)) or self._by_model.get(model)
        return known or self._seconds_per_multiply_add * model.multiply_adds / model.hop

    def knows(self, model: ModelConfig) -> bool:
        """Return whether a trial with this network was measured.

        Args:
            model: the network.
        """
        return model in self._by_model

    @cached_property
    def _by_setting(self) -> dict[tuple[ModelConfig, int, float], float]:
        return _medians(((t.model, t.batch_size, t.sequence_s), t.seconds_per_sample) for t in self.trials)

    @cached_property
    def _by_model(self) -> dict[ModelConfig, float]:
        return _medians((trial.model, trial.seconds_per_sample) for trial in self.trials)

    @cached_property
    def _seconds_per_multiply_add(self) -> float:
        return statistics.median(s * model.hop / model.multiply_adds for model, s in self._by_model.items())


def read_speeds(folders: Sequence[SweepFolder]) -> dict[DeviceClass, Speeds]:
    """Return how fast the finished trials of sweeps were on each class of devices.

    Args:
        folders: of sweeps. One whose rows cannot be read, as of another version, is left out, and said on stderr.

    Returns:
        Class -> speeds; a trial that several sweeps share counts once. MOST_ROWS of each sweep are read.
    """
    found: dict[DeviceClass, dict[str, Speed]] = {}
    for folder in folders:
        for row in _rows(folder):
            speed = _speed(row)
            if speed is not None:
                found.setdefault(DeviceClass(row["device"], row["precision"], row["backend"]), {})[row["key"]] = speed
    return {device: Speeds(tuple(speeds.values())) for device, speeds in sorted(found.items())}


def sweeps_beside(folder: SweepFolder) -> list[SweepFolder]:
    """Return the sweeps that lie in the same folder of results, this one first if there is one.

    Args:
        folder: a sweep's folder; it need not exist yet.
    """
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
    return Speed(model, row["batch_size"], row["sequence_s"], 1 / row["samples_per_second"])


def _medians(pairs: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    values: dict[Key, list[float]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return {key: statistics.median(own) for key, own in values.items()}
