"""Estimation of the annotation delay of each target from a train partition: how late labels follow the audio.

Raters react seconds after what they hear. A network can absorb part of such a delay, so it is not estimated with one:
for each candidate delay a ridge regression predicts the labels from log energies around the same time, which look
neither far ahead nor far back, and the delay is the one at which recordings left out are predicted best.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy import ndimage

from ser_ray.corpus import Corpus, Recording
from ser_ray.errors import InputError
from ser_ray.models.config import SAMPLES_PER_MS
from ser_ray.models.front_ends.compression import LOG_FLOOR
from ser_ray.models.front_ends.filterbank import Filterbank
from ser_ray.training.config import (
    DELAY_WINDOW_S,
    LEAST_DELAY_S,
    LONGEST_DELAY_S,
    TrainingConfig,
    whole_frames,
)
from ser_ray.training.evaluate import gold_of

STEP_S = 0.2
"""Candidate delays, from 0 on, are this far apart; between them a parabola is laid through the best three."""
FILTERS, LEAST_WIDTH, BLOCK_FRAMES = 40, 400, 4096
"""Of the energies: filters, their least length in samples, frames computed at a time."""
RIDGE = 0.1
"""Penalty, as a share of the features' mean variance."""
LEAST_CORRELATION = 0.1
"""Of labels with their predictions; below it the target has no delay of its own."""
MOST_S = 14_400.0
"""Seconds of audio that are read; of a longer partition every second, third, ... recording, to bound memory."""
FOLDS_OF_ONE = 5
"""Parts of a recording that are left out in turn where there is only one."""


@dataclass(frozen=True)
class Delay:
    """The delay of one target, and the correlation of labels with predictions there."""

    frames: int
    correlation: float


def estimate_delays(corpus: Corpus, recordings: Sequence[Recording], targets: Sequence[str]) -> tuple[Delay, ...]:
    """Estimate the delay of each target, from 0 to LONGEST_DELAY_S.

    A target that the energies hardly predict has the mean delay of the others. Raises InputError where no recording is
    long enough, or no target can be predicted.
    """
    lags = np.round(np.arange(0, LONGEST_DELAY_S + STEP_S / 2, STEP_S) * corpus.label_rate).astype(int)
    longest = int(lags[-1])
    folds = list(_folds(corpus, recordings, targets, longest))
    if len(folds) < 2:
        raise InputError(
            f"training.estimate_delay is true, but no labelled train recording has {LEAST_DELAY_S:g} s: "
            "set label_shift_s instead"
        )
    found = []
    for column in range(len(targets)):
        correlations = np.array([_correlation(folds, int(lag), column) for lag in lags])
        best = int(correlations.argmax())
        # at the longest delay there is no summit to tell: the labels may follow later still
        correlation = float(correlations[best]) if best < len(lags) - 1 else 0.0
        found.append((_summit(correlations, best) * STEP_S * corpus.label_rate, correlation))
    own = [frames for frames, correlation in found if correlation >= LEAST_CORRELATION]
    if not own:
        raise InputError(
            "training.estimate_delay is true, but the labels of no target follow the audio at any delay up to "
            f"{LONGEST_DELAY_S:g} s: set label_shift_s instead"
        )
    mean = sum(own) / len(own)
    return tuple(
        Delay(round(frames if correlation >= LEAST_CORRELATION else mean), correlation) for frames, correlation in found
    )


def shift_frames(
    config: TrainingConfig,
    corpus: Corpus,
    recordings: Sequence[Recording],
    targets: Sequence[str],
    log: Callable[[str], None],
) -> tuple[int, ...]:
    """Return the label shift of each target in frames: the configured one, or the estimated delay, which is logged."""
    if not config.estimate_delay:
        return (whole_frames(config.label_shift_s, corpus.label_rate, "training.label_shift_s"),) * len(targets)
    delays = estimate_delays(corpus, recordings, targets)
    said = [
        f"{target} {delay.frames / corpus.label_rate:.2f} s (correlation {delay.correlation:.2f})"
        for target, delay in zip(targets, delays, strict=True)
    ]
    log(f"labels follow the audio by {', '.join(said)}")
    return tuple(delay.frames for delay in delays)


