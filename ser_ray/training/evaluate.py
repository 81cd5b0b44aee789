"""Predictions of whole recordings, without segmentation and in bounded memory, and their scores.

Recordings are read, convolved and fed to the LSTM chunk by chunk. The convolutional part also computes the halo of each
layer; the LSTM keeps its state from chunk to chunk. So waveforms and features of whole recordings are never in memory,
and the values are those of one pass over each whole recording.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from ser_ray.corpus import Corpus, Recording
from ser_ray.metrics import ccc_per_recording, ccc_pooled
from ser_ray.models.network import Features, LstmState, Network

CHUNK_SAMPLES = 327_680
"""Approximate number of samples of a recording that are computed at a time: 20 s."""
ALIGNED_FRAMES = 16
"""Chunks begin at multiples of this many frames, so that their rows are aligned in memory and divided into blocks as in
one pass. A matrix product may round a row differently if it is aligned differently, or lies outside all blocks."""
CPU_ROWS, GPU_ROWS = 1, 16
"""Number of recordings that go through the LSTM together. It is fixed for a device, since the size of a matrix product
determines how it is summed, and a prediction must not depend on the other recordings. One pass over one recording has
one row. On a CPU a product with one row is summed differently from one with several rows, which would be faster
(benchmarks/bench_evaluation.py). One row does not fill a GPU."""


@dataclass(frozen=True)
class Scores:
    """CCC of one partition: of each target, and "mean" over the targets.

    Args:
        pooled: one CCC over the frames of all recordings.
        per_recording: mean over the recordings' own CCC.
    """

    pooled: dict[str, float]
    per_recording: dict[str, float]


def predict_recordings(
    model: Network,
    corpus: Corpus,
    recordings: Sequence[Recording],
    *,
    shift_frames: Sequence[int] | None = None,
    on_chunk: Callable[[], None] = lambda: None,
) -> list[Float32[NDArray[np.float32], "_ targets"]]:
    """Predict whole recordings [frames, targets], on the recordings' own time.

    The network is in eval mode meanwhile. Predictions are moved later by the training's label shift, one for each
    target, with the first one repeated; None moves nothing. `on_chunk` is called after each chunk.
    """
    sources = [WaveformSource(recording.frames, partial(corpus.waveform, recording)) for recording in recordings]
    shifts = shift_frames or [0] * len(model.config.targets)
    return [delay(prediction, shifts) for prediction in predict_waveforms(model, sources, on_chunk=on_chunk)]


@dataclass(frozen=True)
class WaveformSource:
    """A whole recording, read in pieces: `read(start, stop)` returns normalised samples."""

    frames: int
    read: Callable[[int, int], Float32[NDArray[np.float32], " stop-start"]]


@torch.no_grad()
def predict_waveforms(
    model: Network,
    sources: Sequence[WaveformSource],
    *,
    chunk_frames: int | None = None,
    rows: int | None = None,
    on_chunk: Callable[[], None] = lambda: None,
) -> list[Float32[NDArray[np.float32], "_ targets"]]:
    """Predict whole recordings [frames, targets], without correction of the label shift.

    Each row of a batch takes a recording until its end, and then the next one in the queue. On a CPU, in float32 and
    with one row, the values are those of one pass: bit for bit with fused blocks, up to rounding with plain PyTorch.

    Args:
        model: the network; it is put in eval mode for this and back afterwards.
        sources: any number of recordings, of any lengths.
        chunk_frames: number of frames computed at a time, at least 2; None for about CHUNK_SAMPLES.
        rows: number of recordings that go through the LSTM together; None for CPU_ROWS or GPU_ROWS.
        on_chunk: called after each chunk.
    """
    config = model.config
    rows = rows or (CPU_ROWS if model.head.weight.device.type == "cpu" else GPU_ROWS)
    chunk_frames = chunk_frames or max(1, CHUNK_SAMPLES // config.hop // ALIGNED_FRAMES) * ALIGNED_FRAMES
    traces = [_Trace(source, np.empty((source.frames, len(config.targets)), np.float32)) for source in sources]
    was_training = model.training
    model.eval()
    try:
        if config.temporal == "lstm":
            _predict_in_rows(model, traces, chunk_frames, rows, on_chunk)
        else:
            for trace in traces:
                _predict_whole(model, trace, chunk_frames, on_chunk)
    finally:
        model.train(was_training)
    return [trace.prediction for trace in traces]


def _predict_in_rows(
    model: Network, traces: Sequence["_Trace"], chunk_frames: int, rows: int, on_chunk: Callable[[], None]
) -> None:
    """Predict recordings by an LSTM that carries its state from chunk to chunk, `rows` of them together."""
    weights, config = model.head.weight, model.config
    waiting, in_rows = deque(traces), dict[int, _Trace]()
    hidden, cell = torch.zeros(2, config.lstm_layers, rows, config.hidden, device=weights.device, dtype=weights.dtype)
    while waiting or in_rows:
        for row in range(rows):
            if row not in in_rows and waiting:
                in_rows[row] = waiting.popleft()
                in_rows[row].begin(model)
                hidden[:, row], cell[:, row] = 0, 0
        hidden, cell = _advance(model, in_rows, (hidden, cell), chunk_frames)
        in_rows = {row: trace for row, trace in in_rows.items() if trace.left}
        on_chunk()


def _predict_whole(model: Network, trace: "_Trace", chunk_frames: int, on_chunk: Callable[[], None]) -> None:
    """Predict a recording whose features, one vector per frame, are kept as a whole for the last layers.

    A bidirectional LSTM needs the last frame for the first; a head's product over all frames has one rounding.
    """
    trace.begin(model)
    pieces = []
    for start in range(0, trace.source.frames, chunk_frames):
        pieces.append(trace.features.between(start, min(start + chunk_frames, trace.source.frames)))
        on_chunk()
    outputs, _ = model.recur(torch.cat(pieces, dim=1))
    trace.take(outputs[0].cpu().numpy())


@dataclass
class _Trace:
    """A recording's prediction, the number of its frames that are done, and its features from there on."""

    source: WaveformSource
    prediction: NDArray[np.float32]
    done: int = 0
    features: Features = field(init=False)

    @property
    def left(self) -> int:
        return self.source.frames - self.done

    def begin(self, model: Network) -> None:
        """Open the recording's features; a normalisation over the recording reads it once for its statistics."""
        device, source = model.head.weight.device, self.source

        def read(start: int, stop: int) -> torch.Tensor:
            return torch.from_numpy(source.read(start, stop))[None].to(device)

        self.features = model.stream(read, source.frames)

    def next_features(self, steps: int) -> Float[torch.Tensor, "frames channels"]:
        """Compute the input of the LSTM for the next frames, at most `steps`."""
        return self.features.between(self.done, min(self.done + steps, self.source.frames))[0]

    def take(self, output: Float[NDArray[np.floating], "steps targets"]) -> None:
        """Store the next frames of an output, which may extend beyond the recording's end."""
        end = min(self.done + len(output), self.source.frames)
        self.prediction[self.done : end] = output[: end - self.done]
        self.done = end


