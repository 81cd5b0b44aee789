"""Where the searches settle: one trial's devel CCC over shift and median window, and their chains in that landscape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ser_ray.report.drawing import BLACK, FONT_PT, WHITE, Drawing, new_figure, set_labels
from ser_ray.report.one_trial import read_chains, read_traces, shown_trial
from ser_ray.report.tables import Row, SweepTables
from ser_ray.report.terminal import MISSING

if TYPE_CHECKING:
    from ser_ray.postprocess.grid import Grid

COLOURS = "viridis"
"""Even to the eye, in grey and to the colour-blind too: equal steps of CCC look equal."""
FLOOR_PERCENT = 25.0
"""So much of a surface has the darkest colour: or its far slopes take all colours, and leave one to the summit."""
FLAT = 1e-9
"""A surface that rises by no more is that of a constant; the rest is rounding."""
LOSSES = (0.3, 0.1, 0.03, 0.01)
"""Lines join what lies so much CCC below the summit."""
ROOM = 0.08
"""A label keeps so much of the panel between itself and the next, or is left out."""
MARKS = {"raw": ("^", 6.0), "greedy": ("o", 9.0), "exhaustive": ("*", 8.0)}
"""Marker and size: where both searches settle at one place, the star lies in the circle."""


@dataclass(frozen=True, eq=False)
class Surface:
    """One target's devel CCC over the grid of its searches.

    Args:
        target: "arousal" or "valence".
        ccc: [windows, shifts], the best over the four combinations of centring and scaling.
        windows_s: [windows] seconds; the first is one frame, which is no filter.
        shifts_s: [shifts] seconds.
        chains: method -> row of `postprocessing`.
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
        """Left, right, lower and upper edge: half a cell, one frame wide and two high, beyond the outermost places."""
        frame_s = float(self.windows_s[0])
        left, right = float(self.shifts_s[0]) - frame_s / 2, float(self.shifts_s[-1]) + frame_s / 2
        return left, right, float(self.windows_s[0]) - frame_s, float(self.windows_s[-1]) + frame_s


def read_surfaces(sweep: SweepTables, key: str) -> list[Surface]:
    """Return the surface of each target that a trial was searched for, computed anew from its predictions of devel.

    Args:
        sweep: the sweep.
        key: the trial's key.

    Returns:
        The surfaces; none of a target that has one CCC throughout, as constant predictions have, and a grid of one
        window and one shift.
    """
    from ser_ray.postprocess import search_exhaustive

    chains, traces = read_chains(sweep, key), read_traces(sweep, key, ("devel",))
    longest = max((trace.time_s.size for trace in traces), default=0)
    if longest < 2:
        return []
    label_rate = (longest - 1) / next(float(trace.time_s[-1]) for trace in traces if trace.time_s.size == longest)
    surfaces = []
    for target, rows in chains.items():
        labelled = [trace for trace in traces if target in trace.gold]
        grid = _grid(next(iter(rows.values())), label_rate, longest)
        if not labelled:
            continue
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


def _grid(row: Row, label_rate: float, longest_frames: int) -> "Grid":
    """Return the grid that a row of `postprocessing` names."""
    from ser_ray.postprocess import SearchConfig
    from ser_ray.postprocess.grid import Grid

    if row["max_window_s"] is None:  # up to schema version 3 the grid was one of frames, at every label rate
        return Grid()
    config = SearchConfig(
        max_window_s=row["max_window_s"], max_shift_s=row["max_shift_s"], forward_only=row["forward_only"]
    )
    return config.grid(label_rate, longest_frames)


def draw_surface(sweep: SweepTables, key: str | None = None) -> Drawing | None:
    """Return the figure of devel CCC over shift and median window, with the chains that the searches chose.

    Args:
        sweep: the sweep.
        key: of the trial to show; None for the best finished one.

    Returns:
        The figure, a panel per target; None if the trial was not searched, or there is nothing to tell apart.
    """
    shown, called = shown_trial(sweep, key)
    surfaces = read_surfaces(sweep, shown) if shown is not None else []
    if not surfaces:
        return None
    figure, panels = new_figure(f"{sweep.title}: post-processing of trial {shown}", 1, len(surfaces), 3.6)
    for panel, surface in zip(panels, surfaces, strict=True):
        _draw_map(panel, surface)
        _draw_marks(panel, surface)
        set_labels(panel, x="shift (s)", y="median window (s)" if panel is panels[0] else "", title=surface.target)
    return Drawing("search_surface", "Where the searches settle", _caption(surfaces, called), figure)


def _draw_map(panel: Axes, surface: Surface) -> None:
    """Draw CCC as colours, with a scale beside it and lines of equal CCC."""
    low, high = float(np.percentile(surface.ccc, FLOOR_PERCENT)), float(surface.ccc.max())
    if high - low <= FLAT:  # a plateau
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
    """Draw lines of equal CCC, each with one label if there is a place where it hides neither a mark nor another."""
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
    for segments in reversed(lines.allsegs):  # those around the summit have the least room
        points = (np.concatenate(segments) - corner) / size
        to_edge = np.minimum(points, 1 - points).min(axis=1)
        to_taken = np.min([np.hypot(*(points - spot).T) for spot in taken], axis=0)
        room = np.minimum(2 * to_edge, to_taken)
        if room.max() > ROOM:
            taken.append(points[np.argmax(room)])
    labelled = [tuple(corner + size * spot) for spot in taken[len(surface.places) :]]
    panel.clabel(lines, fmt=levels, fontsize=FONT_PT - 2, manual=labelled)


def _draw_marks(panel: Axes, surface: Surface) -> None:
    """Mark raw and chosen chains, and say below the panel what CCC each has."""
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
        " The steps were chosen for all targets together, by the mean of their CCCs, so that a star need not lie on a "
        "panel's summit."
        if joint
        else ""
    )
    return (
        f"CCC on devel, pooled, of {trial}, after a median filter of the given length and a shift by the given time "
        "(positive: later). Each point is the best of the four combinations of centring and scaling, so that a mark's "
        "own CCC, given below the panel, may be lower than what it lies on. Marks: the chain of each search, and the "
        f"raw prediction. Lines: so much CCC below the summit; the darkest colour: all below the scale.{steps} All of "
        "it is in sample: what the surface promises on devel is not what other recordings get."
    )
