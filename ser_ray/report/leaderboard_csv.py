"""leaderboard.csv: all configurations of a sweep, for spreadsheets and scripts."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ser_ray.errors import InputError
from ser_ray.plain_text import spreadsheet_cell
from ser_ray.report.attributes import Attribute
from ser_ray.report.columns import field_column, shared_value
from ser_ray.report.configurations import ConfigurationResults, SweepTables
from ser_ray.results import CCC_COLUMNS, CROSSFIT_COLUMNS, STATUSES


def write_leaderboard_csv(sweep: SweepTables, path: Path, asked: Sequence[Attribute] = ()) -> None:
    """Write all configurations of a sweep, in their order, with every CCC and the requested further columns.

    Figures have mean, interval and n; any other column has the value that the seeds share.

    Raises:
        InputError: if the file cannot be written.
    """
    names = list(dict.fromkeys(name for c in sweep.configurations for name in c.fields))
    always = (*CCC_COLUMNS, *CROSSFIT_COLUMNS)
    measured = [*always, *(a.name for a in asked if a.is_figure and a.name not in always)]
    figures = [f"{column}{part}" for column in measured for part in ("", "_interval", "_n")]
    labels = [field_column(name).label for name in names]
    heading = ["rank", *labels, "overlap_ratio", "parameters", "receptive_field_ms"]
    shared = [a for a in asked if not a.is_figure and a.label not in heading]
    heading += [a.label for a in shared]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_guarded([*heading, *STATUSES, "seeds", "keys", *figures]))
            for rank, configuration in enumerate(sweep.configurations, start=1):
                writer.writerow(_guarded([rank, *_csv_row(configuration, names, shared, measured)]))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _csv_row(
    configuration: ConfigurationResults, names: Sequence[str], shared: Sequence[Attribute], measured: Sequence[str]
) -> list[object]:
    fields = [_cell(configuration.fields.get(name)) for name in names]
    others = [_cell(shared_value(configuration, attribute)) for attribute in shared]
    first = configuration.trials[0]
    shape = [configuration.overlap_ratio, first["parameters"], first["receptive_field_ms"]]
    counts = [configuration.count(status) for status in STATUSES]
    seeds = " ".join(str(row["seed"]) for row in configuration.trials)
    keys = " ".join(row["key"] for row in configuration.trials)
    figures: list[object] = []
    for column in measured:
        figure = configuration.over_seeds(column)
        figures += [figure.mean, figure.interval, figure.n]
    return [*fields, *shape, *others, *counts, seeds, keys, *figures]


def _guarded(cells: Sequence[object]) -> list[object]:
    """Escape the texts of cells, so that a spreadsheet runs none as a formula."""
    return [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in cells]


def _cell(content: Any) -> object:
    return " ".join(map(str, content)) if isinstance(content, list) else content
