"""Columns of the leaderboard: fields that vary between configurations, scores, and those requested by --columns."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ser_ray.report.attributes import Attribute, resolve
from ser_ray.report.configurations import (
    SEED_FIELD,
    ConfigurationResults,
    SeedMean,
    SweepTables,
    has_any,
    headline_target,
)
from ser_ray.report.terminal import MISSING
from ser_ray.results import CCC_COLUMNS, CROSSFIT_COLUMNS, METHODS, STAGES, TARGETS, ccc_column, crossfit_column

UNSEEN = ("devel", "unseen")
"""Heading of the CCC on unseen recordings, which is estimated from devel alone."""
VARIES = "varies"
"""Printed if the seeds of a configuration have several values."""
SCORES = frozenset((*CCC_COLUMNS, *CROSSFIT_COLUMNS))
"""Columns that are printed with three decimals."""


@dataclass(frozen=True)
class Column:
    """A column that describes configurations."""

    label: str
    value: Callable[[ConfigurationResults], Any]

    def text(self, configuration: ConfigurationResults) -> str:
        """Format a configuration's value for printing."""
        return format_value(self.value(configuration))


@dataclass(frozen=True)
class ScoreColumn:
    """A column of CCCs, with a heading of two words and one cell per shown stage."""

    heading: tuple[str, str]
    cells: Callable[[ConfigurationResults], list[str]]


def varying_fields(configurations: Sequence[ConfigurationResults]) -> list[str]:
    """List the dotted names of the fields that are not the same in all configurations."""

    def varies(name: str) -> bool:
        first, *others = (c.fields.get(name) for c in configurations)
        return any(type(value) is not type(first) or value != first for value in others)

    return list(filter(varies, dict.fromkeys(name for c in configurations for name in c.fields)))


def varying_columns(configurations: Sequence[ConfigurationResults]) -> list[Column]:
    """Make a column per varying field; kernels and pools are one, "8/10 6/8 6/8", followed by their overlap ratio."""
    varying = varying_fields(configurations)
    design = [name for name in varying if name in ("model.kernels", "model.pools")]
    columns = [field_column(name) for name in varying if name not in design]
    if design:
        ratio = Column("overlap", _overlap_ratio)
        columns = [Column("kernel/pool", _kernels_and_pools), ratio, *columns]
    return columns


def labelled_values(configuration: ConfigurationResults, columns: Sequence[Column]) -> list[str]:
    """Format a configuration's values with their labels, such as ["8/10 6/8 6/8", "overlap 0.394", "sequence_s 6"]."""
    return [
        text if column.label == "kernel/pool" else f"{column.label} {text}"
        for column in columns
        for text in [column.text(configuration)]
    ]


def constant_columns(configurations: Sequence[ConfigurationResults]) -> list[Column]:
    """Make the columns of the fields that are the same in all configurations."""
    varying = set(varying_fields(configurations))
    names = list(configurations[0].fields) if configurations else []
    return [field_column(name) for name in names if name not in varying]


def field_column(name: str) -> Column:
    """Make the column of one field, headed by the last part of its dotted name."""
    return Column(name.rpartition(".")[2], lambda configuration: configuration.fields.get(name))


def _overlap_ratio(configuration: ConfigurationResults) -> float | str:
    ratio = configuration.overlap_ratio
    return MISSING if ratio is None else round(ratio, 3)


def _kernels_and_pools(configuration: ConfigurationResults) -> str:
    kernels = configuration.fields.get("model.kernels")
    pools = configuration.fields.get("model.pools")
    if not kernels or not pools:
        return MISSING
    return " ".join(f"{k}/{p}" for k, p in zip(kernels, pools, strict=True))


