"""Where a trial reads its corpus: where it lies, or from a copy on the disk of the trial's own node."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_ray.corpus.store.local_copy import staged

if TYPE_CHECKING:
    from ser_ray.corpus import Corpus
    from ser_ray.sweep.spec.config import Resources

GB = 1e9


@dataclass(frozen=True)
class Staging:
    """Where corpora are copied to on each node.

    Args:
        folder: as the sweep file has it: it may begin with ~ or a variable of the node's environment.
        limit_bytes: of all copies of this user there; None for no limit but the disk's.
    """

    folder: str
    limit_bytes: int | None = None


def staging_of(resources: "Resources") -> Staging | None:
    """Return where a sweep's trials are to have their corpus copied, or None if they read it where it lies."""
    if resources.staging is None:
        return None
    return Staging(resources.staging, None if resources.staging_gb is None else int(GB * resources.staging_gb))


def staged_corpus(
    corpus: "Corpus", staging: Staging | None, look: Callable[[], None], say: Callable[[str], None] = print
) -> "Corpus":
    """Return a corpus as it lies on this node's own disk, where that can be; nothing depends on it but speed.

    Args:
        corpus: as it lies on shared storage.
        staging: where to copy it; None leaves it where it is.
        look: called again and again meanwhile; what it raises ends it.
        say: takes a line for the trial's log.

    Raises:
        InputError: if the corpus was altered since it was imported.
    """
    if staging is None:
        return corpus
    path = corpus.path
    given = os.path.expanduser(os.path.expandvars(staging.folder))
    unset = re.search(r"\$\{?(\w+)", given)
    if unset or not os.path.isabs(given):
        why = f"{unset[1]} is not set" if unset else f"that is {given}, no absolute path,"
        say(f"resources.staging is {staging.folder}, but {why} on this node: the corpus is read from {path}")
        return corpus
    folder = Path(given)
    if _device(folder) == _device(path):
        say(f"resources.staging is {folder}, on the file system where the corpus lies: it is read from {path}")
        return corpus
    copy = staged(path, folder, staging.limit_bytes, say, look)
    if copy == path:
        return corpus
    say(f"the corpus is read from {copy}")
    return corpus.at(copy)


def _device(path: Path) -> int | None:
    """Return the file system in which a path lies or would be made."""
    for place in (path, *path.parents):
        try:
            return place.stat().st_dev
        except OSError:
            continue
    return None
