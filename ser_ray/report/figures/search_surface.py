"""Figure search_surface: devel CCC of one trial over shift and median window, with the chains of its searches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ser_ray.report.attributes import Row
from ser_ray.report.configurations import SweepTables
from ser_ray.report.figures.drawing import BLACK, FONT_PT, WHITE, Drawing, new_figure, set_labels
from ser_ray.report.one_trial import read_chain_rows, read_recording_traces, shown_trial
from ser_ray.report.terminal import MISSING

COLOURS = "viridis"
"""Perceptually uniform, also in grey and for colour-blind readers."""
FLOOR_PERCENT = 25.0
"""Share of a surface with the darkest colour; otherwise its low parts would take most of the colours."""
FLAT = 1e-9
"""A surface with a smaller range is constant but for rounding."""
LOSSES = (0.3, 0.1, 0.03, 0.01)
"""Contour lines are drawn at the maximum minus these CCCs."""
LABEL_DISTANCE = 0.08
"""Least distance between two labels, as a share of the panel; a label without space is left out."""
MARKS = {"raw": ("^", 6.0), "greedy": ("o", 9.0), "exhaustive": ("*", 8.0)}
"""Marker and size: if both searches chose the same chain, the star lies in the circle."""


@dataclass(frozen=True, eq=False)
class Surface:
    """One target's devel CCC [windows, shifts] over the grid of its searches, with the chains by method.

    Each CCC is the best over the four combinations of centring and scaling. The first window, one frame, is no filter.
    """

    target: str
    ccc: NDArray[np.float64]
    windows_s: NDArray[np.float64]
    shifts_s: NDArray[np.float64]
    chains: Mapping[str, Row]

    @property
    def places(self) -> dict[str, tuple[float, float, float | None]]:
        """Shift and window in seconds, and devel CCC, of the raw prediction and of each search's chain."""
        raw = next(iter(self.chains.values()))["ccc_devel_raw"]
        found = {
            method: (row["shift_s"], row["median_window_s"], row["ccc_devel"]) for method, row in self.chains.items()
        }
        return found | {"raw": (0.0, float(self.windows_s[0]), raw)}

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper edge: half a cell (one frame wide, two high) beyond the outermost positions."""
        frame_s = float(self.windows_s[0])
        left, right = float(self.shifts_s[0]) - frame_s / 2, float(self.shifts_s[-1]) + frame_s / 2
        return left, right, float(self.windows_s[0]) - frame_s, float(self.windows_s[-1]) + frame_s


def read_surfaces(sweep: SweepTables, key: str) -> list[Surface]:
    """Compute the surface of each target for which a trial was searched, from its devel predictions.

    A target whose CCC is the same everywhere, as with constant predictions, has none.
    """
    from ser_ray.postprocess import SearchConfig, search_exhaustive

    chains, traces = read_chain_rows(sweep, key), read_recording_traces(sweep, key, ("devel",))
    longest = max((trace.time_s.size for trace in traces), default=0)
    if longest < 2:
        return []
    label_rate = (longest - 1) / next(float(trace.time_s[-1]) for trace in traces if trace.time_s.size == longest)
    surfaces = []
    for target, rows in chains.items():
        labelled = [trace for trace in traces if target in trace.gold]
        if not labelled:
            continue
        settings = {name: next(iter(rows.values()))[name] for name in ("max_window_s", "max_shift_s", "forward_only")}
        grid = SearchConfig(**settings).grid(label_rate, longest)
        found = search_exhaustive(
            [trace.prediction[target] for trace in labelled],
            [trace.gold[target] for trace in labelled],
            max_window_frames=grid.max_window_frames,
            max_shift_frames=grid.max_shift_frames,
            forward_only=grid.forward_only,
        )
        assert found.table is not None
        assert found.windows is not None
        assert found.shifts is not None
        ccc = found.table.max(axis=(1, 2))
        if np.ptp(ccc) > FLAT:
            surfaces.append(Surface(target, ccc, found.windows / label_rate, found.shifts / label_rate, rows))
    return surfaces


def draw_surface(sweep: SweepTables, key: str | None = None) -> Drawing | None:
    """Draw the surfaces of a trial, by default the best, with a panel per target; None if it has none."""
    shown, called = shown_trial(sweep, key)
    surfaces = read_surfaces(sweep, shown) if shown is not None else []
    if not surfaces:
        return None
    figure, panels = new_figure(f"{sweep.title}: post-processing of trial {shown}", 1, len(surfaces), 3.6)
    for panel, surface in zip(panels, surfaces, strict=True):
        _draw_map(panel, surface)
        _draw_marks(panel, surface)
        set_labels(panel, x="shift (s)", y="median window (s)" if panel is panels[0] else "", title=surface.target)
    return Drawing("search_surface", "Search surface", _caption(surfaces, called), figure)


def _draw_map(panel: Axes, surface: Surface) -> None:
    low, high = float(np.percentile(surface.ccc, FLOOR_PERCENT)), float(surface.ccc.max())
    if high - low <= FLAT:  # most chains are equally good
        low = float(surface.ccc.min())
    panel.grid(visible=False)
    image = panel.imshow(
        surface.ccc, COLOURS, vmin=low, vmax=high, origin="lower", extent=surface.extent, aspect="auto"
    )
    bar = panel.figure.colorbar(image, ax=panel, extend="min" if surface.ccc.min() < low else "neither", pad=0.02)
    bar.ax.tick_params(labelsize=FONT_PT - 1)
    bar.set_label("devel CCC", fontsize=FONT_PT - 1)
    _draw_lines(panel, surface, low)
    for axis, places in ((panel.xaxis, surface.shifts_s), (panel.yaxis, surface.windows_s)):
        if places.size == 1:
            axis.set_ticks(places, [f"{places[0]:g}"])


def _draw_lines(panel: Axes, surface: Surface, low: float) -> None:
    """Draw contour lines; each gets a label if there is space that hides neither a mark nor another label."""
    high = float(surface.ccc.max())
    levels = {high - loss: f"−{loss:g}" for loss in LOSSES if high - loss > surface.ccc.min()}
    if min(surface.ccc.shape) < 2 or not levels:
        return
    colours = [WHITE if level < (low + high) / 2 else BLACK for level in levels]
    axes = (surface.shifts_s, surface.windows_s, surface.ccc)
    lines = panel.contour(*axes, list(levels), colors=colours, linestyles="solid", linewidths=0.7, alpha=0.8)
    left, right, bottom, top = surface.extent
    corner, size = np.array([left, bottom]), np.array([right - left, top - bottom])
    taken = [(np.array(place[:2]) - corner) / size for place in surface.places.values()]
    for segments in reversed(lines.allsegs):  # those around the maximum have the least space
        points = (np.concatenate(segments) - corner) / size
        to_edge = np.minimum(points, 1 - points).min(axis=1)
        to_taken = np.min([np.hypot(*(points - spot).T) for spot in taken], axis=0)
        distance = np.minimum(2 * to_edge, to_taken)
        if distance.max() > LABEL_DISTANCE:
            taken.append(points[np.argmax(distance)])
    labelled = [tuple(corner + size * spot) for spot in taken[len(surface.places) :]]
    panel.clabel(lines, fmt=levels, fontsize=FONT_PT - 2, manual=labelled)


def _draw_marks(panel: Axes, surface: Surface) -> None:
    """Mark the raw prediction and the chosen chains, with the CCC of each in a legend below the panel."""
    for name, (x, y, ccc) in surface.places.items():
        marker, size = MARKS[name]
        panel.plot(
            [x],
            [y],
            marker,
            markersize=size,
            markerfacecolor=WHITE,
            markeredgecolor=BLACK,
            markeredgewidth=1.0,
            clip_on=False,
            zorder=3,
            label=f"{name} {MISSING if ccc is None else format(ccc, '.3f')}",
        )
    left, right, bottom, top = surface.extent
    panel.set(xlim=(left, right), ylim=(bottom, top))
    panel.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=2,
        fontsize=FONT_PT - 1,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.0,
    )


def _caption(surfaces: Sequence[Surface], trial: str) -> str:
    joint = any(row["choice"] == "joint" for surface in surfaces for row in surface.chains.values())
    steps = (
        " The steps were chosen jointly for all targets, by the mean of their CCCs, so a star may lie beside a panel's "
        "maximum."
        if joint
        else ""
    )
    return (
        f"CCC on devel, pooled, of {trial}, after a median filter of the given length and a shift by the given time "
        f"(positive: later). Each point is the best of the four combinations of centring and scaling, so the CCC of a "
        f"marked chain (below the panel) may be lower than the surface there. Marks: the chain of each search, and the "
        f"raw prediction. Contour lines: differences from the maximum. Darkest colour: values below the scale.{steps} "
        "All values are in sample; the gain on other recordings is usually smaller."
    )