@dataclass(frozen=True)
class _Fold:
    """Frames that are left out together: features [frames, channels], and labels [frames + longest delay, targets]."""

    features: Float64[NDArray[np.float64], "frames channels"]
    gold: Float64[NDArray[np.float64], "labels targets"]

    def pairs(self, lag: int, column: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return features and the labels of one target `lag` frames later, where there is a label."""
        gold = self.gold[lag : lag + len(self.features), column]
        known = np.isfinite(gold)
        return self.features[known], gold[known]


def _folds(corpus: Corpus, recordings: Sequence[Recording], targets: Sequence[str], longest: int) -> Iterator[_Fold]:
    """Yield one fold for each recording that is longer than the longest delay, or several of the only one."""
    window = round(DELAY_WINDOW_S * corpus.label_rate)
    usable = [recording for recording in recordings if recording.labelled and recording.frames >= longest + window]
    frames = sum(recording.frames for recording in usable)
    usable = usable[:: max(1, math.ceil(frames / (MOST_S * corpus.label_rate)))]
    for recording in usable:
        features = ndimage.uniform_filter1d(_log_energies(corpus, recording), window, axis=0, mode="nearest")
        features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
        (gold,) = gold_of(corpus, [recording], targets)
        cuts = np.linspace(0, recording.frames - longest, (FOLDS_OF_ONE if len(usable) == 1 else 1) + 1).astype(int)
        for start, end in itertools.pairwise(cuts):
            yield _Fold(features[start:end], gold[start : end + longest].astype(np.float64))


@torch.no_grad()
def _log_energies(corpus: Corpus, recording: Recording) -> Float64[NDArray[np.float64], "frames filters"]:
    """Compute a log energy per frame and filter of a mel filterbank, normalised over the recording."""
    hop, samples = corpus.hop, recording.frames * corpus.hop
    bank = Filterbank(FILTERS, max(LEAST_WIDTH, hop), hop, 1000 * SAMPLES_PER_MS, "mel")
    blocks = []
    for start in range(0, recording.frames, BLOCK_FRAMES):
        first = start * hop - bank.pad_left
        last = min(start + BLOCK_FRAMES, recording.frames) * hop + bank.pad_right
        waveform = torch.from_numpy(corpus.waveform(recording, max(first, 0), min(last, samples)))
        blocks.append(bank(waveform[None, :, None], padding=(max(-first, 0), max(last - samples, 0)))[0])
    logs = torch.log(torch.cat(blocks).to(torch.float64) + LOG_FLOOR).numpy()
    scale = logs.std(axis=0)
    normalised: NDArray[np.float64] = (logs - logs.mean(axis=0)) / np.where(scale > 0, scale, 1)
    return normalised


def _correlation(folds: Sequence[_Fold], lag: int, column: int) -> float:
    """Correlate labels, over all folds, with predictions by the ridge regression of the other folds; 0 if undefined."""
    pairs = [fold.pairs(lag, column) for fold in folds]
    squares = [x.T @ x for x, _ in pairs]
    products = [x.T @ y for x, y in pairs]
    square, product = np.sum(squares, axis=0), np.sum(products, axis=0)
    penalty = RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    predictions = [
        x @ np.linalg.solve(square - own_square + penalty, product - own_product)
        for (x, _), own_square, own_product in zip(pairs, squares, products, strict=True)
    ]
    prediction, gold = np.concatenate(predictions), np.concatenate([y for _, y in pairs])
    if prediction.std() == 0 or gold.std() == 0:
        return 0.0
    return float(np.corrcoef(prediction, gold)[0, 1])


def _summit(values: Float64[NDArray[np.float64], " n"], best: int) -> float:
    """Return the place of the summit of the parabola through the largest value and its neighbours."""
    if not 0 < best < len(values) - 1:
        return best
    before, at, after = values[best - 1 : best + 2]
    curvature = before - 2 * at + after
    return best if curvature == 0 else best + 0.5 * (before - after) / curvature
