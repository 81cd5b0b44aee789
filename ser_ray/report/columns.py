"""What varies between configurations, as columns of a table; and figures as they are printed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ser_ray.report.tables import Configuration, Estimate, has_any, headline_target
from ser_ray.report.terminal import MISSING
from ser_ray.results import METHODS, STAGES, TARGETS, ccc_column, crossfit_column

UNSEEN = ("devel", "unseen")
"""Heading of what a search is estimated, from devel alone, to reach on recordings that it has not seen."""


@dataclass(frozen=True)
class Column:
    """What describes a configuration in one column of a table.

    Args:
        label: its heading.
        value: gives the value of a configuration.
    """

    label: str
    value: Callable[[Configuration], Any]

    def text(self, configuration: Configuration) -> str:
        """Return a configuration's value as it is printed."""
        return format_value(self.value(configuration))


@dataclass(frozen=True)
class ScoreColumn:
    """What a configuration reaches, in one column of a table.

    Args:
        heading: its two words, such as ("devel", "arousal").
        cells: gives a configuration's figures, one per stage that is shown.
    """

    heading: tuple[str, str]
    cells: Callable[[Configuration], list[str]]


def varying_fields(configurations: Sequence[Configuration]) -> list[str]:
    """Return the dotted names of the fields that are not the same in all configurations."""
    names = list(dict.fromkeys(name for c in configurations for name in c.fields))
    return [name for name in names if _varies(name, configurations)]


def _varies(name: str, configurations: Sequence[Configuration]) -> bool:
    first = configurations[0].fields.get(name)
    others = (c.fields.get(name) for c in configurations)
    return any(type(value) is not type(first) or value != first for value in others)


def varying_columns(configurations: Sequence[Configuration]) -> list[Column]:
    """Return the columns that tell configurations apart.

    Args:
        configurations: of one sweep.

    Returns:
        One column per varying field; kernels and pools go together, as "8/10 6/8 6/8", and bring
        their overlap ratio with them.
    """
    varying = varying_fields(configurations)
    design = [name for name in varying if name in ("model.kernels", "model.pools")]
    columns = [field_column(name) for name in varying if name not in design]
    if design:
        ratio = Column("overlap", _overlap_ratio)
        columns = [Column("kernel/pool", _kernels_and_pools), ratio, *columns]
    return columns


def describe(configuration: Configuration, columns: Sequence[Column]) -> list[str]:
    """Return what columns say of a configuration, such as ["8/10 6/8 6/8", "overlap 0.394", "sequence_s 6"]."""
    return [
        text if column.label == "kernel/pool" else f"{column.label} {text}"
        for column in columns
        for text in [column.text(configuration)]
    ]


def constant_columns(configurations: Sequence[Configuration]) -> list[Column]:
    """Return the columns that are the same in all configurations, to be said once."""
    varying = set(varying_fields(configurations))
    names = list(configurations[0].fields) if configurations else []
    return [field_column(name) for name in names if name not in varying]


def field_column(name: str) -> Column:
    """Return the column of one field, headed by the last part of its dotted name."""
    return Column(name.rpartition(".")[2], lambda configuration: configuration.fields.get(name))


def _overlap_ratio(configuration: Configuration) -> float | str:
    ratio = configuration.overlap_ratio
    return MISSING if ratio is None else round(ratio, 3)


def _kernels_and_pools(configuration: Configuration) -> str:
    kernels = configuration.fields.get("model.kernels")
    pools = configuration.fields.get("model.pools")
    if not kernels or not pools:
        return MISSING
    return " ".join(f"{k}/{p}" for k, p in zip(kernels, pools, strict=True))


def format_value(value: Any) -> str:
    """Return a value of a configuration as it is printed."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return " ".join(format_value(item) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    is_hash = len(text) > 20 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text


def format_estimate(figure: Estimate) -> str:
    """Return a mean with its interval as it is printed; a dash where there is none."""
    if figure.mean is None:
        return MISSING
    if figure.interval is None:
        return f"{figure.mean:.3f}"
    return f"{figure.mean:.3f} ± {figure.interval:.3f}"


def shown_stages(configurations: Sequence[Configuration]) -> list[str]:
    """Return the stages ("" is raw) of which any finished trial has a CCC; raw in any case."""
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


def shown_figures(configurations: Sequence[Configuration]) -> list[tuple[str, str]]:
    """Return the pairs of partition and target of which any finished trial has a CCC.

    Args:
        configurations: of one sweep.

    Returns:
        The pairs, the mean of targets only where there are several.
    """
    pairs = []
    for partition in ("devel", "test"):
        targets = [t for t in TARGETS if has_any(configurations, ccc_column(partition, t))]
        both = len(targets) > 1 or (not targets and has_any(configurations, ccc_column(partition, "mean")))
        pairs += [(partition, target) for target in (*targets, *(["mean"] if both else []))]
    return pairs


def left_out(configuration: Configuration) -> list[str]:
    """Return what trials of a configuration are in no mean, such as ["1 stopped", "2 failed"]."""
    counts = [(configuration.count(status), status) for status in ("stopped", "failed")]
    return [f"{number} {status}" for number, status in counts if number]


def unseen_target(configurations: Sequence[Configuration]) -> str | None:
    """Return the target whose estimate for unseen recordings is shown; None if no finished trial has one."""
    target = headline_target(configurations)
    return target if any(has_any(configurations, crossfit_column(method, target)) for method in METHODS) else None


def score_columns(configurations: Sequence[Configuration], stages: Sequence[str], suffix: str) -> list[ScoreColumn]:
    """Return the columns of CCC figures: devel, what is estimated for unseen recordings, test.

    Args:
        configurations: of one sweep.
        stages: of `shown_stages`.
        suffix: "" for the pooled CCC, "_per_recording" for the mean over recordings, of which nothing is estimated.
    """

    def scored(partition: str, target: str) -> ScoreColumn:
        return ScoreColumn((partition, target), lambda c: cells(c, partition, target, stages, suffix))

    columns = [scored(partition, target) for partition, target in shown_figures(configurations)]
    target = None if suffix else unseen_target(configurations)
    if target is not None:
        after_devel = sum(column.heading[0] == "devel" for column in columns)
        columns.insert(after_devel, ScoreColumn(UNSEEN, lambda c: unseen_cells(c, target, stages)))
    return columns


def cells(configuration: Configuration, partition: str, target: str, stages: Sequence[str], suffix: str) -> list[str]:
    """Return a configuration's figures of a partition and target, one per stage.

    Args:
        configuration: whose.
        partition: "devel" or "test".
        target: "arousal", "valence" or "mean".
        stages: of `shown_stages`.
        suffix: "" for the pooled CCC, "_per_recording" for the mean over recordings.
    """
    columns = [ccc_column(partition, target, stage=stage) + suffix for stage in stages]
    return [_cell(configuration, column) for column in columns]


def unseen_cells(configuration: Configuration, target: str, stages: Sequence[str]) -> list[str]:
    """Return what a configuration is estimated to reach on unseen recordings, one per stage; of raw a dash.

    Args:
        configuration: whose.
        target: "arousal", "valence" or "mean".
        stages: of `shown_stages`.
    """
    return [_cell(configuration, crossfit_column(stage, target)) if stage else MISSING for stage in stages]


def _cell(configuration: Configuration, column: str) -> str:
    figure = configuration.estimate(column)
    other_n = f" (n {figure.n})" if 0 < figure.n != len(configuration.finished) else ""
    return format_estimate(figure) + other_n
