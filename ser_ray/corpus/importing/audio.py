"""Read audio of any format, rate and number of channels as 16 kHz mono int16."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_ray.corpus.importing.audio_headers import MP3, check_kind, check_length, refuse_empty, unreadable
from ser_ray.corpus.importing.mp3 import check_mp3
from ser_ray.corpus.source.channels import Channel, ChannelPowers, check_channel, mono
from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.errors import InputError

FINE_SUBTYPES = frozenset({"PCM_24", "PCM_32", "FLOAT", "DOUBLE"})
"""Sample types that resolve a quiet recording more finely than int16."""
QUIET = 2.0**-8
"""Peak relative to full scale below which int16 has fewer than 8 of its 16 bits left."""
FLOAT_SUBTYPES = frozenset({"FLOAT", "DOUBLE"})
CODEC_OVERSHOOT = 1.5
"""Peak up to which a lossy codec itself may exceed full scale, for audio that did not; it is clipped, as players do."""
SILENT = 2.0**-20
"""Peak relative to full scale below which even the finer types contain little but rounding noise."""


def peak_of(samples: NDArray[np.float32]) -> float:
    """Return the largest absolute value of samples; 0 of none."""
    return float(max(samples.max(), -samples.min())) if samples.size else 0.0


def full_scale(peak: float, subtype: str) -> float:
    """Return the value that is mapped to the largest int16.

    It is 1 for a recording that int16 represents as it is. It is the peak for a recording that exceeds full scale, or
    that has a finer type and is too quiet for int16. `subtype` is libsndfile's name of the file's sample type.
    """
    beyond = peak > (1 if subtype in FLOAT_SUBTYPES else CODEC_OVERSHOOT)
    quiet = SILENT <= peak < QUIET and subtype in FINE_SUBTYPES
    return peak if beyond or quiet else 1.0


def level_warning(path: object, scale: float) -> str:
    """Return the warning for a recording whose peak, `scale`, was mapped to the largest int16."""
    if scale > 1:
        return f"{path} exceeds full scale (its peak is {scale:.6g}): its samples are divided by the peak"
    return (
        f"{path} is too quiet for 16 bits (its peak is {20 * math.log10(scale):.1f} dBFS): its samples are divided by "
        "the peak"
    )


BLOCK_S = 60
MISSING_S = 0.1
"""Part of the length in the header that may be missing, such as the first frame of an MP3."""


@dataclass(frozen=True)
class Decoded:
    """Samples of an audio file, int16 at 16 kHz.

    `dead_channels` are the numbers, from 1, of constant channels, which were left out; `gain` is the factor applied to
    the file's samples; each warning is a line that names the file.
    """

    samples: NDArray[np.int16]
    dead_channels: tuple[int, ...] = ()
    gain: float = 1.0
    warnings: tuple[str, ...] = ()


def decode(path: str | Path, start_s: float = 0.0, stop_s: float | None = None, channel: Channel = None) -> Decoded:
    """Read an audio file, or a part of it, as 16 kHz mono.

    Any format, rate and number of channels that soundfile reads is accepted. A 16-bit mono file at 16 kHz is returned
    unchanged. A recording that exceeds full scale, or is too quiet for int16, is scaled by its peak. Without `channel`,
    all channels are averaged except constant ones; if the channels cancel each other, only the loudest is used. Reading
    a part gives that part of the whole file, except for its level where it is scaled, and for a few last bits where it
    is resampled.

    Raises:
        InputError: if the file cannot be read, lacks the channel, has fewer samples than its header says, or contains
            values that are not numbers.
    """
    check_kind(Path(path))
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.frames == 0:
                refuse_empty(Path(path), file.extra_info)
            check_length(file.frames, file.samplerate, path)
            check_channel(channel, file.channels, path)
            warnings = check_mp3(Path(path), file.frames) if file.format == MP3 else []
            first = round(start_s * SAMPLE_RATE)
            length = -(-file.frames * SAMPLE_RATE // file.samplerate)
            last = length if stop_s is None else min(length, round(stop_s * SAMPLE_RATE))
            decoded = _decoded(file, path, first, last, channel)
            return replace(decoded, warnings=(*warnings, *decoded.warnings))
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise unreadable(Path(path), error) from error


def _decoded(file: soundfile.SoundFile, path: str | Path, first: int, last: int, channel: Channel) -> Decoded:
    """Decode samples `first` to `last` at 16 kHz; a second pass is made only if the first shows that it is needed."""
    live = [channel - 1] if isinstance(channel, int) else _live_channels(file, path, first, last)
    dead = () if isinstance(channel, int) else tuple(n + 1 for n in range(file.channels) if n not in live)
    warnings = [_dead_warning(path, dead)] if dead else []
    # one array for all blocks, since a list of blocks and their concatenation would take twice the memory
    samples = np.empty(max(0, last - first), np.int16)
    meter = _Meter(live, choose=channel is None)
    with np.errstate(over="ignore", invalid="ignore"):  # of values near float32's maximum, which a second pass scales
        filled = _fill(samples, _at_16_khz(file, path, meter.mixed, first, last))
    taken, peak = meter.taken()
    if not math.isfinite(peak):
        raise InputError(f"{path} contains samples whose mean over channels overflows: export it again")
    scale = full_scale(peak, file.subtype)
    if taken != live or scale != 1:
        filled = _fill(
            samples, _at_16_khz(file, path, lambda block: mono(block, taken) / np.float32(scale), first, last)
        )
    warnings += meter.warnings(path)
    if scale != 1:
        warnings.append(level_warning(path, scale))
    return Decoded(samples[:filled], dead, 1 / scale, tuple(warnings))


def _fill(samples: NDArray[np.int16], blocks: Iterator[NDArray[np.float32]]) -> int:
    """Write blocks into an array, one after the other, as int16; return the number of samples."""
    filled = 0
    for block in blocks:
        samples[filled : filled + block.size] = np.rint(np.clip(block * 32768, -32768, 32767))
        filled += block.size
    return filled


def _dead_warning(path: str | Path, dead: tuple[int, ...]) -> str:
    numbers = " and ".join(map(str, dead))
    which = f"channel {numbers}; it is" if len(dead) == 1 else f"channels {numbers}; they are"
    return f"{path} has no signal in {which} left out of the mean of channels"


class _Meter:
    """Average channels, counted from 0, and measure their levels; with `choose`, use the loudest if they cancel."""

    def __init__(self, live: list[int], *, choose: bool) -> None:
        self._live, self._peak = live, 0.0
        self._peaks = dict.fromkeys(live, 0.0)
        self._powers = ChannelPowers(live) if choose and len(live) > 1 else None

    def mixed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average the channels of a block [samples, channels] and update the peaks: [samples]."""
        mix = mono(block, self._live)
        self._peak = max(self._peak, peak_of(mix))
        if self._powers is not None:
            self._powers.add(block)
            self._peaks = {number: max(peak, peak_of(block[:, number])) for number, peak in self._peaks.items()}
        return mix

    def taken(self) -> tuple[list[int], float]:
        """Return the channels to average, and the peak of their mean."""
        if self._powers is None or not self._powers.cancel:
            return self._live, self._peak
        return [self._powers.loudest], self._peaks[self._powers.loudest]

    def warnings(self, path: str | Path) -> list[str]:
        """Return warnings about channels that should not be averaged."""
        powers = self._powers
        if powers is None:
            return []
        if powers.cancel:
            return [
                f"{path} has channels that cancel each other (their mean is {powers.lost_db:.0f} dB below the "
                f"loudest): only channel {powers.loudest + 1} is used"
            ]
        if powers.hardly_correlate:
            return [
                f"{path} has channels that hardly correlate (r = {powers.correlation:.2f}; a speaker on each?): their "
                "mean is used; choose one with --channel left or right, or confirm the mean with --channel mean"
            ]
        return []


