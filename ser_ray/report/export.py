"""All configurations of a sweep as CSV, for spreadsheets and scripts."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ser_ray.errors import InputError
from ser_ray.report.columns import field_column
from ser_ray.report.tables import Configuration, SweepTables
from ser_ray.results import CCC_COLUMNS, STATUSES


def write_csv(sweep: SweepTables, path: Path) -> None:
    """Write all configurations of a sweep, in their order, with every CCC figure.

    Args:
        sweep: the sweep's trials.
        path: the file; columns without a figure are empty in it.

    Raises:
        InputError: if the file cannot be written.
    """
    names = list(dict.fromkeys(name for c in sweep.configurations for name in c.fields))
    figures = [f"{column}{part}" for column in CCC_COLUMNS for part in ("", "_interval", "_n")]
    labels = [field_column(name).label for name in names]
    heading = ["rank", *labels, "overlap_ratio", "parameters", "receptive_field_ms"]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*heading, *STATUSES, "seeds", "keys", *figures])
            for rank, configuration in enumerate(sweep.configurations, start=1):
                writer.writerow([rank, *_csv_row(configuration, names)])
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _csv_row(configuration: Configuration, names: Sequence[str]) -> list[object]:
    fields = [configuration.fields.get(name) for name in names]
    lists = [" ".join(map(str, v)) if isinstance(v, list) else v for v in fields]
    first = configuration.trials[0]
    shape = [configuration.overlap_ratio, first["parameters"], first["receptive_field_ms"]]
    counts = [configuration.count(status) for status in STATUSES]
    seeds = " ".join(str(row["seed"]) for row in configuration.trials)
    keys = " ".join(row["key"] for row in configuration.trials)
    figures: list[object] = []
    for column in CCC_COLUMNS:
        figure = configuration.estimate(column)
        figures += [figure.mean, figure.interval, figure.n]
    return [*lists, *shape, *counts, seeds, keys, *figures]
