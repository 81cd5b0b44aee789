"""Score a ridge regression on functionals, the baseline that networks are compared with.

    python results/ridge.py CORPUS...

Each corpus is scored by itself. The 54 features are mean, deviation and root mean square difference of 18 descriptors
over 4 s, normalised over each recording. Penalty and delay of each target are those whose predictions correlate best
with devel; the chain is the exhaustive search's on devel.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from ser_ray.corpus import Corpus, Recording, open_corpus
from ser_ray.errors import InputError
from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess import apply, search_exhaustive
from ser_ray.process import guarded

RATE_HZ = 16_000
WIDTH, HOP, POINTS = 400, 160, 512
WINDOW_S = 4.0
DELAYS_S = np.arange(0, 8.1, 0.2)
FLOOR = 1e-4
PENALTIES = 10.0 ** np.arange(0, 6)
"""Against features of unit variance over all train frames."""

Array = NDArray[np.float64]


def main(argv: Sequence[str] | None = None) -> int:
    """Score each corpus and print a line per target."""
    folders = list(sys.argv[1:] if argv is None else argv)
    if not folders:
        raise InputError("ridge.py takes CORPUS...")
    for folder in folders:
        corpus = open_corpus(Path(folder))
        for target, (raw, searched, delay_s) in score(corpus).items():
            print(f"{folder} {target}: test raw {raw:.3f}, after the search {searched:.3f}; delay {delay_s:.1f} s")
    return 0


def score(corpus: Corpus) -> Mapping[str, tuple[float, float, float]]:
    """Return the CCC on test before and after the search, and the delay, of each target."""
    for partition in ("train", "devel", "test"):
        if not any(recording.labelled for recording in corpus.recordings(partition)):
            raise InputError(
                f"{corpus.path} has no labelled recordings in {partition}: all three partitions are needed"
            )
    features = {
        recording.name: functionals(corpus, recording)
        for partition in ("train", "devel", "test")
        for recording in corpus.recordings(partition)
        if recording.labelled
    }
    return {target: _score_target(corpus, features, column) for column, target in enumerate(corpus.targets)}


def _score_target(corpus: Corpus, features: Mapping[str, Array], column: int) -> tuple[float, float, float]:
    def of(partition: str) -> tuple[list[Array], list[Array]]:
        own = [recording for recording in corpus.recordings(partition) if recording.labelled]
        return [features[r.name] for r in own], [corpus.gold(r)[:, column].astype(np.float64) for r in own]

    best, found = -2.0, None
    for delay_s in DELAYS_S:
        frames = round(delay_s * corpus.label_rate)
        fits = fit(*of("train"), frames)
        inputs, gold = of("devel")
        for weights in fits:
            predictions = [predict(x, weights, frames) for x in inputs]
            devel = np.corrcoef(np.concatenate(predictions), np.concatenate(gold))[0, 1]
            if devel > best:
                best, found = devel, (weights, frames, predictions)
    assert found is not None
    weights, frames, predictions = found
    chain = search_exhaustive(predictions, of("devel")[1]).chain
    inputs, gold = of("test")
    predictions = [predict(x, weights, frames) for x in inputs]
    return ccc_pooled(predictions, gold), ccc_pooled(apply(chain, predictions), gold), frames / corpus.label_rate


def fit(inputs: Sequence[Array], gold: Sequence[Array], delay: int) -> list[Array]:
    """Fit weights and a constant for each penalty, with labels moved earlier by a delay."""
    pairs = [(x[: len(x) - delay], y[delay:]) for x, y in zip(inputs, gold, strict=True)]
    x, y = np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])
    known = np.isfinite(y)
    x, y = x[known], y[known]
    mean = x.mean(axis=0)
    square, product = (x - mean).T @ (x - mean), (x - mean).T @ (y - y.mean())
    solutions = [np.linalg.solve(square + penalty * np.eye(len(square)), product) for penalty in PENALTIES]
    return [np.append(weights, y.mean() - mean @ weights) for weights in solutions]


def predict(x: Array, weights: Array, delay: int) -> Array:
    """Predict a recording and move the prediction later by a delay, its first value repeated."""
    prediction = x @ weights[:-1] + weights[-1]
    moved: Array = np.concatenate([np.repeat(prediction[:1], delay), prediction])[: len(prediction)]
    return moved


def functionals(corpus: Corpus, recording: Recording) -> Array:
    """Compute 54 features per label frame, [frames, 54], each of zero mean and unit deviation over the recording."""
    own = descriptors(corpus.waveform(recording, 0, recording.frames * corpus.hop).astype(np.float64))
    size = round(WINDOW_S * RATE_HZ / HOP)
    mean, square, change = (
        ndimage.uniform_filter1d(x, size, axis=0, mode="nearest") for x in (own, own**2, np.gradient(own, axis=0) ** 2)
    )
    over = np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0)), np.sqrt(change)], axis=1)
    middle = (np.arange(recording.frames) * corpus.hop + corpus.hop // 2) // HOP
    features = over[np.minimum(middle, len(over) - 1)]
    return np.asarray((features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9))


def descriptors(samples: Array) -> Array:
    """Compute 18 descriptors every 10 ms.

    Log energy, 12 MFCC, centroid, tilt, roll-off at 85 %, log pitch and its strength. To all power a share of the
    recording's mean power is added, so that pauses do not outweigh speech.
    """
    window = np.hanning(WIDTH)
    padded = np.pad(samples, (WIDTH // 2, WIDTH))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WIDTH)[: len(samples) : HOP] * window
    power = np.abs(fft.rfft(frames, POINTS, axis=1)) ** 2
    power += FLOOR * power.mean() + 1e-12
    hz = np.arange(power.shape[1]) * RATE_HZ / POINTS
    total = power.sum(axis=1)
    cepstrum = fft.dct(np.log(power @ mel_bands(hz, 26).T), norm="ortho", axis=1)[:, 1:13]
    centroid = power @ hz / total
    tilt = np.log(power) @ (hz - hz.mean()) / ((hz - hz.mean()) ** 2).sum()
    roll_off = hz[np.minimum((np.cumsum(power, axis=1) < 0.85 * total[:, None]).sum(axis=1), len(hz) - 1)]
    lags = np.arange(RATE_HZ // 400, RATE_HZ // 70)
    correlation, of_window = (
        fft.irfft(np.abs(fft.rfft(x, 2 * POINTS)) ** 2, axis=-1)[..., [0, *lags]] for x in (frames, window)
    )
    correlation = correlation[:, 1:] / (correlation[:, :1] + 1e-9) / (of_window[1:] / of_window[0])
    pitch = np.log(RATE_HZ / lags[correlation.argmax(axis=1)])
    return np.column_stack([np.log(total), cepstrum, centroid, tilt, roll_off, pitch, correlation.max(axis=1)])


def mel_bands(hz: Array, bands: int) -> Array:
    """Make triangular bands [bands, bins], evenly spaced in mel from 50 to 7,900 Hz."""
    mel = 2595 * np.log10(1 + np.array([50.0, 7900.0]) / 700)
    edges = 700 * (10 ** (np.linspace(*mel, bands + 2) / 2595) - 1)
    rising = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


if __name__ == "__main__":
    sys.exit(guarded(main))
