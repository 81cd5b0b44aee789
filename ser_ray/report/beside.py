"""Columns shown beside the scores because they were asked for: `--columns train_seconds,device`."""

import json
from collections.abc import Sequence
from typing import Any

from ser_ray.report.columns import Column, format_estimate, format_value
from ser_ray.report.naming import Named, resolve
from ser_ray.report.tables import SEED_FIELD, Configuration, Estimate, SweepTables
from ser_ray.report.terminal import MISSING
from ser_ray.results import CCC_COLUMNS, CROSSFIT_COLUMNS

VARIES = "varies"
"""Stands where the seeds of a configuration have several values."""
SCORES = frozenset((*CCC_COLUMNS, *CROSSFIT_COLUMNS))
"""Columns of CCC: these have three decimals."""


def chosen(sweep: SweepTables, names: Sequence[str]) -> list[Named]:
    """Return what names stand for.

    Args:
        sweep: whose trials they are of.
        names: columns of trials, dotted fields, or ends of the names of fields.

    Raises:
        InputError: if a name is none of these, naming the nearest.
    """
    fields = {name for configuration in sweep.configurations for name in configuration.fields}
    known = fields | {SEED_FIELD} if fields else fields
    return [_column_of_seed(resolve(name, known, "--columns")) for name in names]


def _column_of_seed(named: Named) -> Named:
    return Named("seed", is_field=False) if named == Named(SEED_FIELD, is_field=True) else named


def beside(named: Named) -> Column:
    """Return the column that shows a figure as a mean over seeds, and what is no figure as the seeds share it."""
    return Column(named.label, lambda configuration: _text(configuration, named))


def value(configuration: Configuration, named: Named) -> Any:
    """Return what the seeds of a configuration share; `VARIES` if they do not.

    Args:
        configuration: whose.
        named: no figure.
    """
    if named.is_field:
        return configuration.fields.get(named.name)
    found = {json.dumps(row[named.name], default=str): row[named.name] for row in configuration.trials}
    there = [shared for shared in found.values() if shared is not None]  # a failed trial has not got to all of them
    return VARIES if len(there) > 1 else next(iter(there), None)


def _text(configuration: Configuration, named: Named) -> str:
    if not named.is_figure:
        shared = value(configuration, named)
        return MISSING if shared is None and not named.is_field else format_value(shared)
    figure = configuration.estimate(named.name)
    other_n = f" (n {figure.n})" if 0 < figure.n != len(configuration.finished) else ""
    return (format_estimate(figure) if named.name in SCORES else _format_large(figure)) + other_n


def _format_large(figure: Estimate) -> str:
    if figure.mean is None:
        return MISSING
    return _four_digits(figure.mean) + ("" if figure.interval is None else f" ± {_four_digits(figure.interval)}")


def _four_digits(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
