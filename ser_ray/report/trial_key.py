"""The trial that a user names by its key, or by the beginning of it."""

import difflib

from ser_ray.errors import InputError
from ser_ray.results import SCHEMAS, SweepFolder


def find_key(folder: SweepFolder, key: str) -> str:
    """Return the key of the trial that a key, or the beginning of one, names.

    Args:
        folder: the sweep's folder.
        key: a trial's key, or as much of it as no other trial's key begins with.

    Raises:
        InputError: if no trial, or several, are named so.
    """
    known = sorted(folder.logged().union(*(folder.keys(table) for table in SCHEMAS)))
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
    return matching[0]
