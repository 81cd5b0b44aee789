"""The CCC of every chain of a grid in closed form, without applying any of them.

CCC needs five sums over the frames: of the prediction, its square, its product with the gold, the
gold and its square. Centring and scaling change the first three by known factors. A shift by d
changes the first two at the edges only, and the third is, over all d, a cross-correlation, which a
Fourier transform gives for all shifts at once. The median filter alone has to be run. Long
recordings go through in pieces, so that memory does not grow with the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ser_ray.postprocess.chain import SMALLEST_STD, mean_and_std
from ser_ray.postprocess.running_median import running_medians

Array = NDArray[np.float64]

# A piece of this many frames keeps its medians and their spectra within a few megabytes.
_PIECE_FRAMES = 1500


def ccc_table(predictions: Sequence[Array], gold: Sequence[Array], windows: Sequence[int], max_shift: int) -> Array:
    """Return the pooled CCC of each chain of a grid.

    Where the filtered predictions are constant there is nothing to scale, and all their CCCs are 0.

    Args:
        predictions: one finite array of frames per recording, none empty.
        gold: likewise, of the same lengths; not constant.
        windows: odd median windows in frames, each larger than the one before.
        max_shift: shifts are -max_shift .. max_shift frames.

    Returns:
        [windows, centre (off, on), scale (off, on), shifts].
    """
    gold_mean, gold_std = mean_and_std(gold)
    variance_gold = gold_std**2
    sums = _filtered_sums(predictions, [g - gold_mean for g in gold], windows, max_shift)
    frames = sum(trace.size for trace in predictions)

    fitted_mean = sums.first[:, max_shift, None] / frames
    fitted_variance = sums.second[:, max_shift, None] / frames - fitted_mean**2
    scalable = fitted_variance > SMALLEST_STD**2
    factor = np.sqrt(variance_gold / np.where(scalable, fitted_variance, np.inf))

    # Constants are fitted before the shift, so a shift leaves a small bias even after centring.
    mean = sums.first / frames
    drift = mean - fitted_mean
    variance = np.maximum(sums.second / frames - mean**2, 0.0)
    covariance = sums.product / frames
    bias = sums.reference[:, None] - gold_mean + fitted_mean
    table = np.empty((len(windows), 2, 2, 2 * max_shift + 1))
    for centre in (0, 1):
        for scale in (0, 1):
            s = factor if scale else np.ones_like(factor)
            residual = s * drift + (0.0 if centre else bias)
            psi = s**2 * variance + variance_gold + residual**2
            table[:, centre, scale] = 2 * s * covariance / psi
    return table


@dataclass(frozen=True)
class _Sums:
    """Sums over all frames of filtered and shifted predictions, [windows, shifts], after subtracting `reference`.

    Args:
        reference: [windows], one value out of each filtered trace: relative to it moments lose
            nothing to cancellation, and a constant is exactly zero.
        first: of the values.
        second: of their squares.
        product: of their products with the gold about its mean.
    """

    reference: Array
    first: Array
    second: Array
    product: Array


def _filtered_sums(
    predictions: Sequence[Array], gold: Sequence[Array], windows: Sequence[int], max_shift: int
) -> _Sums:
    longest = max(trace.size for trace in predictions)
    piece_frames = min(max(_PIECE_FRAMES, 2 * max_shift), longest)
    shape = (len(windows), 2 * max_shift + 1)
    sums = _Sums(np.zeros(len(windows)), np.zeros(shape), np.zeros(shape), np.zeros(shape))
    sums.reference[:] = _middle_medians(predictions[0], windows)
    correlation = _Correlation(len(windows), piece_frames, max_shift)
    for trace, label in zip(predictions, gold, strict=True):
        padded = np.pad(trace, windows[-1] // 2, mode="edge")
        margin = min(max_shift, trace.size)
        head, tail = np.empty((len(windows), margin)), np.empty((len(windows), margin))
        for start in range(0, trace.size, piece_frames):
            stop = min(start + piece_frames, trace.size)
            piece = correlation.room(stop - start)
            running_medians(padded[start : stop + windows[-1] - 1], windows, out=piece)
            piece -= sums.reference[:, None]
            sums.first[:] += piece.sum(axis=1)[:, None]
            sums.second[:] += np.einsum("wt,wt->w", piece, piece)[:, None]
            correlation.add(label, start, stop)
            _keep_margins(piece, start, trace.size, head, tail)
        _add_edges(sums, 1, head, tail[:, ::-1], label)
        _add_edges(sums, -1, tail[:, ::-1], head, label[::-1])
    sums.product[:] += correlation.result()
    return sums


def _middle_medians(trace: Array, windows: Sequence[int]) -> Array:
    """Return the medians [windows] about the middle frame of a recording."""
    middle = trace.size // 2
    padded = np.pad(trace, windows[-1] // 2, mode="edge")
    return running_medians(padded[middle : middle + windows[-1]], windows)[:, 0]


def _keep_margins(piece: Array, start: int, frames: int, head: Array, tail: Array) -> None:
    """Copy what a piece holds of a recording's first and last frames."""
    stop, margin = start + piece.shape[1], head.shape[1]
    if start < margin:
        held = min(stop, margin)
        head[:, start:held] = piece[:, : held - start]
    if stop > frames - margin:
        held = max(start, frames - margin)
        tail[:, held - (frames - margin) : stop - (frames - margin)] = piece[:, held - start :]


def _add_edges(sums: _Sums, sign: int, near: Array, far: Array, label: Array) -> None:
    """Add what shifts of one sign change at the two edges of a recording.

    Args:
        sums: added to in place.
        sign: 1 for shifts to later frames, -1 to earlier ones.
        near: [windows, margin], the frames at the edge whose value is repeated, that edge first.
        far: [windows, margin], the frames at the edge that are pushed out, that edge first.
        label: [frames], the gold about its mean, from the near edge on.
    """
    max_shift, margin = sums.first.shape[1] // 2, near.shape[1]
    if max_shift == 0:
        return
    shifts = np.arange(1, max_shift + 1)
    columns = max_shift + sign * shifts
    repeats = np.minimum(shifts, margin)
    edge = near[:, :1]
    sums.first[:, columns] += edge * repeats - np.cumsum(far, axis=1)[:, repeats - 1]
    sums.second[:, columns] += edge**2 * repeats - np.cumsum(far**2, axis=1)[:, repeats - 1]
    sums.product[:, columns] += edge * np.cumsum(label[:margin])[repeats - 1]


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
