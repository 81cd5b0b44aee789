"""The sums over frames from which the CCC of every chain of a grid follows, for a set of recordings.

CCC needs five sums: of the prediction, its square, its product with the gold, the gold and its square. A shift by d
changes the first two at the edges only, and the third is, over all d, a cross-correlation, which a Fourier transform
gives for all shifts at once. The median filter alone has to be run. Sums of several sets of recordings add up to those
of all of them: so a large partition is shared out, and parts are left out of it, without looking at its frames again.
Long recordings go through in pieces, so that memory does not grow with the data.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ser_ray.postprocess.running_median import running_medians

Array = NDArray[np.float64]

# A piece of this many frames keeps its medians and their spectra within a few megabytes.
_PIECE_FRAMES = 1500


@dataclass(frozen=True, eq=False)
class References:
    """What is subtracted before anything is summed, so that moments lose nothing to cancellation.

    Args:
        prediction: [windows], one value out of each filtered trace: relative to it a constant is exactly zero.
        gold: a value near the mean of the gold.
    """

    prediction: Array
    gold: float


@dataclass(frozen=True, eq=False)
class GridSums:
    """Sums over the frames of a set of recordings, relative to references.

    Args:
        references: what they are relative to.
        frames: how many.
        first: [windows, shifts], of the filtered and shifted predictions.
        second: [windows, shifts], of their squares.
        product: [windows, shifts], of their products with the gold.
        gold_first: of the gold.
        gold_second: of its squares.
    """

    references: References
    frames: int
    first: Array
    second: Array
    product: Array
    gold_first: float
    gold_second: float

    @property
    def max_shift(self) -> int:
        """The largest shift; shifts are -max_shift .. max_shift frames."""
        return int(self.first.shape[1]) // 2


def references_of(prediction: Array, gold_mean: float, windows: Sequence[int]) -> References:
    """Return references for the recordings of a partition.

    Args:
        prediction: [frames] of any of its recordings, not empty.
        gold_mean: of all its gold.
        windows: odd median windows in frames, each larger than the one before.
    """
    middle = prediction.size // 2
    padded = np.pad(prediction, windows[-1] // 2, mode="edge")
    return References(running_medians(padded[middle : middle + windows[-1]], windows)[:, 0], gold_mean)


def added(sums: Iterable[GridSums]) -> GridSums:
    """Return the sums of several sets of recordings together, at least one, all relative to the same references."""
    first, *rest = sums
    if not rest:
        return first
    total = replace(first, first=first.first.copy(), second=first.second.copy(), product=first.product.copy())
    for one in rest:
        total.first[:] += one.first
        total.second[:] += one.second
        total.product[:] += one.product
    every = (first, *rest)
    return replace(
        total,
        frames=sum(one.frames for one in every),
        gold_first=sum(one.gold_first for one in every),
        gold_second=sum(one.gold_second for one in every),
    )


def grid_sums(
    predictions: Sequence[Array], gold: Sequence[Array], windows: Sequence[int], max_shift: int, references: References
) -> GridSums:
    """Return the sums of some recordings.

    Args:
        predictions: one finite array of frames per recording, none empty.
        gold: likewise, of the same lengths.
        windows: odd median windows in frames, each larger than the one before.
        max_shift: shifts are -max_shift .. max_shift frames.
        references: the same for all sets of recordings that are to be added up.
    """
    first, second = np.zeros(len(windows)), np.zeros(len(windows))
    later, earlier = _Edges(len(windows), max_shift), _Edges(len(windows), max_shift)
    correlations = _Correlations(len(windows), max_shift)
    gold_first = gold_second = 0.0
    for trace, true in zip(predictions, gold, strict=True):
        label = true - references.gold
        gold_first += float(label.sum())
        gold_second += float(label @ label)
        padded = np.pad(trace, windows[-1] // 2, mode="edge")
        margin = min(max_shift, trace.size)
        head, tail = np.empty((len(windows), margin)), np.empty((len(windows), margin))
        piece_frames = max(_PIECE_FRAMES, 2 * max_shift)
        for start in range(0, trace.size, piece_frames):
            stop = min(start + piece_frames, trace.size)
            correlation = correlations.of(stop - start)
            piece = correlation.room(stop - start)
            running_medians(padded[start : stop + windows[-1] - 1], windows, out=piece)
            piece -= references.prediction[:, None]
            first += piece.sum(axis=1)
            second += np.einsum("wt,wt->w", piece, piece)
            correlation.add(label, start, stop)
            _keep_margins(piece, start, trace.size, head, tail)
        later.add(head, tail[:, ::-1], label)
        earlier.add(tail[:, ::-1], head, label[::-1])
    product = correlations.result()
    zeros = np.zeros((len(windows), 1))
    moved = [
        np.concatenate([back[:, ::-1], zeros, forth], axis=1)
        for back, forth in zip(earlier.changes(), later.changes(), strict=True)
    ]
    return GridSums(
        references,
        sum(trace.size for trace in predictions),
        first[:, None] + moved[0],
        second[:, None] + moved[1],
        product + moved[2],
        gold_first,
        gold_second,
    )


def _keep_margins(piece: Array, start: int, frames: int, head: Array, tail: Array) -> None:
    """Copy what a piece holds of a recording's first and last frames."""
    stop, margin = start + piece.shape[1], head.shape[1]
    if start < margin:
        held = min(stop, margin)
        head[:, start:held] = piece[:, : held - start]
    if stop > frames - margin:
        held = max(start, frames - margin)
        tail[:, held - (frames - margin) : stop - (frames - margin)] = piece[:, held - start :]


