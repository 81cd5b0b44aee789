"""The log of one trial: `ser-ray logs DIR KEY`."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from ser_ray.errors import InputError
from ser_ray.results import SCHEMAS, SweepFolder, open_sweep


def find_log(folder: SweepFolder, key: str) -> Path:
    """Return the log of the trial that a key, or the beginning of one, names.

    Args:
        folder: the sweep's folder.
        key: a trial's key, or as much of it as no other trial's key begins with.

    Raises:
        InputError: if no trial, or several, are named so, or if the trial has no log.
    """
    logged = {path.stem for path in (folder.path / "logs").glob("*.log")}
    known = sorted(logged.union(*(folder.keys(table) for table in SCHEMAS)))
    matching = [key] if key in known else [other for other in known if other.startswith(key)]
    if not key or not matching:
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.3) or known[:3]
        keys = f"; trials there are: {', '.join(near)}" if near else "; it has no trials yet"
        raise InputError(f"{folder.path} has no trial {key!r}{keys}")
    if len(matching) > 1:
        raise InputError(
            f"{key!r} begins the keys of {len(matching)} trials: {', '.join(matching[:5])}"
            f"{', ...' if len(matching) > 5 else ''}; give more of the key"
        )
    if matching[0] not in logged:
        raise InputError(f"trial {matching[0]} has no log at {folder.log(matching[0])}")
    return folder.log(matching[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the log of a trial; return 0.

    Args:
        argv: arguments of the command line.

    Raises:
        InputError: if there is no such sweep, trial or log.
    """
    parser = argparse.ArgumentParser("ser-ray logs", description="The log of one trial.")
    parser.add_argument("folder", metavar="DIR", help="results/<sweep>")
    parser.add_argument("key", metavar="KEY", help="a trial's key, or the beginning of it")
    arguments = parser.parse_args(argv)
    log = find_log(open_sweep(arguments.folder), arguments.key)
    sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))
    return 0
