"""Inspect a shard, or a recording in it, for problems; `check` explains their grades."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.store.manifest import altered, check_size, sha256_of
from ser_ray.corpus.store.schema import SAMPLE_RATE, SHARDS, Recording, Shard
from ser_ray.corpus.store.shards import ShardMap, moments
from ser_ray.errors import InputError

FULL_SCALE = 32767
CLIPPED_SHARE, CLIPPED_RUN = 1e-4, 4
"""Loud speech reaches full scale in single samples; clipped speech stays there for several samples, repeatedly."""

SILENT_STD = 10.0
"""Standard deviation of int16 samples in 0.1 s: 70 dB below full scale. Microphones in quiet rooms exceed it."""
SILENT_STEP = SAMPLE_RATE // 10
SILENT_S, SILENT_SHARE = 5.0, 0.5

LABEL_LIMIT = 1 + 1e-6
"""Labels lie in [-1, 1]; the margin allows for rounding to float32."""

BLOCK = 600 * SILENT_STEP
"""Samples inspected at once: a minute, so that memory use does not grow with the recording's length."""


@dataclass(frozen=True)
class CheckFinding:
    """One problem: "wrong" (must not be trained on) or "warning" (legal, but may not be intended).

    `kind` is a category such as "clipping"; the message is one line that names the shard or recording.
    """

    grade: Literal["wrong", "warning"]
    kind: str
    message: str


@dataclass(frozen=True)
class Inspected:
    """Result of inspecting a shard or a recording.

    `digest` is the hash of a recording's samples, empty if they cannot be read; `batches` is the number of recordings
    in a shard, 0 if it cannot be read.
    """

    findings: tuple[CheckFinding, ...]
    digest: bytes = b""
    batches: int = 0


def inspect_shard(shard: Shard, folder: Path, targets: tuple[str, ...]) -> Inspected:
    """Check a shard file's length, hash and schema; return the problems."""
    path = folder / SHARDS / shard.name
    try:
        check_size(folder, shard)
    except InputError as error:
        return Inspected((CheckFinding("wrong", "shard", str(error)),))
    findings = []
    found = sha256_of(path)
    if found != shard.sha256:
        findings.append(CheckFinding("wrong", "hash", str(altered(path, found, shard.sha256))))
    try:
        batches = ShardMap(path, targets).batches
    except InputError as error:
        return Inspected((*findings, CheckFinding("wrong", "shard", str(error))))
    return Inspected(tuple(findings), batches=batches)


def inspect_recording(recording: Recording, folder: Path, targets: tuple[str, ...], hop: int) -> Inspected:
    """Check a recording in a readable shard; return what is wrong or suspicious."""
    try:
        shard = ShardMap(folder / SHARDS / recording.shard, targets)
        batch, raters = shard.batch(recording.batch), shard.raters(recording.batch)
    except InputError as error:
        return Inspected((CheckFinding("wrong", "batch", f"{recording.name}: {error}"),))
    audio = batch.column("audio")[0].values.to_numpy(zero_copy_only=True)
    shard.announce(audio)
    findings = [*_length(recording, audio, hop), *_sound(recording, audio)]
    for target in targets:
        findings += _gold(recording, target, batch.column(f"gold_{target}")[0])
    for entry in raters if raters.is_valid else ():
        findings += _ratings(recording, f"{entry['target']} of rater {entry['rater']}", entry["ratings"])
    return Inspected(tuple(findings), blake2b(audio, digest_size=16).digest())


def _length(recording: Recording, audio: NDArray[np.int16], hop: int) -> Iterator[CheckFinding]:
    if audio.size != recording.samples or audio.size != recording.frames * hop:
        yield CheckFinding(
            "wrong",
            "length",
            f"{recording.name}: has {audio.size} samples, but the index says {recording.samples} samples and "
            f"{recording.frames} frames of {hop}",
        )
    if audio.size:
        mean, std = moments(audio)
        if not np.allclose([mean, std], [recording.mean, recording.std], rtol=1e-9, atol=1e-9):
            yield CheckFinding(
                "wrong",
                "moments",
                f"{recording.name}: samples have mean {mean:.6g} and deviation {std:.6g}, but the index says "
                f"{recording.mean:.6g} and {recording.std:.6g}",
            )


