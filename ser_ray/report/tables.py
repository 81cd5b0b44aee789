"""Trials grouped into configurations, with means and 95 % intervals over their seeds."""

import functools
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ser_ray.errors import InputError
from ser_ray.plain_text import escaped_name
from ser_ray.report.naming import Fields, Named, Row, resolve_number
from ser_ray.report.where import keep
from ser_ray.results import STATUSES, TARGETS, SweepFolder, ccc_column, read_table

__all__ = [
    "SEED_FIELD",
    "Configuration",
    "Estimate",
    "Row",
    "SweepTables",
    "estimate",
    "group",
    "has_any",
    "headline_target",
    "read_sweep",
    "sort_configurations",
    "status_counts",
]

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
    n = len(kept)
    if not kept:
        return Estimate((), None, None)
    mean = math.fsum(kept) / n  # of few values each: numpy's calls would take longer than all else
    if n == 1:
        return Estimate(kept, mean, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in kept) / (n - 1))
    return Estimate(kept, mean, _quantile(n - 1) * deviation / math.sqrt(n))


@functools.cache
def _quantile(degrees: int) -> float:
    """Return t(0.975) of so many degrees of freedom."""
    return float(stdtrit(degrees, 0.975))


@dataclass(frozen=True)
class Configuration:
    """Trials that differ by their seed alone.

    Args:
        fields: their configuration without the seed, by dotted name ("training.sequence_s").
        trials: their rows of `trials`, of any status.
    """

    fields: Mapping[str, Any]
    trials: tuple[Row, ...]

    @functools.cached_property
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
        trials: the rows of `trials` that were asked for.
        configurations: the same rows grouped, the first by the order that was asked for first.
        sort: the column or field by whose mean they are ordered.
        ascending: True if the lowest comes first.
        where: the conditions that these trials meet.
        total: number of trials of the sweep, whether they meet the conditions or not.
        planned: keys of the trials that were taken for the sweep's; None if all of its folder were.
    """

    folder: SweepFolder
    trials: tuple[Row, ...]
    configurations: tuple[Configuration, ...]
    sort: str
    ascending: bool = False
    where: tuple[str, ...] = ()
    total: int = 0
    planned: frozenset[str] | None = None

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
        return escaped_name(f"sweep {self.name} on corpus {self.corpus}" if self.corpus else f"sweep {self.name}")


def read_sweep(
    folder: SweepFolder,
    *,
    sort: str | None = None,
    ascending: bool = False,
    where: Sequence[str] = (),
    planned: Collection[str] | None = None,
) -> SweepTables:
    """Return the trials of a sweep, grouped into configurations.

    Args:
        folder: the sweep's folder.
        sort: what the configurations are ordered by: any column or field of numbers, of a column the mean over the
            finished seeds; None for the raw devel mean, or the one target that the networks have.
        ascending: True for the lowest first.
        where: conditions that a trial must meet to be taken, such as "sequence_s >= 6".
        planned: keys of the trials that are the sweep's; None for all that its folder holds.

    Raises:
        InputError: if a column is unknown, a condition cannot be read, or a part cannot be read.
    """
    rows = read_table(folder, "trials", keys=planned).to_pylist()
    pairs = [(row, _fields(row)) for row in rows]
    named = None if sort is None else resolve_number(sort, pairs, "--sort")
    kept = keep(pairs, where)
    groups = _grouped(kept)
    headline = Named(ccc_column("devel", headline_target(groups)), is_field=False)
    ordered = sort_configurations(groups, headline, ascending=ascending and named is None)
    if named is not None:
        ordered = sort_configurations(ordered, named, ascending=ascending)  # among equals the best on devel stay first
    trials = tuple(row for row, _ in kept)
    return SweepTables(
        folder,
        trials,
        tuple(ordered),
        (named or headline).name,
        ascending,
        tuple(where),
        len(rows),
        None if planned is None else frozenset(planned),
    )


def group(rows: Iterable[Row]) -> list[Configuration]:
    """Return trials grouped by their whole configuration but the seed.

    Args:
        rows: rows of `trials`.

    Returns:
        One configuration per group, in the order of their first trials.

    Raises:
        InputError: if a row's configuration is no JSON object.
    """
    return _grouped([(row, _fields(row)) for row in rows])


def _grouped(rows: Iterable[tuple[Row, Fields]]) -> list[Configuration]:
    groups: dict[str, tuple[dict[str, Any], list[Row]]] = {}
    for row, all_fields in rows:
        fields = {name: value for name, value in all_fields.items() if name != SEED_FIELD}
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
    fields: dict[str, Any] = {}
    _flatten(config, "", fields)
    return fields


def _flatten(config: Mapping[str, Any], prefix: str, fields: dict[str, Any]) -> None:
    for name, value in config.items():
        if isinstance(value, dict):
            _flatten(value, f"{prefix}{name}.", fields)
        else:
            fields[prefix + name] = value


def sort_configurations(
    configurations: Iterable[Configuration], by: Named, *, ascending: bool = False
) -> list[Configuration]:
    """Return configurations by their value of a field, or by the mean of a column; those without it last.

    Args:
        configurations: in any order; ties keep it.
        by: a field or column of numbers.
        ascending: True for the lowest first.
    """

    def order(configuration: Configuration) -> float:
        value = configuration.fields.get(by.name) if by.is_field else configuration.estimate(by.name).mean
        if value is None:
            return math.inf
        return float(value) if ascending else -float(value)

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
