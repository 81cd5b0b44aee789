"""The uncommitted changes of the code that a sweep ran with, kept beside its results."""

import hashlib
from pathlib import Path

from ser_ray import provenance
from ser_ray.files import whole_file
from ser_ray.results import SweepFolder


def keep_changes(folder: SweepFolder) -> str | None:
    """Store the code's uncommitted changes in a sweep's folder, equal ones once, and return their name.

    Returns:
        Twelve hexadecimal digits of the patch's SHA-256, as in the column git_diff of `trials`; None if there are no
        changes, and outside git.

    Raises:
        OSError: if the patch cannot be written.
    """
    changes = provenance.git_changes()
    name = changes_name(changes)
    if changes is not None and name is not None and not changes_file(folder, name).exists():
        with whole_file(changes_file(folder, name), temporary_dir=folder.tmp) as temporary:
            temporary.write_bytes(changes.encode(errors="surrogateescape"))
    return name


def changes_name(changes: str | None) -> str | None:
    """Return the name under which changes of `provenance.git_changes` are stored; None if there are none."""
    return None if changes is None else hashlib.sha256(changes.encode(errors="surrogateescape")).hexdigest()[:12]


def changes_file(folder: SweepFolder, name: str) -> Path:
    """Return the path of stored changes, a patch for `git apply`."""
    return folder.path / "provenance" / f"{name}.diff"
