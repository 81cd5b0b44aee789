"""Figure learning_curves: devel CCC and training loss of every trial after each epoch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ser_ray.report.columns import labelled_values, varying_columns
from ser_ray.report.configurations import SweepTables
from ser_ray.report.figures.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    Drawing,
    add_legend,
    new_figure,
    set_labels,
)
from ser_ray.results import TARGETS, SweepFolder, read_table

FEW = 12
"""With more trials, the lines of those that are not among the best are paler."""
BEST = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."))


@dataclass(frozen=True)
class Curve:
    """One trial's epochs [n], counted from 1, with devel CCC and training loss; NaN for a missing value."""

    key: str
    epochs: NDArray[np.float64]
    devel: NDArray[np.float64]
    loss: NDArray[np.float64]

    @property
    def best(self) -> int | None:
        """Index of the best epoch; None if there is no CCC."""
        return None if np.isnan(self.devel).all() else int(np.nanargmax(self.devel))

    @property
    def best_devel(self) -> float:
        """The highest devel CCC; minus infinity if there is none."""
        return -np.inf if self.best is None else float(self.devel[self.best])


def read_curves(folder: SweepFolder, planned: Collection[str] | None = None) -> tuple[list[Curve], str]:
    """Read the curve of every trial, or every planned one, that has ended an epoch, the best first.

    The second value is the target of their CCC: "mean", or the only target that the networks predict.
    """
    scores = {target: f"ccc_devel_{target}" for target in (*TARGETS, "mean")}
    columns = ["key", "epoch", "train_loss", *scores.values()]
    table = read_table(folder, "epochs", keys=planned, columns=columns)
    table = table.sort_by([("key", "ascending"), ("epoch", "ascending")])
    single = [t for t in TARGETS if table[scores[t]].null_count < table.num_rows]
    target = single[0] if len(single) == 1 else "mean"
    keys, starts = np.unique(np.asarray(table["key"].to_pylist(), dtype=np.str_), return_index=True)
    epochs, devel, loss = (
        np.split(np.asarray(table[name].to_pylist(), dtype=np.float64), starts[1:])
        for name in ("epoch", scores[target], "train_loss")
    )
    curves = [Curve(str(key), *values) for key, *values in zip(keys, epochs, devel, loss, strict=False)]
    return sorted(curves, key=lambda curve: -curve.best_devel), target


def median_curve(
    epochs: Sequence[NDArray[np.float64]], values: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute medians over trials at the epochs that at least half of them have reached; return epochs and medians.

    Both results are [n]. Both arguments contain one array per trial; NaN counts as no value.
    """
    all_epochs, all_values = np.concatenate(epochs), np.concatenate(values)
    known = ~np.isnan(all_values)
    all_epochs, all_values = all_epochs[known], all_values[known]
    reached = [e for e in np.unique(all_epochs) if 2 * np.count_nonzero(all_epochs == e) >= len(epochs)]
    return np.asarray(reached), np.asarray([np.median(all_values[all_epochs == e]) for e in reached])


def draw_curves(sweep: SweepTables) -> Drawing | None:
    """Draw devel CCC per epoch, with training loss below it; None if no trial has ended an epoch."""
    curves, target = read_curves(sweep.folder, sweep.planned)
    if not curves:
        return None
    figure, (top, bottom) = new_figure(f"{sweep.title}: learning curves", 2, 1, 4.8, share_x=True)
    names = _names(sweep)
    for curve in curves[len(BEST) :]:
        _draw_curve(top, bottom, curve, style=(PALE if len(curves) > FEW else GREY, "-", 0.6), name="_other")
    for curve, (color, dashes) in zip(curves, BEST, strict=False):
        _draw_curve(top, bottom, curve, style=(color, dashes, 1.4), name=names.get(curve.key, curve.key))
    if len(curves) > len(BEST):
        label = f"median of {len(curves)} trials"
        for panel, values in ((top, [c.devel for c in curves]), (bottom, [c.loss for c in curves])):
            panel.plot(*median_curve([c.epochs for c in curves], values), color=BLACK, linewidth=2.0, label=label)
    set_labels(top, y="devel CCC (mean of targets)" if target == "mean" else f"devel CCC of {target}")
    set_labels(bottom, x="epoch", y="training loss")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(figure, top)
    return Drawing("learning_curves", "Learning curves", _caption(target, len(curves)), figure)


def _draw_curve(top: Axes, bottom: Axes, curve: Curve, *, style: tuple[str, str, float], name: str) -> None:
    color, dashes, width = style
    top.plot(curve.epochs, curve.devel, dashes, color=color, linewidth=width, label=name)
    bottom.plot(curve.epochs, curve.loss, dashes, color=color, linewidth=width, label=name)
    if curve.best is not None:
        x, y = curve.epochs[curve.best], curve.devel[curve.best]
        top.plot([x], [y], "o", color=color, markersize=1.5 + 2 * width, label="_best epoch")


def _names(sweep: SweepTables) -> Mapping[str, str]:
    """Name each trial by its varying fields and seed."""
    columns = [column for column in varying_columns(sweep.configurations) if column.label != "overlap"]
    names = {}
    for configuration in sweep.configurations:
        for row in configuration.trials:
            names[row["key"]] = ", ".join([*labelled_values(configuration, columns), f"seed {row['seed']}"])
    return names


def _caption(target: str, count: int) -> str:
    what = "the mean of the CCC of arousal and valence" if target == "mean" else f"the CCC of {target}"
    median = ", and the median (black) of epochs that at least half of the trials reached" if count > len(BEST) else ""
    return (
        f"Devel CCC ({what}, pooled, raw predictions) and training loss after each epoch, of all {count} trials with "
        f"at least one epoch, including stopped, failed and running ones; in colour the {min(count, len(BEST))} with "
        f"the highest devel CCC{median}. Dots: each trial's best epoch."
    )
