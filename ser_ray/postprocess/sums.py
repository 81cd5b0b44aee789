"""Sums over frames that determine the CCC of every chain of a grid, for a set of recordings.

CCC needs five sums: of the prediction, its square, its product with the gold, the gold and its square. A shift by d
changes the first two only at the edges. The third is, over all d, a cross-correlation, which a Fourier transform gives
for all shifts at once. Only the median filter has to be run. Sums of several sets of recordings add up to those of all
of them. So a large partition can be divided between processes, and parts can be left out, without reading frames again.
Long recordings are summed in pieces, so that memory does not grow with the data.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft

from ser_ray.postprocess.chain import Array
from ser_ray.postprocess.running_median import running_medians

# A piece of this many frames keeps its medians and their spectra within a few megabytes.
_PIECE_FRAMES = 1500


@dataclass(frozen=True, eq=False)
class References:
    """Values subtracted before anything is summed, so that moments lose no digits by cancellation.

    For the prediction [windows], one value of each filtered trace: less this value a constant is exactly zero. For the
    gold, a value near its mean.
    """

    prediction: Array
    gold: float


@dataclass(frozen=True, eq=False)
class GridSums:
    """Sums over the frames of a set of recordings, relative to references.

    Args:
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
    """Choose the references of a partition, given one of its recordings [frames] and the mean of all its gold."""
    middle = prediction.size // 2
    padded = np.pad(prediction, windows[-1] // 2, mode="edge")
    return References(running_medians(padded[middle : middle + windows[-1]], windows)[:, 0], gold_mean)


def added(sums: Iterable[GridSums]) -> GridSums:
    """Add the sums of one or more sets of recordings, all relative to the same references."""
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
    """Compute the sums of recordings over ascending odd windows; each recording is a finite, non-empty array of frames.

    Shifts are -max_shift .. max_shift frames. Sets of recordings whose sums are added must have the same references.
    """
    first, second = np.zeros(len(windows)), np.zeros(len(windows))
    later, earlier = _Edges(len(windows), max_shift), _Edges(len(windows), max_shift)
    longest = max(_PIECE_FRAMES, 2 * max_shift)
    correlations: dict[
        int, _Correlation
    ] = {}  # by capacity in frames, so that short pieces are not padded to the longest
    gold_first = gold_second = 0.0
    for trace, true in zip(predictions, gold, strict=True):
        label = true - references.gold
        gold_first += float(label.sum())
        gold_second += float(label @ label)
        padded = np.pad(trace, windows[-1] // 2, mode="edge")
        margin = min(max_shift, trace.size)
        head, tail = np.empty((len(windows), margin)), np.empty((len(windows), margin))
        for start in range(0, trace.size, longest):
            stop = min(start + longest, trace.size)
            capacity = min(longest, 1 << (stop - start - 1).bit_length())
            if capacity not in correlations:
                correlations[capacity] = _Correlation(len(windows), capacity, max_shift)
            correlation = correlations[capacity]
            piece = correlation.buffer(stop - start)
            running_medians(padded[start : stop + windows[-1] - 1], windows, out=piece)
            piece -= references.prediction[:, None]
            first += piece.sum(axis=1)
            second += np.einsum("wt,wt->w", piece, piece)
            correlation.add(label, start, stop)
            _keep_margins(piece, start, trace.size, head, tail)
        later.add(head, tail[:, ::-1], label)
        earlier.add(tail[:, ::-1], head, label[::-1])
    product = sum(correlation.result() for correlation in correlations.values())
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
    """Copy a recording's first and last frames as far as a piece contains them."""
    stop, margin = start + piece.shape[1], head.shape[1]
    if start < margin:
        held = min(stop, margin)
        head[:, start:held] = piece[:, : held - start]
    if stop > frames - margin:
        held = max(start, frames - margin)
        tail[:, held - (frames - margin) : stop - (frames - margin)] = piece[:, held - start :]


class _Edges:
    """Changes of the sums by shifts in one direction, at the edges of recordings.

    Each further frame of a shift pushes one frame out at the far edge and repeats the value of the near edge once more.
    So changes are summed over recordings frame by frame, and cumulated over frames at the end.
    """

    def __init__(self, windows: int, max_shift: int) -> None:
        self._changes = np.zeros((3, windows, max_shift))

    def add(self, near: Array, far: Array, label: Array) -> None:
        """Add a recording; its label [frames] (the gold less its reference) is counted from the near edge.

        `near` [windows, margin] are the frames at the edge whose value is repeated, `far` those that are pushed out,
        each with its edge first. The margin is the largest shift, or the length of a shorter recording.
        """
        margin = near.shape[1]
        first, second, product = self._changes[..., :margin]
        edge = near[:, :1]
        first += edge - far
        second += edge**2 - far**2
        product += edge * label[:margin]

    def changes(self) -> Array:
        """Compute the changes of first, second and product by shifts of 1, 2, ... frames: [3, windows, shifts]."""
        return np.cumsum(self._changes, axis=2)


class _Correlation:
    """Cross-correlations of filtered traces with the gold, summed over pieces of at most `piece_frames`."""

    def __init__(self, windows: int, piece_frames: int, max_shift: int) -> None:
        self._max_shift = max_shift
        self._frames = 0
        # With space for the shifts on both sides, the circular correlation never wraps around.
        length = fft.next_fast_len(piece_frames + 2 * max_shift, real=True)
        self._buffer = np.zeros((windows, length))
        self._spectrum = np.zeros((windows, length // 2 + 1 if max_shift else 1), np.complex128)

    def buffer(self, frames: int) -> Array:
        """Return an array [windows, frames] to write a piece into before `add`."""
        self._buffer[:, frames : self._frames] = 0
        self._frames = frames
        return self._buffer[:, :frames]

    def add(self, label: Array, start: int, stop: int) -> None:
        """Add the piece in `buffer`, frames `start` to `stop` of the recording with gold `label`."""
        if self._max_shift == 0:
            self._spectrum[:, 0] += np.einsum("wt,t->w", self._buffer[:, : stop - start], label[start:stop])
            return
        length, first = self._buffer.shape[1], start - self._max_shift
        low, high = max(first, 0), min(stop + self._max_shift, label.size)
        around = np.zeros(length)
        around[low - first : high - first] = label[low:high]
        spectrum = fft.rfft(self._buffer, axis=1)
        spectrum *= np.conj(fft.rfft(around))
        self._spectrum += spectrum

    def result(self) -> Array:
        """Compute the sums over frames of prediction[t] * gold[t + shift], [windows, shifts]."""
        if self._max_shift == 0:
            return self._spectrum.real
        lags: Array = fft.irfft(np.conj(self._spectrum), self._buffer.shape[1], axis=1)
        return lags[:, : 2 * self._max_shift + 1]
