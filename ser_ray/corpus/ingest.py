"""Imports recordings: any audio becomes 16 kHz mono int16, any regular labels become gold at frames."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_ray.corpus.labels import Labels, make_labels
from ser_ray.corpus.layouts import LAYOUTS
from ser_ray.corpus.layouts.description import Source
from ser_ray.corpus.problems import Problems
from ser_ray.corpus.progress import track
from ser_ray.corpus.schema import PARTITIONS, SAMPLE_RATE
from ser_ray.corpus.writer import CorpusWriter, check_free
from ser_ray.errors import InputError

BLOCK_S = 60
MOST_TAPS = 10**8
"""The filter bank of a resampling has the product of both rates, shortened, as its size; that of 44.1 kHz is 70560."""

LABELS_MAY_END_EARLY_S = 1.0


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Args:
        path: the corpus.
        warnings: what is legal, but may not be meant; one line each.
    """

    path: Path
    warnings: tuple[str, ...]


def import_corpus(
    layout: str,
    source: str | Path,
    out: str | Path,
    *,
    gold: str | None = None,
    targets: Sequence[str] = (),
    name: str | None = None,
) -> Imported:
    """Make a corpus from a user's recordings and labels.

    Args:
        layout: how the data lies; one of LAYOUTS.
        source: its folder.
        out: the folder to make; must not exist, or be empty.
        gold: how gold is made from single raters; None takes a given gold standard where there is one.
        targets: what to keep; empty for arousal and valence.
        name: of the corpus; None for that of the source folder.

    Returns:
        The corpus and warnings.

    Raises:
        InputError: for any mistake in the data; nothing is left at `out` then.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout is {layout!r}, but must be one of {', '.join(LAYOUTS)}")
    folder = Path(source)
    check_free(Path(out))
    description = LAYOUTS[layout](folder)
    _check_partitions(description.sources, folder)
    labels = make_labels(description.sources, method=gold, targets=targets, where=folder)
    warnings = [*labels.warnings, *_check_audio(description.sources, labels, folder)]
    if not any(s.partition == "test" for s in description.sources):
        warnings.append("there are no test recordings: scores will be on devel alone")
    with CorpusWriter(
        out,
        name=name or folder.resolve().name,
        label_rate=labels.rate,
        targets=labels.targets,
        notice=description.notice,
    ) as writer:
        for recording in track(description.sources, "importing"):
            writer.add(
                recording.name,
                recording.partition,
                recording.speaker,
                decode(recording.audio),
                labels.gold[recording.name],
                ratings=labels.ratings[recording.name],
                extra=recording.extra,
            )
    return Imported(Path(out), tuple(warnings))


def _check_partitions(sources: Sequence[Source], folder: Path) -> None:
    counts = {partition: sum(s.partition == partition for s in sources) for partition in PARTITIONS}
    for partition in ("train", "devel"):
        if not counts[partition]:
            said = ", ".join(f"{number} {p}" for p, number in counts.items())
            raise InputError(
                f"{folder} has no {partition} recordings ({said}): training needs train and devel; change the "
                "partition of some"
            )


def _check_audio(sources: Sequence[Source], labels: Labels, folder: Path) -> list[str]:
    """Refuse audio that cannot be read or outlasts its labels, by the files' headers alone; return warnings."""
    problems = Problems(folder)
    warnings = []
    for source in sources:
        with problems.collecting():
            duration_s = _duration_s(source.audio)
            gold = labels.gold[source.name]
            if gold is None:
                continue
            labelled_s = len(gold) / labels.rate
            if labelled_s < duration_s - LABELS_MAY_END_EARLY_S:
                raise InputError(
                    f"recording {source.name} has too few label rows: {len(gold)} at {labels.rate:g} Hz end after "
                    f"{labelled_s:.2f} s, but {source.audio} lasts {duration_s:.2f} s; cut the audio or add rows"
                )
            if labelled_s > duration_s + LABELS_MAY_END_EARLY_S:
                warnings.append(
                    f"labels of {source.name} go on to {labelled_s:.2f} s, {source.audio} ends at {duration_s:.2f} s: "
                    "the rest is dropped"
                )
    problems.refuse()
    return warnings


def _duration_s(path: Path) -> float:
    try:
        header = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path} cannot be read as audio ({error})") from error
    if header.frames == 0:
        raise InputError(f"{path} has zero length: it holds no samples")
    return float(header.frames / header.samplerate)


def decode(path: str | Path) -> NDArray[np.int16]:
    """Return an audio file as 16 kHz mono.

    Args:
        path: of a file in any format, rate and number of channels that soundfile reads; channels are averaged.

    Returns:
        int16 [samples]; a file that is 16-bit, mono and at 16 kHz comes sample by sample as it is.

    Raises:
        InputError: if the file cannot be read, or holds values that are not numbers.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            blocks = _mono_blocks(file, path)
            if file.samplerate != SAMPLE_RATE:
                blocks = _resampled(blocks, file.samplerate, path)
            # one array for all, since pieces and their concatenation would be twice as much
            samples, filled = np.empty(-(-file.frames * SAMPLE_RATE // file.samplerate), np.int16), 0
            for block in blocks:
                samples[filled : filled + block.size] = np.rint(np.clip(block * 32768, -32768, 32767))
                filled += block.size
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise InputError(f"{path} cannot be read as audio ({error})") from error
    return samples[:filled]


def _mono_blocks(file: soundfile.SoundFile, path: str | Path) -> Iterator[NDArray[np.float32]]:
    """Yield the mean of all channels, in blocks of whole seconds."""
    for block in file.blocks(BLOCK_S * file.samplerate, dtype="float32", always_2d=True):
        if not np.isfinite(block).all():
            raise InputError(f"{path} holds samples that are not numbers (NaN or infinity): write it again")
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)


def _resampled(blocks: Iterator[NDArray[np.float32]], rate: int, path: str | Path) -> Iterator[NDArray[np.float32]]:
    """Yield blocks at 16 kHz, as if all of them had been resampled in one.

    Args:
        blocks: float32 at `rate`, all of the same whole number of seconds but the last.
        rate: samples per second.
        path: of the file, for messages.

    Yields:
        float32 [ceil(16000 / rate * samples)] in total.
    """
    if (rate // math.gcd(rate, SAMPLE_RATE)) * (SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)) > MOST_TAPS:
        raise InputError(
            f"{path} has {rate} samples per second, too odd a rate to resample: convert it to 16 or 48 kHz"
        )
    resample = _resampler(rate)
    # Each block is resampled between some samples of its neighbours, a whole number of which falls on output samples.
    unit = rate // math.gcd(rate, SAMPLE_RATE)
    margin = unit * math.ceil(rate / 100 / unit)
    skip = margin * SAMPLE_RATE // rate
    before, current = np.zeros(margin, np.float32), next(blocks, None)
    while current is not None:
        after = next(blocks, None)
        right = np.zeros(margin, np.float32)
        if after is not None:
            right[: min(margin, after.size)] = after[:margin]
        wide = resample(np.concatenate([before, current, right]))
        yield wide[skip : skip + -(-current.size * SAMPLE_RATE // rate)]
        before, current = current[-margin:], after


def _resampler(rate: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the function from samples at a rate to samples at 16 kHz: the only user of torchaudio here."""
    import torch
    import torchaudio.functional

    def resample(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        resampled = torchaudio.functional.resample(torch.from_numpy(samples), rate, SAMPLE_RATE)
        return np.asarray(resampled.numpy(), np.float32)

    return resample