def _advance(model: Network, in_rows: dict[int, _Trace], state: LstmState, chunk_frames: int) -> LstmState:
    """Predict the next chunk of each recording; return the LSTM's state after it."""
    hidden, _ = state
    longest = max(trace.left for trace in in_rows.values())
    # a last frame is never computed alone: a product with one row is rounded differently from one with several
    steps = longest if longest <= chunk_frames + 1 else chunk_frames
    # rows without a recording, or after its end, are padded; a unidirectional LSTM meets padding only after all frames
    features = hidden.new_zeros(hidden.shape[1], steps, model.config.features)
    for row, trace in in_rows.items():
        own = trace.next_features(steps)
        features[row, : len(own)] = own
    outputs, after = model.recur(features, state)
    assert after is not None
    for row, trace in in_rows.items():
        trace.take(outputs[row].cpu().numpy())
    return after


def delay(
    trace: Float32[NDArray[np.float32], "length targets"], frames: Sequence[int]
) -> Float32[NDArray[np.float32], "length targets"]:
    """Move each target's trace later by its number of frames, with its first value repeated."""
    sources = np.arange(len(trace))[:, None] - np.asarray(frames)
    return np.take_along_axis(trace, sources.clip(min=0), axis=0)


def gold_of(
    corpus: Corpus, recordings: Sequence[Recording], targets: Sequence[str]
) -> list[Float32[NDArray[np.float32], "_ targets"]]:
    """Read the gold standard [frames, targets] of whole recordings; NaN where there is no label."""
    columns = [corpus.targets.index(target) for target in targets]
    return [corpus.gold(recording)[:, columns] for recording in recordings]


def score(
    predictions: Sequence[Float[NDArray[np.floating], "_ targets"]],
    gold: Sequence[Float[NDArray[np.floating], "_ targets"]],
    targets: Sequence[str],
) -> Scores:
    """Compute the CCC of predictions, pooled and per recording, given one array [frames, targets] per recording.

    Recordings and frames without a label are left out. A score is NaN where a CCC does not exist.
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
