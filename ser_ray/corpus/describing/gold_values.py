"""What values the gold of a partition takes: whether it moves at all, and whether it lies in [-1, 1]."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.store.reader import Corpus

LEARNED_FROM = ("train", "devel")
"""Partitions in which a target must move: a network learns from one, the other chooses its epoch."""
MOST_READ = 200
"""Recordings: labels on another scale leave [-1, 1] in nearly every one."""


def is_constant(corpus: Corpus, partition: str, target: str, limit: int | None = None) -> bool:
    """Return whether a target's gold has one value throughout a partition, so that its CCC is 0/0.

    `limit` is how many of its recordings count, from the first on.
    """
    values = set[float]()
    for gold in _golds(corpus, partition, target, limit):
        values.update(map(float, np.unique(gold)[:2]))
        if len(values) > 1:
            return False
    return len(values) == 1


def range_beyond(corpus: Corpus, partition: str, target: str, limit: int | None = None) -> tuple[float, float] | None:
    """Return the least and the largest gold of the first recording that leaves [-1, 1]; None where none does.

    At most `limit`, and at most MOST_READ, of the partition's recordings are read.
    """
    for gold in _golds(corpus, partition, target, min(limit or MOST_READ, MOST_READ)):
        if gold.size and (gold.min() < -1 or gold.max() > 1):
            return float(gold.min()), float(gold.max())
    return None


def constant_warnings(corpus: Corpus) -> list[str]:
    """Return a line per partition and target whose gold does not move, with the option of the import that helps."""
    still = [(p, t) for t in corpus.targets for p in LEARNED_FROM if is_constant(corpus, p, t)]
    moving = [target for target in corpus.targets if target not in {still_target for _, still_target in still}]
    fix = f"leave it out with --targets {' '.join(moving)}" if moving else "no target is left to train on: label anew"
    return [
        f"gold of {target} is constant in {partition}: its CCC counts 0 and lowers the mean that chooses epochs; {fix}"
        for partition, target in still
    ]


def _golds(corpus: Corpus, partition: str, target: str, limit: int | None) -> Iterator[NDArray[np.float32]]:
    """Yield the gold of each labelled recording, without frames that have none."""
    column = corpus.targets.index(target)
    for recording in corpus.recordings(partition)[:limit]:
        if recording.labelled:
            gold = corpus.gold(recording)[:, column]
            yield gold[np.isfinite(gold)]
