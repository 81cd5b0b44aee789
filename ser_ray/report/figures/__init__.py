"""The figures of a report, one module each."""

from ser_ray.report.configurations import SweepTables
from ser_ray.report.figures.ccc_against import draw_against_fields, draw_against_overlap
from ser_ray.report.figures.drawing import Drawing
from ser_ray.report.figures.learning_curves import draw_curves
from ser_ray.report.figures.search_surface import draw_surface
from ser_ray.report.figures.trace import draw_trace


def draw_figures(sweep: SweepTables, key: str | None = None) -> list[Drawing]:
    """Draw the figures for which a sweep has data; `key` is the trial shown in detail, by default the best one."""
    drawn = [
        draw_against_overlap(sweep),
        *draw_against_fields(sweep),
        draw_curves(sweep),
        draw_trace(sweep, key),
        draw_surface(sweep, key),
    ]
    return [drawing for drawing in drawn if drawing is not None]
