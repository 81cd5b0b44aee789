"""The figures of a report, each drawn if the sweep has what it shows."""

from ser_ray.report.against import draw_against_fields, draw_against_overlap
from ser_ray.report.curves import draw_curves
from ser_ray.report.drawing import Drawing
from ser_ray.report.surface import draw_surface
from ser_ray.report.tables import SweepTables
from ser_ray.report.trace import draw_trace


def draw_figures(sweep: SweepTables, key: str | None = None) -> list[Drawing]:
    """Return the figures of a sweep.

    Args:
        sweep: the sweep's trials; their epochs and one trial's predictions are read from its folder.
        key: of the trial to show in detail; None for the best finished one.

    Returns:
        CCC against the overlap ratio and against the other fields that vary, learning curves, one recording's trace,
        and where that trial's searches settle: those there is something to draw for.
    """
    against = [draw_against_overlap(sweep), *draw_against_fields(sweep)]
    drawn = [*against, draw_curves(sweep), draw_trace(sweep, key), draw_surface(sweep, key)]
    return [drawing for drawing in drawn if drawing is not None]