def _blocks(
    file: soundfile.SoundFile, path: str | Path, begin: int, end: int, block_s: int
) -> Iterator[NDArray[np.float32]]:
    """Yield samples [block, channels] from `begin` to `end`, in blocks of `block_s` seconds except the last."""
    file.seek(min(begin, file.frames))
    size, left = block_s * file.samplerate, max(0, min(end, file.frames) - begin)
    while left:  # not `file.blocks`, which fills missing samples with uninitialised memory
        block = file.read(min(size, left), dtype="float32", always_2d=True)
        if not np.isfinite(block).all():
            raise InputError(f"{path} contains samples that are NaN or infinite: export it again")
        left -= len(block)
        if len(block):
            yield block
        elif left > MISSING_S * file.samplerate:
            raise InputError(
                f"{path} is truncated or has a wrong header: the header says {file.frames / file.samplerate:.2f} s, "
                f"but {left / file.samplerate:.2f} s are missing; copy it again, or convert it to wav"
            )
        else:
            return


def _live_channels(file: soundfile.SoundFile, path: str | Path, first: int, last: int) -> list[int]:
    """Return the numbers, from 0, of the channels that are not constant; all if every channel is constant."""
    every = list(range(file.channels))
    if file.channels == 1:
        return every
    begin, end = (sample * file.samplerate // SAMPLE_RATE for sample in (first, last))
    live: set[int] = set()
    at_first = None
    # a second at a time, since the first one nearly always suffices
    for block in _blocks(file, path, begin, end, 1):
        at_first = block[0].copy() if at_first is None else at_first
        live |= {number for number in every if number not in live and (block[:, number] != at_first[number]).any()}
        if len(live) == len(every):
            break
    return sorted(live) or every


def _at_16_khz(
    file: soundfile.SoundFile,
    path: str | Path,
    mix: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    first: int,
    last: int,
) -> Iterator[NDArray[np.float32]]:
    """Yield samples `first` to `last` at 16 kHz in blocks, fewer where the file ends; `mix` makes a block mono."""
    rate = file.samplerate
    if rate == SAMPLE_RATE:
        yield from (mix(block) for block in _blocks(file, path, first, last, BLOCK_S))
        return
    # Start at a sample that coincides with one at 16 kHz, and resample with a margin on both sides.
    unit = rate // math.gcd(rate, SAMPLE_RATE)
    margin = unit * math.ceil(rate / 100 / unit)
    begin = max(0, first * rate // SAMPLE_RATE // unit * unit - margin)
    end = -(-last * rate // SAMPLE_RATE) + margin
    skip, left = first - begin * SAMPLE_RATE // rate, last - first
    for block in _resampled((mix(block) for block in _blocks(file, path, begin, end, BLOCK_S)), rate, margin):
        part = block[skip : skip + left]
        skip, left = max(0, skip - block.size), left - part.size
        yield part


def _resampled(blocks: Iterator[NDArray[np.float32]], rate: int, margin: int) -> Iterator[NDArray[np.float32]]:
    """Resample blocks to 16 kHz, as if they were one array: ceil(16000 / rate * samples) in total."""
    # All blocks except the last have the same whole number of seconds. Each is resampled with `margin` samples of its
    # neighbours, which are a whole number of samples at 16 kHz.
    resample = _resampler(rate)
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
    """Return a function that resamples from a rate to 16 kHz; the only use of torchaudio here."""
    import torch
    import torchaudio.functional

    def resample(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the order of sums, and so the last bit, must not depend on the number of cores
        try:
            resampled = torchaudio.functional.resample(torch.from_numpy(samples), rate, SAMPLE_RATE)
        finally:
            torch.set_num_threads(threads)
        return np.asarray(resampled.numpy(), np.float32)

    return resample
