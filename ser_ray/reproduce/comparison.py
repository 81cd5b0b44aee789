"""Compare two trainings of a trial, figure by figure."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from ser_ray.report.terminal import open_console
from ser_ray.results import CCC_COLUMNS, EPOCHS

Row = Mapping[str, Any]

TOLERANCE = 1e-3
"""Largest accepted difference of a CCC between devices, versions or commits, whose rounding differs."""

_EPOCH_COLUMNS = ("train_loss", *(column for column in EPOCHS.names if column.startswith("ccc_devel_")))


@dataclass(frozen=True)
class Figure:
    """One figure from both trainings; None where a training lacks it."""

    name: str  # name of its column; for the figure of an epoch, "epoch N: " comes before it
    stored: float | None
    again: float | None

    @property
    def difference(self) -> float:
        """The absolute difference; infinite where one of them is missing."""
        if self.stored == self.again:
            return 0.0
        if self.stored is None or self.again is None:
            return math.inf
        return abs(self.stored - self.again)


@dataclass(frozen=True)
class Comparison:
    """The differences between two trainings of a trial."""

    of_row: tuple[Figure, ...]  # figures of the whole trial
    of_epochs: tuple[Figure, ...]  # figures of each epoch
    reasons: tuple[str, ...]  # conditions that differ or are unknown, so that rounding may differ
    tolerance: float  # largest accepted difference of a CCC where there are reasons

    @property
    def equal(self) -> bool:
        """Whether all figures are equal bit for bit."""
        return self._greatest("") == 0

    @property
    def good(self) -> bool:
        """Whether all figures are equal or, where there are reasons to differ, every CCC is within the tolerance."""
        return self.equal or (bool(self.reasons) and self._greatest("ccc_") <= self.tolerance)

    @property
    def verdict(self) -> str:
        """The result in one line."""
        if self.equal:
            return "bit-identical"
        apart = f"CCC differ by at most {self._greatest('ccc_'):.3g}, other figures by {self._greatest(''):.3g}"
        if not self.reasons:
            return f"{apart}, although commit, versions and device are identical"
        expected = "different rounding is expected" if self.good else f"more than the {self.tolerance:g} expected"
        return f"{apart}: {expected}, since these differ: {'; '.join(self.reasons)}"

    def _greatest(self, kind: str) -> float:
        return max((f.difference for f in (*self.of_row, *self.of_epochs) if kind in f.name), default=0.0)

    def show(self) -> None:
        """Print the figures of the whole trial, the greatest differences, and the verdict."""
        table = Table(box=None, padding=(0, 1))
        table.add_column("figure", no_wrap=True)
        for column in ("stored", "again", "difference"):
            table.add_column(column, justify="right", no_wrap=True)
        for figure in self.of_row:
            if not figure.name.endswith("_per_recording"):
                table.add_row(figure.name, _format(figure.stored), _format(figure.again), f"{figure.difference:.3g}")
        for name, kind in (("train_loss", "train_loss"), ("devel CCC", "ccc_")):
            greatest = max((f.difference for f in self.of_epochs if kind in f.name), default=0.0)
            table.add_row(f"{name}, all epochs", "", "", f"{greatest:.3g}")
        table.add_row("greatest of all", "", "", f"{self._greatest(''):.3g}")
        open_console().print(table)
        print(self.verdict)


def compare(
    stored: tuple[Row, Sequence[Row]], again: tuple[Row, Sequence[Row]], tolerance: float = TOLERANCE
) -> Comparison:
    """Compare two trainings of a trial, each given by its row of `trials` and its rows of `epochs`.

    For a stopped trial only the epochs are compared: the figures in its row are those of its best epoch so far.
    """
    (row, epochs), (new, new_epochs) = stored, again
    names = () if row["status"] == "stopped" else ("best_epoch", *CCC_COLUMNS)
    of_row = [Figure(name, row[name], new[name]) for name in ("epochs", *names)]
    before, now = ({epoch["epoch"]: epoch for epoch in rows} for rows in (epochs, new_epochs))
    of_epochs = [
        Figure(f"epoch {number}: {name}", before.get(number, {}).get(name), now.get(number, {}).get(name))
        for number in sorted(before | now)
        for name in _EPOCH_COLUMNS
    ]
    known = [figure for figure in of_row if (figure.stored, figure.again) != (None, None)]
    return Comparison(tuple(known), tuple(of_epochs), tuple(_reasons(row, new)), tolerance)


def _reasons(row: Row, new: Row) -> list[str]:
    """List the conditions that differ between two trainings or are unknown, so that rounding may differ."""
    reasons = []
    if not (row["git_commit"] and new["git_commit"]):
        reasons.append("commit (not known)")
    elif row["git_commit"] != new["git_commit"]:
        reasons.append(f"commit ({row['git_commit'][:12]} and {new['git_commit'][:12]})")
    elif row["git_diff"] != new["git_diff"] or (row["git_commit"].endswith("+") and row["git_diff"] is None):
        reasons.append("uncommitted changes")
    versions, new_versions = (json.loads(one["versions"] or "{}") for one in (row, new))
    for name in sorted(versions | new_versions):
        if versions.get(name) != new_versions.get(name):
            reasons.append(f"{name} ({versions.get(name)} and {new_versions.get(name)})")
    for name in ("device", "precision", "backend"):
        if row[name] is None:
            reasons.append(f"{name} (not known)")
        elif row[name] != new[name]:
            reasons.append(f"{name} ({row[name]} and {new[name]})")
    if not row["deterministic"] and not str(new["device"]).startswith("cpu"):
        reasons.append("order of sums (training.deterministic is false)")
    return reasons


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)
