"""Figures ccc_against_*: CCC of all configurations against overlap ratio, and against each other field that varies."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from ser_ray.report.columns import Column, field_column, format_value, varying_fields
from ser_ray.report.configurations import ConfigurationResults, SeedMean, SweepTables, has_any, headline_target
from ser_ray.report.figures.drawing import (
    BLUE,
    GREEN,
    ORANGE,
    PALE,
    PURPLE,
    Drawing,
    add_legend,
    new_figure,
    set_labels,
)
from ser_ray.results import ccc_column

STYLES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"))
UNITS = ("s", "ms", "hz")
DESIGN = ("model.kernels", "model.pools")
CROWD = 20
"""With more configurations, intervals and seeds are drawn paler than the means."""


@dataclass(frozen=True)
class Scale:
    """A horizontal axis: the position of each configuration and, for an axis of names, the names at 0, 1, ..."""

    positions: tuple[float, ...]
    ticks: tuple[str, ...] | None
    logarithmic: bool


def axis_label(name: str) -> str:
    """Format a field's name with its unit in brackets: "sequence (s)" for "sequence_s"."""
    words = name.split("_")
    if words[-1] in UNITS and len(words) > 1:
        return f"{' '.join(words[:-1])} ({words[-1].replace('hz', 'Hz')})"
    return " ".join(words)


def scale_of(values: Sequence[object]) -> Scale:
    """Make the axis of values: numbers as they are, logarithmic beyond a decade, anything else in sorted order."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        logarithmic = min(numbers) > 0 and max(numbers) > 10 * min(numbers)
        return Scale(tuple(numbers), None, logarithmic)
    texts = [format_value(value) for value in values]
    ticks = sorted(set(texts))
    return Scale(tuple(float(ticks.index(text)) for text in texts), tuple(ticks), logarithmic=False)


def draw_against_overlap(sweep: SweepTables) -> Drawing | None:
    """Draw CCC against the mean of the layers' overlap ratios (Eq. 2); None if it does not vary."""
    drawn = [c for c in sweep.configurations if c.finished and c.overlap_ratio is not None]
    if len({c.overlap_ratio for c in drawn}) < 2:
        return None
    ratio = Column("overlap", lambda configuration: configuration.overlap_ratio)
    return _draw(sweep, drawn, ratio, "overlap ratio (mean of the layers)", DESIGN)


def draw_against_fields(sweep: SweepTables) -> list[Drawing]:
    """Draw CCC against each field that varies, except kernels and pools, which the overlap ratio represents."""
    finished = [c for c in sweep.configurations if c.finished]
    names = [name for name in varying_fields(finished) if name not in DESIGN]
    columns = [(name, field_column(name)) for name in names]
    return [_draw(sweep, finished, column, axis_label(column.label), (name,)) for name, column in columns]


def _draw(
    sweep: SweepTables, configurations: Sequence[ConfigurationResults], column: Column, label: str, shown: Sequence[str]
) -> Drawing:
    """Draw configurations along one axis, which represents the fields `shown`."""
    target = headline_target(configurations)
    partitions = [p for p in ("devel", "test") if has_any(configurations, ccc_column(p, target))]
    figure, panels = new_figure(f"{sweep.title}: CCC against {label.partition(' (')[0]}", 1, len(partitions), 3.2)
    scale = scale_of([column.value(configuration) for configuration in configurations])
    colour = _colour_column(configurations, shown)
    series = _series(configurations, colour)
    pairs = _equal_but_for(configurations, shown[0]) if shown != DESIGN else []
    for panel, partition in zip(panels, partitions, strict=True):
        estimates = [c.over_seeds(ccc_column(partition, target)) for c in configurations]
        for pair in pairs:
            _draw_line(panel, scale, estimates, pair)
        for style, (name, members) in zip(STYLES, series.items(), strict=False):
            points = [(scale.positions[i], estimates[i]) for i in members if estimates[i].n]
            _draw_points(panel, points, style=style, name=name, crowded=len(configurations) > CROWD)
        _finish_axis(panel, scale)
        set_labels(panel, x=label, y=_ccc_label(target) if panel is panels[0] else "", title=partition)
    if colour is not None:
        add_legend(figure, panels[0], title=axis_label(colour.label))
    caption = _caption(target, label, joined=bool(pairs))
    return Drawing(f"ccc_against_{column.label}", f"CCC against {label}", caption, figure)


