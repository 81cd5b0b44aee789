"""The trials of a sweep grouped into configurations, with means and 95 % intervals over their seeds."""

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
from ser_ray.report.attributes import Attribute, Fields, Row, filter_trials, resolve_number
from ser_ray.results import TARGETS, SweepFolder, ccc_column, read_table
from ser_ray.results.added_fields import fill_in_added

SEED_FIELD = "training.seed"


@dataclass(frozen=True)
class SeedMean:
    """Values of a figure, one per seed that has it, with their mean and half the width of its 95 % interval.

    Without values the mean is None; with fewer than two the interval is None.
    """

    values: tuple[float, ...]
    mean: float | None
    interval: float | None

    @property
    def n(self) -> int:
        """Number of seeds that have the figure."""
        return len(self.values)


def seed_mean(values: Iterable[float]) -> SeedMean:
    """Compute the mean of independent finite values and its 95 % interval, t(0.975, n - 1) s / sqrt(n) (Student 1908).

    s is the standard deviation with divisor n - 1.
    """
    kept = tuple(float(value) for value in values)
    n = len(kept)
    if not kept:
        return SeedMean((), None, None)
    mean = math.fsum(kept) / n  # for so few values numpy's calls would take longer than all the rest
    if n == 1:
        return SeedMean(kept, mean, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in kept) / (n - 1))
    return SeedMean(kept, mean, _quantile(n - 1) * deviation / math.sqrt(n))


@functools.cache
def _quantile(degrees: int) -> float:
    """Compute t(0.975) for a number of degrees of freedom."""
    return float(stdtrit(degrees, 0.975))


@dataclass(frozen=True)
class ConfigurationResults:
    """A configuration without its seed, by dotted name, and its rows of `trials`, of any status."""

    fields: Fields
    trials: tuple[Row, ...]

    @functools.cached_property
    def finished(self) -> tuple[Row, ...]:
        """The trials that means are taken over, which excludes stopped and failed ones."""
        return tuple(row for row in self.trials if row["status"] == "finished")

    def count(self, status: str) -> int:
        """Count the trials of a status."""
        return sum(row["status"] == status for row in self.trials)

    def over_seeds(self, column: str) -> SeedMean:
        """Compute a column's mean and interval over the finished trials that have a value."""
        return seed_mean(row[column] for row in self.finished if row[column] is not None)

    @property
    def overlap_ratio(self) -> float | None:
        """Mean of the layers' overlap ratios; None for a network without convolutions."""
        ratios = next((row["overlap_ratios"] for row in self.trials if row["overlap_ratios"]), None)
        return None if ratios is None else float(np.mean(ratios))


@dataclass(frozen=True)
class SweepTables:
    """A sweep's trials, grouped into configurations in the order of `sort`.

    Args:
        folder: the folder from which they were read.
        trials: the rows of `trials` that meet `where`.
        configurations: the same rows, grouped.
        sort: the column or field by whose mean they are ordered.
        ascending: whether the lowest comes first.
        where: the conditions.
        total: number of trials, with those that do not meet the conditions.
        planned: keys of the trials of the present plan; None if all trials of the folder were read.
    """

    folder: SweepFolder
    trials: tuple[Row, ...]
    configurations: tuple[ConfigurationResults, ...]
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
        """The corpus that was trained on; several if the folder contains trials of several."""
        return ", ".join(sorted({row["corpus"] for row in self.trials if row["corpus"]}))

    @property
    def title(self) -> str:
        """Sweep and corpus: the heading of figures and tables."""
        return escaped_name(f"sweep {self.name} on corpus {self.corpus}" if self.corpus else f"sweep {self.name}")


def read_sweep_tables(
    folder: SweepFolder,
    *,
    sort: str | None = None,
    ascending: bool = False,
    where: Sequence[str] = (),
    planned: Collection[str] | None = None,
) -> SweepTables:
    """Read the trials of a sweep, or the `planned` ones, grouped into configurations.

    They are sorted by a field of numbers, or by the mean of a column over the finished seeds; by default by the raw
    devel CCC, highest first.

    Raises:
        InputError: if a column is unknown, a condition cannot be parsed, or a part cannot be read.
    """
    rows = read_table(folder, "trials", keys=planned).to_pylist()
    pairs = _with_fields(rows)
    attribute = None if sort is None else resolve_number(sort, pairs, "--sort")
    kept = filter_trials(pairs, where)
    groups = _grouped(kept)
    headline = Attribute(ccc_column("devel", headline_target(groups)), is_field=False)
    ordered = sort_configurations(groups, headline, ascending=ascending and attribute is None)
    if attribute is not None:  # ties stay in the order of the devel CCC
        ordered = sort_configurations(ordered, attribute, ascending=ascending)
    return SweepTables(
        folder,
        tuple(row for row, _ in kept),
        tuple(ordered),
        (attribute or headline).name,
        ascending,
        tuple(where),
        len(rows),
        None if planned is None else frozenset(planned),
    )


def group(rows: Iterable[Row]) -> list[ConfigurationResults]:
    """Group rows of `trials` by their whole configuration except the seed, in the order of their first trials.

    Raises:
        InputError: if a row's configuration is no JSON.
    """
    return _grouped(_with_fields(rows))


def _grouped(rows: Iterable[tuple[Row, Fields]]) -> list[ConfigurationResults]:
    groups: dict[str, tuple[dict[str, Any], list[Row]]] = {}
    for row, all_fields in rows:
        fields = {name: value for name, value in all_fields.items() if name != SEED_FIELD}
        identity = json.dumps(fields, sort_keys=True)
        groups.setdefault(identity, (fields, []))[1].append(row)
    return [ConfigurationResults(fields, tuple(members)) for fields, members in groups.values()]


def _with_fields(rows: Iterable[Row]) -> list[tuple[Row, dict[str, Any]]]:
    pairs = [(row, _fields(row)) for row in rows]
    fill_in_added([fields for _, fields in pairs])
    return pairs


def _fields(row: Row) -> dict[str, Any]:
    try:
        config = json.loads(row["config"] or "")
    except json.JSONDecodeError as error:
        raise InputError(
            f"trials/{row['key']}.parquet: its column config is not JSON ({error}); delete the file and run the sweep "
            "again to rewrite it"
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
    configurations: Iterable[ConfigurationResults], by: Attribute, *, ascending: bool = False
) -> list[ConfigurationResults]:
    """Sort configurations by a field, or by the mean of a column; those without a value last, ties as given."""

    def order(configuration: ConfigurationResults) -> float:
        value = configuration.fields.get(by.name) if by.is_field else configuration.over_seeds(by.name).mean
        if value is None:
            return math.inf
        return float(value) if ascending else -float(value)

    return sorted(configurations, key=order)


def headline_target(configurations: Sequence[ConfigurationResults]) -> str:
    """Choose the target to rank by: "mean", or the only target with a devel CCC in any finished trial."""
    targets = [t for t in TARGETS if has_any(configurations, ccc_column("devel", t))]
    return targets[0] if len(targets) == 1 else "mean"


def has_any(configurations: Iterable[ConfigurationResults], column: str) -> bool:
    """Check whether any finished trial has a figure in a column."""
    return any(row[column] is not None for c in configurations for row in c.finished)
