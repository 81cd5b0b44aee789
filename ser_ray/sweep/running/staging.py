"""Where a trial reads its corpus: where it lies, or from a copy on the disk of the trial's own node."""

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ser_ray.corpus.store.local_copy import local_copy

if TYPE_CHECKING:
    from ser_ray.trial import Trial


def with_staged_corpus(
    trial: "Trial", staging: str | None, look: Callable[[], None], say: Callable[[str], None] = print
) -> "Trial":
    """Return a trial that reads its corpus from this node's own disk, where that can be.

    Its key and its results do not depend on it.

    Args:
        trial: any.
        staging: folder as the sweep file has it: it may begin with ~ or a variable of the node's environment; None
            leaves the trial as it is.
        look: called again and again meanwhile; what it raises ends it.
        say: takes a line for the trial's log.

    Raises:
        InputError: if the corpus was altered since it was imported.
    """
    if staging is None:
        return trial
    path = trial.corpus.path
    given = os.path.expanduser(os.path.expandvars(staging))
    unset = re.search(r"\$\{?(\w+)", given)
    if unset or not os.path.isabs(given):
        why = f"{unset[1]} is not set" if unset else f"that is {given}, no absolute path,"
        say(f"resources.staging is {staging}, but {why} on this node: the corpus is read from {path}")
        return trial
    folder = Path(given)
    if _device(folder) == _device(path):
        say(f"resources.staging is {folder}, on the file system where the corpus lies: it is read from {path}")
        return trial
    copy = local_copy(path, folder, say, look)
    if copy == path:
        return trial
    say(f"the corpus is read from {copy}")
    return dataclasses.replace(trial, corpus=trial.corpus.at(copy))


def _device(path: Path) -> int | None:
    """Return the file system in which a path lies or would be made."""
    for place in (path, *path.parents):
        try:
            return place.stat().st_dev
        except OSError:
            continue
    return None
