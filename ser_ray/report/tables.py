"""Trials grouped into configurations, with means and 95 % intervals over their seeds."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ser_ray.errors import InputError
from ser_ray.results import CCC_COLUMNS, STATUSES, TARGETS, SweepFolder, ccc_column, read_table

Row = Mapping[str, Any]

SEED_FIELD = "training.seed"


@dataclass(frozen=True)
class Estimate:
    """A figure over the seeds of a configuration.

    Args:
        values: one per seed that has it.
        mean: their mean; None if there are none.
        interval: half the width of the 95 % interval of the mean; None for fewer than two values.
    """

    values: tuple[float, ...]
    mean: float | None
    interval: float | None

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)


def estimate(values: Iterable[float]) -> Estimate:
    """Return the mean of independent values with its 95 % interval (Student 1908).

    Args:
        values: one per seed, finite.

    Returns:
        The mean and t(0.975, n - 1) s / sqrt(n), s being the deviation with divisor n - 1.
    """
    kept = tuple(float(value) for value in values)
    if not kept:
        return Estimate((), None, None)
    mean = float(np.mean(kept))
    if len(kept) == 1:
        return Estimate(kept, mean, None)
    error = float(np.std(kept, ddof=1)) / math.sqrt(len(kept))
    return Estimate(kept, mean, float(stdtrit(len(kept) - 1, 0.975)) * error)


@dataclass(frozen=True)
class Configuration:
    """Trials that differ by their seed alone.

    Args:
        fields: their configuration without the seed, by dotted name ("training.sequence_s").
        trials: their rows of `trials`, of any status.
    """

    fields: Mapping[str, Any]
    trials: tuple[Row, ...]

    @property
    def finished(self) -> tuple[Row, ...]:
        """The trials that means are taken over; stopped and failed ones are not."""
        return tuple(row for row in self.trials if row["status"] == "finished")

    def count(self, status: str) -> int:
        """Return the number of trials of a status."""
        return sum(row["status"] == status for row in self.trials)

    def estimate(self, column: str) -> Estimate:
        """Return a column's mean and interval over the finished trials that have it."""
        return estimate(row[column] for row in self.finished if row[column] is not None)

    @property
    def overlap_ratio(self) -> float | None:
        """Mean of the layers' overlap ratios; None for a network without convolutions."""
        ratios = next((row["overlap_ratios"] for row in self.trials if row["overlap_ratios"]), None)
        return None if ratios is None else float(np.mean(ratios))


@dataclass(frozen=True)
class SweepTables:
    """A sweep's trials, read and grouped.

    Args:
        folder: where they were read from.
        trials: all rows of `trials`.
        configurations: the same rows grouped, the best first.
        sort: the CCC column whose mean they are ordered by.
    """

    folder: SweepFolder
    trials: tuple[Row, ...]
    configurations: tuple[Configuration, ...]
    sort: str

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.trials[0]["sweep"] if self.trials else self.folder.path.resolve().name

    @property
    def corpus(self) -> str:
        """The corpus that was trained on; several if the folder holds trials of several."""
        return ", ".join(sorted({row["corpus"] for row in self.trials if row["corpus"]}))

    @property
    def title(self) -> str:
        """Sweep and corpus, as figures and tables are headed."""
        return f"sweep {self.name} on corpus {self.corpus}" if self.corpus else f"sweep {self.name}"


def read_sweep(folder: SweepFolder, *, sort: str | None = None) -> SweepTables:
    """Return the trials of a sweep, grouped into configurations.

    Args:
        folder: the sweep's folder.
        sort: the CCC column whose mean orders the configurations, the best first; None for
            the raw devel mean, or the one target that the networks have.

    Raises:
        InputError: if the column is unknown or a part cannot be read.
    """
    if sort is not None:
        check_ccc_column(sort)
    rows = read_table(folder, "trials").to_pylist()
    groups = group(rows)
    column = sort or ccc_column("devel", headline_target(groups))
    return SweepTables(folder, tuple(rows), tuple(sort_configurations(groups, column)), column)


def group(rows: Iterable[Row]) -> list[Configuration]:
    """Return trials grouped by their whole configuration but the seed.

    Args:
        rows: rows of `trials`.

    Returns:
        One configuration per group, in the order of their first trials.

    Raises:
        InputError: if a row's configuration is no JSON object.
    """
    groups: dict[str, tuple[dict[str, Any], list[Row]]] = {}
    for row in rows:
        fields = _fields(row)
        fields.pop(SEED_FIELD, None)
        identity = json.dumps(fields, sort_keys=True)
        groups.setdefault(identity, (fields, []))[1].append(row)
    return [Configuration(fields, tuple(members)) for fields, members in groups.values()]


def _fields(row: Row) -> dict[str, Any]:
    try:
        config = json.loads(row["config"] or "")
    except json.JSONDecodeError as error:
        raise InputError(
            f"trials/{row['key']}.parquet: its column config is no JSON ({error}); "
            "delete the file and run the sweep again to make it anew"
        ) from error
    return dict(_flat(config))


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_ccc_column(column: str) -> None:
    """Refuse a name that is no CCC column of `trials`.

    Args:
        column: such as "ccc_test_greedy_mean".

    Raises:
        InputError: naming the closest columns.
    """
    if column not in CCC_COLUMNS:
        near = difflib.get_close_matches(column, CCC_COLUMNS, n=4, cutoff=0.5)
        closest = f"; closest: {', '.join(near)}" if near else ""
        raise InputError(
            f"--sort {column}: no such column{closest}\n"
            "legal: ccc_<devel|test>[_greedy|_exhaustive]_<arousal|valence|mean>[_per_recording]"
        )


def sort_configurations(configurations: Iterable[Configuration], column: str) -> list[Configuration]:
    """Return configurations by the mean of a column, the highest first, those without it last.

    Args:
        configurations: in any order; ties keep it.
        column: a CCC column of `trials`.
    """

    def order(configuration: Configuration) -> float:
        mean = configuration.estimate(column).mean
        return math.inf if mean is None else -mean

    return sorted(configurations, key=order)


def headline_target(configurations: Sequence[Configuration]) -> str:
    """Return the target to rank and show where there is room for one.

    Args:
        configurations: of one sweep.

    Returns:
        "mean", or the only target that any finished trial has a devel CCC of.
    """
    targets = [t for t in TARGETS if has_any(configurations, ccc_column("devel", t))]
    return targets[0] if len(targets) == 1 else "mean"


def has_any(configurations: Iterable[Configuration], column: str) -> bool:
    """Return whether any finished trial has a figure in a column."""
    return any(row[column] is not None for c in configurations for row in c.finished)


def status_counts(configurations: Iterable[Configuration]) -> dict[str, int]:
    """Return the number of trials of each status."""
    kept = list(configurations)
    return {status: sum(c.count(status) for c in kept) for status in STATUSES}
