"""The figures of a report, each drawn if the sweep has what it shows."""

from ser_ray.report.against import draw_against_fields, draw_against_overlap
from ser_ray.report.curves import draw_curves
from ser_ray.report.drawing import Drawing
from ser_ray.report.tables import SweepTables
from ser_ray.report.trace import draw_trace


def draw_figures(sweep: SweepTables) -> list[Drawing]:
    """Return the figures of a sweep.

    Args:
        sweep: the sweep's trials; their epochs and the best one's predictions are read from its folder.

    Returns:
        CCC against the overlap ratio and against the other fields that vary, learning curves, and one recording's
        trace: those there is something to draw for.
    """
    drawn = [draw_against_overlap(sweep), *draw_against_fields(sweep), draw_curves(sweep), draw_trace(sweep)]
    return [drawing for drawing in drawn if drawing is not None]