def format_value(value: Any) -> str:
    """Format a value of a configuration for printing."""
    if value is None or (isinstance(value, list | tuple) and not value):
        return "none"
    if isinstance(value, list | tuple):
        return " ".join(format_value(item) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    is_hash = len(text) > 20 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text


def format_mean(figure: SeedMean) -> str:
    """Format a mean with its interval for printing; a dash if there is none."""
    if figure.mean is None:
        return MISSING
    if figure.interval is None:
        return f"{figure.mean:.3f}"
    return f"{figure.mean:.3f} ± {figure.interval:.3f}"


def shown_stages(configurations: Sequence[ConfigurationResults]) -> list[str]:
    """List the stages for which any finished trial has a CCC; raw is always included."""
    return [
        stage
        for stage in STAGES
        if not stage
        or any(
            has_any(configurations, ccc_column(partition, target, stage=stage))
            for partition in ("devel", "test")
            for target in (*TARGETS, "mean")
        )
    ]


def shown_figures(configurations: Sequence[ConfigurationResults]) -> list[tuple[str, str]]:
    """List the (partition, target) pairs with a CCC in any finished trial; the mean only of several targets."""
    pairs = []
    for partition in ("devel", "test"):
        targets = [t for t in TARGETS if has_any(configurations, ccc_column(partition, t))]
        both = len(targets) > 1 or (not targets and has_any(configurations, ccc_column(partition, "mean")))
        pairs += [(partition, target) for target in (*targets, *(["mean"] if both else []))]
    return pairs


def not_counted(configuration: ConfigurationResults) -> list[str]:
    """Count the trials of a configuration that are in no mean, as texts such as ["1 stopped", "2 failed"]."""
    counts = [(configuration.count(status), status) for status in ("stopped", "failed")]
    return [f"{number} {status}" for number, status in counts if number]


def unseen_target(configurations: Sequence[ConfigurationResults]) -> str | None:
    """Choose the target whose CCC on unseen recordings is shown; None if no finished trial has an estimate."""
    target = headline_target(configurations)
    return target if any(has_any(configurations, crossfit_column(method, target)) for method in METHODS) else None


def score_columns(
    configurations: Sequence[ConfigurationResults], stages: Sequence[str], suffix: str
) -> list[ScoreColumn]:
    """Make the columns of CCCs: devel, the estimate for unseen recordings, test.

    With suffix "" they are pooled. With "_per_recording" they are means over recordings, which have no estimate.
    """

    def scored(partition: str, target: str) -> ScoreColumn:
        return ScoreColumn((partition, target), lambda c: cells(c, partition, target, stages, suffix))

    columns = [scored(partition, target) for partition, target in shown_figures(configurations)]
    target = None if suffix else unseen_target(configurations)
    if target is not None:
        after_devel = sum(column.heading[0] == "devel" for column in columns)
        columns.insert(after_devel, ScoreColumn(UNSEEN, lambda c: unseen_cells(c, target, stages)))
    return columns


def cells(
    configuration: ConfigurationResults, partition: str, target: str, stages: Sequence[str], suffix: str
) -> list[str]:
    """Format a configuration's CCC of a partition and target, one per stage; suffix as in `score_columns`."""
    return [_cell(configuration, ccc_column(partition, target, stage=stage) + suffix) for stage in stages]


def unseen_cells(configuration: ConfigurationResults, target: str, stages: Sequence[str]) -> list[str]:
    """Format a configuration's estimated CCC on unseen recordings, one per stage; a dash for raw."""
    return [_cell(configuration, crossfit_column(stage, target)) if stage else MISSING for stage in stages]


def _cell(configuration: ConfigurationResults, column: str) -> str:
    figure = configuration.over_seeds(column)
    other_n = f" (n {figure.n})" if 0 < figure.n != len(configuration.finished) else ""
    return (format_mean(figure) if column in SCORES else _format_large(figure)) + other_n


def _format_large(figure: SeedMean) -> str:
    if figure.mean is None:
        return MISSING
    return _four_digits(figure.mean) + ("" if figure.interval is None else f" ± {_four_digits(figure.interval)}")


def _four_digits(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def resolve_columns(sweep: SweepTables, names: Sequence[str]) -> list[Attribute]:
    """Find the attributes of the names given to --columns.

    Raises:
        InputError: if a name is no column of trials, no dotted field and no end of one; the message names the nearest.
    """
    fields = {name for configuration in sweep.configurations for name in configuration.fields}
    known = fields | {SEED_FIELD} if fields else fields
    found = [resolve(name, known, "--columns") for name in names]
    seed = Attribute(SEED_FIELD, is_field=True)
    return [Attribute("seed", is_field=False) if attribute == seed else attribute for attribute in found]


def attribute_column(attribute: Attribute) -> Column:
    """Make the column of an attribute: the mean over seeds of a figure, else the value that the seeds share."""
    return Column(attribute.label, lambda configuration: _attribute_text(configuration, attribute))


def shared_value(configuration: ConfigurationResults, attribute: Attribute) -> Any:
    """Return the value that the seeds of a configuration share; `VARIES` if they have several."""
    if attribute.is_field:
        return configuration.fields.get(attribute.name)
    found = {json.dumps(row[attribute.name], default=str): row[attribute.name] for row in configuration.trials}
    known = [value for value in found.values() if value is not None]  # a failed trial lacks some
    return VARIES if len(known) > 1 else next(iter(known), None)


def _attribute_text(configuration: ConfigurationResults, attribute: Attribute) -> str:
    if attribute.is_figure:
        return _cell(configuration, attribute.name)
    shared = shared_value(configuration, attribute)
    return MISSING if shared is None and not attribute.is_field else format_value(shared)
