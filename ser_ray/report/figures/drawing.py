"""Common parts of all figures: size, colours, legends, and saving."""

import io
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_ray.errors import InputError

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
"""Distinct for colour-blind readers (Okabe and Ito 2008); in grey, markers and dashes distinguish them."""
BLACK, WHITE, GREY, PALE, PALE_BLUE = "#000000", "#ffffff", "#777777", "#c4c4c4", "#9db8d0"

WIDTH_IN = 7.0
FONT_PT = 9.0
DPI = 200
LEGEND_CHARACTERS = 90
"""Characters of a legend's line below the panels; half as many for two columns, a quarter for three."""


@dataclass(frozen=True)
class Drawing:
    """A figure of the report, its title and caption, and the name of its files."""

    name: str
    title: str
    caption: str
    figure: Figure


def new_figure(
    title: str, rows: int, columns: int, height_in: float, *, share_x: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure and its panels, row by row; a row shares its y axis and, with `share_x`, a column its x axis."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    figure.suptitle(title, fontsize=FONT_PT + 1)
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row", sharex="col" if share_x else False)
    panels = list(grid.ravel())
    for panel in panels:
        panel.tick_params(labelsize=FONT_PT - 1)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(visible=True, color="#e6e6e6", linewidth=0.6)
        panel.set_axisbelow(True)
    return figure, panels


def set_labels(panel: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Set the labels of a panel's axes, with units, and its title."""
    panel.set_xlabel(x, fontsize=FONT_PT)
    panel.set_ylabel(y, fontsize=FONT_PT)
    panel.set_title(title, fontsize=FONT_PT)


def add_legend(figure: Figure, panel: Axes, *, title: str | None = None) -> None:
    """Add the legend of a panel beside all panels, or below them if it has no title."""
    handles, labels = panel.get_legend_handles_labels()
    longest = max(map(len, labels), default=0)
    columns = 3 if len(labels) == 3 and longest <= LEGEND_CHARACTERS // 4 else 2
    figure.legend(
        handles,
        [textwrap.fill(label, LEGEND_CHARACTERS) for label in labels],
        title=title,
        loc="outside right upper" if title else "outside lower center",
        ncols=1 if title or longest > LEGEND_CHARACTERS // 2 else columns,
        fontsize=FONT_PT - 1,
        title_fontsize=FONT_PT - 1,
        frameon=False,
    )


def save(drawing: Drawing, folder: Path) -> bytes:
    """Write a figure as NAME.png and NAME.pdf; return the content of the PNG file.

    Raises:
        InputError: if they cannot be written.
    """
    picture = png(drawing.figure)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{drawing.name}.png").write_bytes(picture)
        (folder / f"{drawing.name}.pdf").write_bytes(_pdf(drawing.figure))
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); choose another folder with --out DIR"
        ) from error
    return picture


def png(figure: Figure) -> bytes:
    """Render a figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _pdf(figure: Figure) -> bytes:
    content = io.BytesIO()
    # TrueType fonts, since journals refuse matplotlib's own default; no date, so that equal results give equal files.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(content, format="pdf", metadata={"CreationDate": None})
    return content.getvalue()
