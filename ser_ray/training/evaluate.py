"""Predictions of whole recordings, without segmentation and in bounded memory, and their scores.

The convolutional part runs in chunks with each layer's own halo, the LSTM over all recordings at once with its state
carried from chunk to chunk: the values of one pass over each whole recording, at a fraction of its memory.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from ser_ray.corpus import Corpus, Recording
from ser_ray.metrics import ccc_per_recording, ccc_pooled
from ser_ray.models.network import LstmState, Network, device_of

CHUNK_FRAMES = 500
RECORDINGS_AT_ONCE = 16
"""How many recordings go through the LSTM together: their features are what evaluation keeps in memory."""


@dataclass(frozen=True)
class Scores:
    """CCC of one partition.

    Args:
        pooled: target -> one CCC over the frames of all recordings, and "mean" over the targets.
        per_recording: target -> mean over the recordings' own CCC, and "mean" over the targets.
    """

    pooled: dict[str, float]
    per_recording: dict[str, float]


def predict_recordings(
    model: Network, corpus: Corpus, recordings: Sequence[Recording], *, shift_frames: int = 0
) -> list[NDArray[np.float32]]:
    """Return the predictions of whole recordings, on the recordings' own time.

    Args:
        model: the network; it is put in eval mode for this and back afterwards.
        corpus: where the recordings lie.
        recordings: any number of them, of any lengths.
        shift_frames: the label shift of the training: predictions are moved later by it, the first one repeated.

    Returns:
        One array [frames, targets] per recording.
    """
    predictions: list[NDArray[np.float32]] = []
    for start in range(0, len(recordings), RECORDINGS_AT_ONCE):
        group = recordings[start : start + RECORDINGS_AT_ONCE]
        predictions += predict_waveforms(model, (corpus.crop(r, 0, r.frames)[0] for r in group))
    return [delay(prediction, shift_frames) for prediction in predictions]


@torch.no_grad()
def predict_waveforms(model: Network, waveforms: Iterable[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return the predictions for a few whole recordings, the label shift still in them.

    Args:
        model: the network; it is put in eval mode for this and back afterwards.
        waveforms: float32 [frames * hop], normalised, at least one of at least one frame; taken one after the other,
            so that they need not be in memory together, as their features are.

    Returns:
        One array [frames, targets] per waveform.
    """
    was_training = model.training
    model.eval()
    try:
        features = [_features(model, waveform) for waveform in waveforms]
        lengths = [len(own) for own in features]
        # Shorter recordings are padded at their end, which a unidirectional LSTM has not seen yet when it matters.
        outputs: list[torch.Tensor] = []
        state: LstmState | None = None
        for start in range(0, max(lengths), CHUNK_FRAMES):
            chunk = pad_sequence([own[start : start + CHUNK_FRAMES] for own in features], batch_first=True)
            output, state = model.recur(chunk, state)
            outputs.append(output.cpu())
    finally:
        model.train(was_training)
    predictions = torch.cat(outputs, dim=1).numpy()
    return [predictions[row, :length].copy() for row, length in enumerate(lengths)]


def _features(model: Network, waveform: NDArray[np.float32]) -> torch.Tensor:
    """Return the convolutional part's output [frames, channels] for a whole recording, on the model's device."""
    samples = torch.from_numpy(waveform)[None].to(device_of(model))
    frames = len(waveform) // model.config.hop
    features = torch.empty(frames, model.config.channels[-1], device=samples.device)
    for start in range(0, frames, CHUNK_FRAMES):
        end = min(start + CHUNK_FRAMES, frames)
        features[start:end] = model.features_between(samples, start, end)[0]
    return features


def delay(trace: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Return a trace moved later in time, its first value repeated.

    Args:
        trace: [frames, targets].
        frames: how far, at least 0.

    Returns:
        An array of the same shape.
    """
    if frames == 0:
        return trace
    return np.concatenate(
        [
            np.repeat(trace[:1], min(frames, len(trace)), axis=0),
            trace[: max(0, len(trace) - frames)],
        ]
    )


def gold_of(corpus: Corpus, recordings: Sequence[Recording], targets: Sequence[str]) -> list[NDArray[np.float32]]:
    """Return the gold standard of whole recordings.

    Args:
        corpus: where the recordings lie.
        recordings: any number of them.
        targets: which targets, all of them the corpus's.

    Returns:
        One array [frames, targets] per recording; NaN where there is no label.
    """
    columns = [corpus.targets.index(target) for target in targets]
    return [corpus.gold(recording)[:, columns] for recording in recordings]


def score(
    predictions: Sequence[NDArray[np.floating]],
    gold: Sequence[NDArray[np.floating]],
    targets: Sequence[str],
) -> Scores:
    """Return the CCC of predictions, pooled and per recording.

    Args:
        predictions: one array [frames, targets] per recording.
        gold: likewise; recordings and frames without a label are left out.
        targets: names of the columns.

    Returns:
        The scores; NaN where a CCC does not exist.
    """
    pooled, per_recording = {}, {}
    for column, target in enumerate(targets):
        pairs = [
            (p[known, column], g[known, column])
            for p, g in zip(predictions, gold, strict=True)
            if (known := np.isfinite(g[:, column])).any()
        ]
        x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        pooled[target], per_recording[target] = ccc_pooled(x, y), ccc_per_recording(x, y)
    for scores in (pooled, per_recording):
        scores["mean"] = math.fsum(scores.values()) / len(targets)
    return Scores(pooled, per_recording)