def _colour_column(configurations: Sequence[ConfigurationResults], shown: Sequence[str]) -> Column | None:
    """Find the first other field that varies and has few enough values for a colour each."""
    for name in varying_fields(configurations):
        column = field_column(name)
        if name not in (*DESIGN, *shown) and len({column.text(c) for c in configurations}) <= len(STYLES):
            return column
    return None


def _series(configurations: Sequence[ConfigurationResults], colour: Column | None) -> dict[str, list[int]]:
    """Group the indices of configurations by their value of the colour's column."""
    if colour is None:
        return {"": list(range(len(configurations)))}
    order = scale_of([colour.value(c) for c in configurations]).positions
    series: dict[str, list[int]] = {}
    for index in sorted(range(len(configurations)), key=lambda i: order[i]):
        series.setdefault(colour.text(configurations[index]), []).append(index)
    return series


def _equal_but_for(configurations: Sequence[ConfigurationResults], name: str) -> list[list[int]]:
    """Group the indices of configurations that differ by one field alone."""
    groups: dict[str, list[int]] = {}
    for index, configuration in enumerate(configurations):
        rest = {field: value for field, value in configuration.fields.items() if field != name}
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append(index)
    return [members for members in groups.values() if len(members) > 1]


def _draw_line(panel: Axes, scale: Scale, estimates: Sequence[SeedMean], members: Sequence[int]) -> None:
    points = sorted((scale.positions[i], mean) for i in members if (mean := estimates[i].mean) is not None)
    panel.plot([x for x, _ in points], [y for _, y in points], color=PALE, linewidth=0.8, label="_equal but for x")


def _draw_points(
    panel: Axes, points: Sequence[tuple[float, SeedMean]], *, style: tuple[str, str], name: str, crowded: bool
) -> None:
    color, marker = style
    seeds = [(x, value) for x, figure in points for value in figure.values]
    faint = 0.3 if crowded else 0.7
    panel.plot(
        [x for x, _ in seeds], [y for _, y in seeds], ".", color=color, markersize=3.5, alpha=faint, label="_seeds"
    )
    _, caps, bars = panel.errorbar(
        [x for x, _ in points],
        [figure.mean or 0.0 for _, figure in points],
        yerr=[math.nan if figure.interval is None else figure.interval for _, figure in points],
        fmt=marker,
        color=color,
        markersize=4 if crowded else 5.5,
        markerfacecolor="white",
        markeredgewidth=1.2,
        elinewidth=0.8,
        capsize=0 if crowded else 2.5,
        label=name or "_means",
    )
    for line in (*caps, *bars):
        line.set_alpha(faint)


def _finish_axis(panel: Axes, scale: Scale) -> None:
    if scale.logarithmic:
        panel.set_xscale("log")
    values = sorted(set(scale.positions))
    if scale.ticks is None and not _far_apart(values, logarithmic=scale.logarithmic):
        return
    names = list(scale.ticks or map(format_value, values))
    panel.xaxis.set_major_locator(FixedLocator(values))
    panel.xaxis.set_major_formatter(FixedFormatter(names))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.tick_params(axis="x", rotation=30 if sum(map(len, names)) > 40 else 0)
    panel.margins(x=0.15)


def _far_apart(values: Sequence[float], *, logarithmic: bool) -> bool:
    """Check that numbers are far enough from each other for a tick each."""
    places = [math.log(value) for value in values] if logarithmic else values
    gaps = [right - left for left, right in itertools.pairwise(places)]
    return min(gaps, default=1.0) >= 0.12 * (places[-1] - places[0])


def _ccc_label(target: str) -> str:
    return "CCC (mean of targets)" if target == "mean" else f"CCC of {target}"


def _caption(target: str, label: str, *, joined: bool) -> str:
    what = "Mean of the CCC of arousal and of valence" if target == "mean" else f"CCC of {target}"
    lines = " Lines connect configurations that differ in nothing else." if joined else ""
    return (
        f"{what}, against {label}. Each CCC is pooled over all frames of a partition, of raw predictions of the epoch "
        f"with the best devel CCC. Open markers: mean of a configuration and its 95 % confidence interval (Student t "
        f"over its n seeds; none for one seed); points: single seeds. Finished trials only.{lines}"
    )
