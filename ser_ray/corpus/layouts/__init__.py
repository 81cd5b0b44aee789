"""Layouts of data on a user's disk: a module for each that LAYOUTS lists; the others serve several of them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ser_ray.corpus.layouts import (
    aud_format,
    msp_conversation,
    muse,
    recola,
    recola46,
    recola_avec,
    semaine,
    sewa,
    table,
)
from ser_ray.corpus.source.description import Description, OtherLayoutError, contents
from ser_ray.errors import InputError

LAYOUTS: Mapping[str, Callable[[Path], Description]] = {
    "table": table.read,
    "recola_avec": recola_avec.read,
    "recola": recola.read,
    "recola46": recola46.read,
    "sewa": sewa.read,
    "muse": muse.read,
    "msp_conversation": msp_conversation.read,
    "semaine": semaine.read,
    "audformat": aud_format.read,
}
"""The layouts that `ser-ray corpus import` reads, by name.

Each raises an InputError, with several mistakes at once, if data is missing or malformed, and an OtherLayoutError for a
folder in another layout.
"""


AUTO = "auto"


def read_layout(layout: str, source: Path) -> tuple[str, Description]:
    """Read a folder in a layout, or with "auto" in the only one that fits; return the layout's name and a description.

    Raises:
        InputError: if the layout is unknown, none or several fit, or the data has mistakes in the one that does.
    """
    if layout not in (AUTO, *LAYOUTS):
        raise InputError(f"layout is {layout!r}, but must be one of {AUTO}, {', '.join(LAYOUTS)}")
    try:
        return _find_layout(source) if layout == AUTO else (layout, LAYOUTS[layout](source))
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error})") from error


def _find_layout(source: Path) -> tuple[str, Description]:
    fitting: dict[str, Description] = {}
    wrong: dict[str, InputError] = {}
    other: dict[str, OtherLayoutError] = {}
    for name, read in LAYOUTS.items():
        try:
            fitting[name] = read(source)
        except OtherLayoutError as error:
            other[name] = error
        except InputError as error:
            wrong[name] = error
    if len(fitting) == 1:
        return fitting.popitem()
    if fitting:
        raise InputError(
            f"{source} matches several layouts, {' and '.join(fitting)}: name one of them instead of {AUTO}"
        )
    if wrong:
        raise InputError("\n".join(f"as {name}: {error}" for name, error in wrong.items()))
    searched = "\n".join(f"  {name}: {_looked_for(error)}" for name, error in other.items())
    raise InputError(f"{source} matches no known layout; {contents(source)}\nlooked for\n{searched}")


def _looked_for(error: OtherLayoutError) -> str:
    """Extract the list of files that a layout looked for from its error message."""
    text = str(error)
    return text.partition("looked for ")[2].partition("; missing: ")[0].partition(", but it ")[0] or text