def _sound(recording: Recording, audio: NDArray[np.int16]) -> Iterator[CheckFinding]:
    share, run = clipping(audio)
    if share >= CLIPPED_SHARE and run >= CLIPPED_RUN:
        at_once = f"up to {run} in a row ({1000 * run / SAMPLE_RATE:.1f} ms)"
        message = f"{recording.name}: {share:.2%} of its samples are at full scale, {at_once}: clipped?"
        yield CheckFinding("warning", "clipping", message)
    share, longest_s = silence(audio)
    if longest_s >= SILENT_S or share >= SILENT_SHARE:
        message = (
            f"{recording.name}: silent (below -70 dBFS) for up to {longest_s:.1f} s in a row and {share:.1%} in total"
        )
        yield CheckFinding("warning", "silence", message)


def clipping(audio: NDArray[np.int16]) -> tuple[float, int]:
    """Return the share of int16 samples at full scale, and the length of their longest run.

    Clipping that happened before the audio was attenuated or resampled is not detected.
    """
    count, longest = true_runs((block >= FULL_SCALE) | (block <= -FULL_SCALE) for block in _blocks(audio))
    return count / max(1, audio.size), longest


def silence(audio: NDArray[np.int16]) -> tuple[float, float]:
    """Return the share of silent tenths of a second, and the length of the longest silence in seconds.

    A tenth of a second is silent if its standard deviation is below SILENT_STD, whatever its offset.
    """
    whole = audio[: audio.size // SILENT_STEP * SILENT_STEP]
    steps = (block.reshape(-1, SILENT_STEP).astype(np.float32) for block in _blocks(whole))
    count, longest = true_runs(block.std(axis=1) < SILENT_STD for block in steps)
    return count / max(1, whole.size // SILENT_STEP), longest * SILENT_STEP / SAMPLE_RATE


def _blocks(audio: NDArray[np.int16]) -> Iterator[NDArray[np.int16]]:
    for start in range(0, audio.size, BLOCK):
        yield audio[start : start + BLOCK]


def true_runs(blocks: Iterable[NDArray[np.bool_]]) -> tuple[int, int]:
    """Count the true values of a sequence given in blocks; return the count and the length of their longest run."""
    count = longest = current = 0
    for flags in blocks:
        count += int(flags.sum())
        if flags.all():
            current += flags.size
            continue
        longest = max(longest, current + int(flags.argmin()))
        if flags.any():
            longest = max(longest, int(np.diff(np.flatnonzero(~flags)).max(initial=1)) - 1)
        current = int(flags[::-1].argmin())
    return count, max(longest, current)


def _gold(recording: Recording, target: str, column: Any) -> Iterator[CheckFinding]:
    """Check the gold standard of one target and yield the problems."""
    what = f"{recording.name}: gold of {target}"
    if column.is_valid != recording.labelled:
        said = "labelled, but the shard has no gold" if recording.labelled else "not labelled, but the shard has gold"
        yield CheckFinding("wrong", "gold", f"{what}: the index says that the recording is {said}")
    if not column.is_valid:
        return
    gold = column.values.to_numpy(zero_copy_only=False)
    if gold.size != recording.frames:
        yield CheckFinding("wrong", "gold", f"{what} has {gold.size} frames, but the index says {recording.frames}")
    known = np.isfinite(gold)
    if not known.all():
        yield CheckFinding(
            "wrong",
            "gold",
            f"{what} is NaN or infinite in {int((~known).sum())} of {gold.size} frames, first in frame "
            f"{int(known.argmin())}",
        )
    if known.any():
        low, high = float(gold[known].min()), float(gold[known].max())
        yield from _range(what, low, high)
        if low == high:
            yield CheckFinding(
                "warning", "constant", f"{what} is {low:g} in all frames: the CCC of constant gold is 0 or undefined"
            )


def _ratings(recording: Recording, who: str, column: Any) -> Iterator[CheckFinding]:
    """Check the trace of one rater, NaN where the rater gave no rating, and yield the problems."""
    what = f"{recording.name}: {who}"
    trace = column.values.to_numpy(zero_copy_only=False)
    if trace.size != recording.frames:
        yield CheckFinding("wrong", "ratings", f"{what} has {trace.size} frames, but the index says {recording.frames}")
    if np.isinf(trace).any():
        yield CheckFinding("wrong", "ratings", f"{what} is infinite in {int(np.isinf(trace).sum())} frames")
    elif np.isnan(trace).all():
        yield CheckFinding("warning", "ratings", f"{what} has no rating in any frame")
    else:
        yield from _range(what, float(np.nanmin(trace)), float(np.nanmax(trace)))


def _range(what: str, low: float, high: float) -> Iterator[CheckFinding]:
    if max(-low, high) > LABEL_LIMIT:
        yield CheckFinding(
            "warning", "range", f"{what} lies in [{low:g}, {high:g}], but labels are expected in [-1, 1]"
        )
