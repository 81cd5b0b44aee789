"""The devel partition as input of a search: one target's predictions and gold, and its folds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ser_ray.errors import InputError
from ser_ray.postprocess.chain import Array, checked_traces
from ser_ray.postprocess.grid import Grid, whole
from ser_ray.postprocess.sums import GridSums, grid_sums, references_of

MAX_FOLDS = 10
"""Folds of a cross-fit: nine tenths of devel choose nearly the same chain as all, and each fold's sums take 3 MB."""


@dataclass(frozen=True, eq=False)
class Devel:
    """One target's predictions and gold [frames] on devel, recordings concatenated, of `lengths` frames each.

    Folds are numbers of recordings; each recording is in one fold.
    """

    predictions: NDArray[np.floating]
    gold: NDArray[np.floating]
    lengths: tuple[int, ...]
    folds: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, predictions: Sequence[ArrayLike], gold: Sequence[ArrayLike], folds: int = 1) -> "Devel":
        """Make the devel partition from predictions and gold, one array per recording each, in at most `folds` folds.

        Raises InputError if recordings or lengths do not match, there are none, one is empty, values are not finite, or
        there are no folds.
        """
        if whole("folds", folds) < 1:
            raise InputError(f"folds is {folds}, but must be at least 1: 1 makes no estimate for unseen recordings")
        lengths = _checked_lengths(predictions, gold)
        return cls(
            np.concatenate([np.asarray(trace) for trace in predictions]),
            np.concatenate([np.asarray(trace) for trace in gold]),
            lengths,
            folds_of(lengths, folds),
        )

    def traces(self, recordings: Iterable[int] | None = None) -> tuple[list[Array], list[Array]]:
        """Return predictions and gold of some or all recordings, as one float64 array of frames each."""
        ends = np.cumsum(self.lengths)
        chosen = range(len(self.lengths)) if recordings is None else recordings
        parts = [slice(ends[r] - self.lengths[r], ends[r]) for r in chosen]
        predictions, gold = (
            [np.asarray(values[part], np.float64) for part in parts] for values in (self.predictions, self.gold)
        )
        return predictions, gold

    def sums(self, grid: Grid, fold: int) -> GridSums:
        """Compute the sums of one fold over a grid, relative to the references of the whole partition."""
        (first, *_), _ = self.traces((0,))
        references = references_of(first, float(self.gold.mean(dtype=np.float64)), grid.windows)
        return grid_sums(*self.traces(self.folds[fold]), grid.windows, grid.max_shift_frames, references)


def folds_of(lengths: Sequence[int], folds: int) -> tuple[tuple[int, ...], ...]:
    """Divide recordings into at most `folds` folds of about equal length; their numbers are ascending within a fold.

    The same lengths give the same folds.
    """
    assert folds >= 1
    members: list[list[int]] = [[] for _ in range(min(folds, len(lengths)))]
    frames = [0] * len(members)
    for recording in sorted(range(len(lengths)), key=lambda r: -lengths[r]):  # the longest first, to the shortest fold
        shortest = min(range(len(members)), key=lambda fold: (frames[fold], len(members[fold])))
        members[shortest].append(recording)
        frames[shortest] += lengths[recording]
    return tuple(tuple(sorted(fold)) for fold in members)


def _checked_lengths(predictions: Sequence[ArrayLike], gold: Sequence[ArrayLike]) -> tuple[int, ...]:
    if len(predictions) != len(gold):
        raise InputError(f"predictions of {len(predictions)} recordings, but gold of {len(gold)}: a search needs both")
    x, y = checked_traces("predictions", predictions), checked_traces("gold", gold)
    if not x:
        raise InputError("predictions hold no recordings: a search needs those of the devel partition")
    for index, (p, g) in enumerate(zip(x, y, strict=True)):
        if p.size != g.size:
            raise InputError(
                f"recording {index} has {p.size} predicted frames, but {g.size} gold frames: cut them to one length"
            )
        if not p.size:
            raise InputError(f"recording {index} is empty: leave it out")
    return tuple(p.size for p in x)
