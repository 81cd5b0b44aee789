"""Finds out in which layout a folder is."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ser_ray.corpus.source.description import Description, OtherLayoutError, contents
from ser_ray.errors import InputError

AUTO = "auto"


def describe(
    layout: str, source: Path, layouts: Mapping[str, Callable[[Path], Description]]
) -> tuple[str, Description]:
    """Return the name of a folder's layout and what it holds; with "auto" the layout is the one that fits.

    Raises:
        InputError: if the layout is unknown, none or several fit, or the data is wrong in the one that does.
    """
    try:
        return _describe(layout, source, layouts)
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error})") from error


def _describe(
    layout: str, source: Path, layouts: Mapping[str, Callable[[Path], Description]]
) -> tuple[str, Description]:
    if layout in layouts:
        return layout, layouts[layout](source)
    if layout != AUTO:
        raise InputError(f"layout is {layout!r}, but must be one of {AUTO}, {', '.join(layouts)}")
    fitting: dict[str, Description] = {}
    wrong: dict[str, InputError] = {}
    other: dict[str, OtherLayoutError] = {}
    for name, read in layouts.items():
        try:
            fitting[name] = read(source)
        except OtherLayoutError as error:
            other[name] = error
        except InputError as error:
            wrong[name] = error
    if len(fitting) == 1:
        return fitting.popitem()
    if fitting:
        raise InputError(f"{source} could be in the layout {' or '.join(fitting)}: name the one that it is in")
    if wrong:
        raise InputError("\n".join(f"as {name}: {error}" for name, error in wrong.items()))
    looked = "\n".join(f"  {name}: {_looked_for(error)}" for name, error in other.items())
    raise InputError(f"{source} is in no layout that is known; {contents(source)}\nlooked for\n{looked}")


def _looked_for(error: OtherLayoutError) -> str:
    """Return what a layout looked for, of its message."""
    text = str(error)
    return text.partition("looked for ")[2].partition("; missing: ")[0].partition(", but it ")[0] or text
