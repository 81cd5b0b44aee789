"""Check the values of a partition's gold standard: whether it is constant, and whether it lies in [-1, 1]."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.store.reader import Corpus

LEARNED_FROM = ("train", "devel")
"""Partitions in which a target must not be constant: train is learned from, devel selects the epoch."""
MOST_READ = 200
"""Most recordings read for a range; labels on another scale exceed [-1, 1] in nearly every recording."""


def is_constant(corpus: Corpus, partition: str, target: str, limit: int | None = None) -> bool:
    """Return whether a target's gold standard is constant throughout a partition, so that its CCC is 0/0.

    Only the first `limit` recordings of the partition count; by default all.
    """
    values = set[float]()
    for gold in _golds(corpus, partition, target, limit):
        values.update(map(float, np.unique(gold)[:2]))
        if len(values) > 1:
            return False
    return len(values) == 1


def range_beyond(corpus: Corpus, partition: str, target: str, limit: int | None = None) -> tuple[float, float] | None:
    """Return the smallest and largest gold value of the first recording outside [-1, 1]; None if there is none.

    At most `limit`, and at most MOST_READ, of the partition's recordings are read.
    """
    for gold in _golds(corpus, partition, target, min(limit or MOST_READ, MOST_READ)):
        if gold.size and (gold.min() < -1 or gold.max() > 1):
            return float(gold.min()), float(gold.max())
    return None


def constant_warnings(corpus: Corpus) -> list[str]:
    """Return a warning per partition and target with constant gold, with the import option that helps."""
    still = [(p, t) for t in corpus.targets for p in LEARNED_FROM if is_constant(corpus, p, t)]
    moving = [target for target in corpus.targets if target not in {still_target for _, still_target in still}]
    fix = (
        f"leave it out with --targets {' '.join(moving)}"
        if moving
        else "no other target is left to train on: correct the labels"
    )
    return [
        f"gold of {target} is constant in {partition}: its CCC counts as 0 and lowers the mean CCC that chooses the "
        f"best epoch; {fix}"
        for partition, target in still
    ]


def _golds(corpus: Corpus, partition: str, target: str, limit: int | None) -> Iterator[NDArray[np.float32]]:
    """Yield the gold values of each labelled recording, without NaN."""
    column = corpus.targets.index(target)
    for recording in corpus.recordings(partition)[:limit]:
        if recording.labelled:
            gold = corpus.gold(recording)[:, column]
            yield gold[np.isfinite(gold)]