class _Edges:
    """What shifts in one direction change of the sums, at the edges of recordings.

    With each further frame of a shift, one frame is pushed out at the far edge, and the value of the near edge comes in
    once more: so changes are summed over recordings frame by frame, and over frames in the end.

    Args:
        windows: number of filtered traces.
        max_shift: the largest shift in frames.
    """

    def __init__(self, windows: int, max_shift: int) -> None:
        self._changes = np.zeros((3, windows, max_shift))

    def add(self, near: Array, far: Array, label: Array) -> None:
        """Add a recording.

        Args:
            near: [windows, margin], the frames at the edge whose value is repeated, that edge first; the margin is the
                largest shift, or the length of a shorter recording.
            far: [windows, margin], the frames at the edge that are pushed out, that edge first.
            label: [frames], the gold about its reference, from the near edge on.
        """
        margin = near.shape[1]
        first, second, product = self._changes[..., :margin]
        edge = near[:, :1]
        first += edge - far
        second += edge**2 - far**2
        product += edge * label[:margin]

    def changes(self) -> Array:
        """Return the changes of first, second and product, [3, windows, shifts], of shifts by 1, 2, ... frames."""
        return np.cumsum(self._changes, axis=2)


class _Correlations:
    """Cross-correlations of filtered traces with the gold, summed over pieces of any length.

    Args:
        windows: number of filtered traces.
        max_shift: shifts are -max_shift .. max_shift frames.
    """

    def __init__(self, windows: int, max_shift: int) -> None:
        self._windows, self._max_shift = windows, max_shift
        self._by_frames: dict[int, _Correlation] = {}

    def of(self, frames: int) -> "_Correlation":
        """Return what takes pieces of so many frames: short ones need not be as long as the longest."""
        longest = max(_PIECE_FRAMES, 2 * self._max_shift)
        room = min(longest, 1 << (frames - 1).bit_length())
        if room not in self._by_frames:
            self._by_frames[room] = _Correlation(self._windows, room, self._max_shift)
        return self._by_frames[room]

    def result(self) -> Array | float:
        """Return the sums over frames of prediction[t] * gold[t + shift], [windows, shifts]."""
        return sum(correlation.result() for correlation in self._by_frames.values())


class _Correlation:
    """Cross-correlations of filtered traces with the gold, for all shifts, summed over pieces.

    Args:
        windows: number of filtered traces.
        piece_frames: most frames of a piece.
        max_shift: shifts are -max_shift .. max_shift frames.
    """

    def __init__(self, windows: int, piece_frames: int, max_shift: int) -> None:
        self._max_shift = max_shift
        self._frames = 0
        # With room for the shifts on both sides the circular correlation never wraps into them.
        length = fft.next_fast_len(piece_frames + 2 * max_shift, real=True)
        self._room = np.zeros((windows, length))
        self._spectrum = np.zeros((windows, length // 2 + 1 if max_shift else 1), np.complex128)

    def room(self, frames: int) -> Array:
        """Return an array [windows, frames] to write a piece into before `add`."""
        self._room[:, frames : self._frames] = 0
        self._frames = frames
        return self._room[:, :frames]

    def add(self, label: Array, start: int, stop: int) -> None:
        """Add the piece in `room`, frames `start` to `stop` of the recording with gold `label`."""
        if self._max_shift == 0:
            self._spectrum[:, 0] += np.einsum("wt,t->w", self._room[:, : stop - start], label[start:stop])
            return
        length, first = self._room.shape[1], start - self._max_shift
        low, high = max(first, 0), min(stop + self._max_shift, label.size)
        around = np.zeros(length)
        around[low - first : high - first] = label[low:high]
        spectrum = fft.rfft(self._room, axis=1)
        spectrum *= np.conj(fft.rfft(around))
        self._spectrum += spectrum

    def result(self) -> Array:
        """Return the sums over frames of prediction[t] * gold[t + shift], [windows, shifts]."""
        if self._max_shift == 0:
            return self._spectrum.real
        lags: Array = fft.irfft(np.conj(self._spectrum), self._room.shape[1], axis=1)
        return lags[:, : 2 * self._max_shift + 1]
