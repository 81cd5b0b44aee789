"""Reports files that shadow modules of Python or of the environment, when a command fails.

Examples are a random.py in the folder in which `python -m ser_ray.sweep` is called, and a folder on PYTHONPATH with
another build of a package. Both fail somewhere deep in a library, with an error that does not name the file. Only
modules that Python loads at its start are imported here.
"""

import os
import site
import sys
from collections.abc import Iterable, Iterator
from types import TracebackType

SUFFIXES = (".py", ".so", ".pyd")


def report_shadowing() -> None:
    """Install an exception hook that names the shadowing files, if there are any."""
    sys.excepthook = _excepthook


def modules_in(folder: str) -> Iterator[str]:
    """Yield the names of the modules and packages that can be imported from a folder; none if it cannot be read."""
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return
    for entry in entries:
        stem, _, suffix = entry.partition(".")
        if entry.endswith(SUFFIXES) and (suffix == "py" or not suffix.endswith("py")):
            yield stem
        elif not suffix and os.path.isfile(os.path.join(folder, entry, "__init__.py")):
            yield entry


def shadowed_names(names: Iterable[str]) -> set[str]:
    """Select the names of modules that also belong to Python's library or to the environment."""
    own = {name for folder in _site_folders() for name in modules_in(folder)} | set(sys.stdlib_module_names)
    return set(names) & own


def _site_folders() -> set[str]:
    return {os.path.realpath(folder) for folder in site.getsitepackages()}


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception; if files shadow modules, print only these files and the exception's message."""
    files = sorted(set(_shadowing(trace)))
    if not files or not isinstance(error, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    words = " ".join(str(error).split())[:200]
    print(
        f"error: {', '.join(files)} was imported in the place of what ser_ray needs by that name ({kind.__name__}: "
        f"{words}); rename it, call from another folder, or take its folder out of PYTHONPATH",
        file=sys.stderr,
    )
    sys.exit(2)  # as for wrong input


def _shadowing(trace: TracebackType | None) -> Iterator[str]:
    """Yield the files that were imported instead of another module, or whose import failed."""
    files: list[tuple[str, str | None]]
    files = [(name, getattr(module, "__file__", None)) for name, module in sys.modules.items() if "." not in name]
    while trace is not None:  # a module whose import fails is not in sys.modules
        code = trace.tb_frame.f_code
        files.append((os.path.basename(code.co_filename).partition(".")[0], code.co_filename))
        trace = trace.tb_next
    before = _folders_before()
    candidates: dict[str, str] = {}
    for name, file in files:
        if not file:
            continue
        folder, base = os.path.split(os.path.realpath(file))
        if base == "__init__.py":
            folder = os.path.dirname(folder)
        if folder in before:
            candidates[name] = os.path.join(folder, base if base != "__init__.py" else name)
    taken = shadowed_names(candidates)
    yield from (file for name, file in candidates.items() if name in taken)


def _folders_before() -> set[str]:
    """Return the folders that Python searches before its own library or before the environment's packages."""
    library, own = os.path.realpath(os.path.dirname(os.__file__)), _site_folders()
    before: set[str] = set()
    seen: set[str] = set()
    for entry in sys.path:
        folder = os.path.realpath(entry or os.getcwd())
        if folder in own:
            before |= seen
        if folder != library and folder not in own and not folder.startswith(library + os.sep):
            seen.add(folder)
    return before
