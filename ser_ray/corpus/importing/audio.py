"""Reads audio: any format, rate and number of channels becomes 16 kHz mono int16."""

import math
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_ray.corpus.schema import SAMPLE_RATE
from ser_ray.errors import InputError

BLOCK_S = 60
MOST_TAPS = 10**7
"""The filter bank of a resampling has the product of both rates, shortened, as its size, and takes
some 25 bytes each; that of 44.1 kHz has 70,560."""
MOST_FRAMES = 2**48
"""More is what libsndfile says of files that do not tell their length."""
MISSING_S = 0.1
"""What a header may announce beyond what is there: an MP3 without its first frame tells no better."""
ANNOUNCED = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile notes of WAV, AIFF, AU, W64 and RF64 files that were cut short."""
NO_DATA = re.compile(r"^ *(?:data|SSND|Data Size) *: 0$", re.MULTILINE)
"""What it notes of a header that announces no samples."""
HEADER_BYTES = 4096
"""More than headers and their tags take: a longer file whose header announces no samples holds some."""


@dataclass(frozen=True)
class Header:
    """What an audio file says of itself.

    Args:
        seconds: its length.
        rate_hz: samples per second.
        channels: how many.
    """

    seconds: float
    rate_hz: int
    channels: int


def read_header(path: Path) -> Header:
    """Return what an audio file says of itself.

    Args:
        path: of the file.

    Raises:
        InputError: if it cannot be read as audio, holds nothing, or was cut short.
    """
    _check_kind(path)
    try:
        header = soundfile.info(str(path), verbose=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path} cannot be read as audio ({error})") from error
    if header.frames == 0:
        _refuse_empty(path, header.extra_info)
    cut = ANNOUNCED.search(header.extra_info)
    if cut and int(cut[1]) > int(cut[2]) and 0 < int(cut[1]) < 0x7FFFFF00:  # writers to a pipe leave the largest there
        raise InputError(
            f"{path} was cut short or has a wrong header: it announces {int(cut[1]):,} bytes of samples, but "
            f"{int(cut[2]):,} are there; copy it again"
        )
    _check(header.frames, header.samplerate, path)
    return Header(header.frames / header.samplerate, header.samplerate, header.channels)


@dataclass(frozen=True)
class Decoded:
    """The samples of an audio file.

    Args:
        samples: int16 [samples] at 16 kHz.
        dead_channels: numbers, from 1, of channels that hold nothing and were left out.
    """

    samples: NDArray[np.int16]
    dead_channels: tuple[int, ...] = ()


def decode(path: str | Path, start_s: float = 0.0, stop_s: float | None = None) -> Decoded:
    """Return an audio file as 16 kHz mono.

    Args:
        path: of a file in any format, rate and number of channels that soundfile reads. Channels are averaged, but for
            those that are constant where others are not.
        start_s: where to begin.
        stop_s: where to end; None for the file's end.

    Returns:
        The samples; those of a file that is 16-bit, mono and at 16 kHz are as they are. A part is equal to that part of
        the whole, where it is resampled but for a last bit here and there.

    Raises:
        InputError: if the file cannot be read, holds fewer samples than it announces, or values that are not numbers.
    """
    _check_kind(Path(path))
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.frames == 0:
                _refuse_empty(Path(path), file.extra_info)
            _check(file.frames, file.samplerate, path)
            first = round(start_s * SAMPLE_RATE)
            length = -(-file.frames * SAMPLE_RATE // file.samplerate)
            last = length if stop_s is None else min(length, round(stop_s * SAMPLE_RATE))
            live = _live_channels(file, path, first, last)
            # one array for all, since pieces and their concatenation would be twice as much
            samples, filled = np.empty(max(0, last - first), np.int16), 0
            for block in _at_16_khz(file, path, live, first, last):
                samples[filled : filled + block.size] = np.rint(np.clip(block * 32768, -32768, 32767))
                filled += block.size
            dead = tuple(number + 1 for number in range(file.channels) if number not in live)
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise InputError(f"{path} cannot be read as audio ({error})") from error
    return Decoded(samples[:filled], dead)


def _check_kind(path: Path) -> None:
    """Refuse what libsndfile would wait for, or cannot know the rate of."""
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file (a pipe, socket or device?)"
        raise InputError(f"{path} is {kind}: audio is read from files; write it to a wav file first")
    if path.suffix.lower() == ".raw":
        raise InputError(
            f"{path} has no header, so that its rate, type and channels are unknown: give it one, such as with "
            f"`ffmpeg -f s16le -ar RATE -ac CHANNELS -i {shlex.quote(str(path))} "
            f"{shlex.quote(str(path.with_suffix('.wav')))}`"
        )


def _refuse_empty(path: Path, notes: str) -> NoReturn:
    """Refuse a file that has no samples by its header, which may be wrong.

    Args:
        path: of the file.
        notes: what libsndfile noted while it read the header.
    """
    size = path.stat().st_size
    if NO_DATA.search(notes) and size > HEADER_BYTES:
        fixed = path.with_name(f"{path.stem}_fixed.wav")
        raise InputError(
            f"{path} announces 0 bytes of samples in its header, but has {size:,} bytes (was it written to a pipe, or "
            f"its recording broken off?): write the header again with `sox --ignore-length {shlex.quote(str(path))} "
            f"{shlex.quote(str(fixed))}`"
        )
    raise InputError(f"{path} has zero length: it holds no samples")


def _check(frames: int, rate: int, path: str | Path) -> None:
    """Refuse what a header says, if nothing can be made of it."""
    if frames > MOST_FRAMES:
        raise InputError(f"{path} does not tell how long it is (was it written to a pipe?): convert it to wav")
    shared = math.gcd(rate, SAMPLE_RATE)
    if (rate // shared) * (SAMPLE_RATE // shared) > MOST_TAPS:
        raise InputError(
            f"{path} has {rate} samples per second, too odd a rate to resample: convert it to 16 or 48 kHz"
        )


def _blocks(
    file: soundfile.SoundFile, path: str | Path, begin: int, end: int, block_s: int
) -> Iterator[NDArray[np.float32]]:
    """Yield samples [block, channels] from one to another, in blocks of whole seconds but the last."""
    file.seek(min(begin, file.frames))
    size, left = block_s * file.samplerate, max(0, min(end, file.frames) - begin)
    while left:  # not `file.blocks`, which fills what the file lacks with whatever the memory holds
        block = file.read(min(size, left), dtype="float32", always_2d=True)
        if not np.isfinite(block).all():
            raise InputError(f"{path} holds samples that are not numbers (NaN or infinity): write it again")
        left -= len(block)
        if len(block):
            yield block
        elif left > MISSING_S * file.samplerate:
            raise InputError(
                f"{path} was cut short or has a wrong header: it announces {file.frames / file.samplerate:.2f} s, but "
                f"{left / file.samplerate:.2f} s are missing; copy it again, or convert it to wav"
            )
        else:
            return


def _live_channels(file: soundfile.SoundFile, path: str | Path, first: int, last: int) -> list[int]:
    """Return the numbers of the channels that are not constant; all if none or every one is."""
    every = list(range(file.channels))
    if file.channels == 1:
        return every
    begin, end = (sample * file.samplerate // SAMPLE_RATE for sample in (first, last))
    live: set[int] = set()
    at_first = None
    # a second at a time, since nearly always the first one tells
    for block in _blocks(file, path, begin, end, 1):
        at_first = block[0].copy() if at_first is None else at_first
        live |= {number for number in every if number not in live and (block[:, number] != at_first[number]).any()}
        if len(live) == len(every):
            break
    return sorted(live) or every


def _at_16_khz(
    file: soundfile.SoundFile, path: str | Path, live: list[int], first: int, last: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of a file at 16 kHz, mono, from one to another, in blocks.

    Args:
        file: open.
        path: of the file, for messages.
        live: channels to average.
        first: sample at 16 kHz.
        last: one behind the last.

    Yields:
        float32, `last` - `first` in total, or fewer where the file ends.
    """
    rate = file.samplerate
    if rate == SAMPLE_RATE:
        yield from (_mono(block, live) for block in _blocks(file, path, first, last, BLOCK_S))
        return
    # A stretch is resampled from a sample on that falls on one at 16 kHz, and with some that lie around it.
    unit = rate // math.gcd(rate, SAMPLE_RATE)
    margin = unit * math.ceil(rate / 100 / unit)
    begin = max(0, first * rate // SAMPLE_RATE // unit * unit - margin)
    end = -(-last * rate // SAMPLE_RATE) + margin
    skip, left = first - begin * SAMPLE_RATE // rate, last - first
    for block in _resampled((_mono(block, live) for block in _blocks(file, path, begin, end, BLOCK_S)), rate, margin):
        part = block[skip : skip + left]
        skip, left = max(0, skip - block.size), left - part.size
        yield part


def _mono(block: NDArray[np.float32], live: list[int]) -> NDArray[np.float32]:
    """Return the mean of channels: [samples]."""
    total = block[:, live[0]].copy()
    for number in live[1:]:  # channel by channel: along the short axis numpy takes ten times as long
        total += block[:, number]
    return total / np.float32(len(live)) if len(live) > 1 else total


def _resampled(blocks: Iterator[NDArray[np.float32]], rate: int, margin: int) -> Iterator[NDArray[np.float32]]:
    """Yield blocks at 16 kHz, as if all of them had been resampled in one.

    Args:
        blocks: float32 at `rate`, all of the same whole number of seconds but the last.
        rate: samples per second.
        margin: how many samples of its neighbours a block is resampled with; they are a whole number at 16 kHz.

    Yields:
        float32 [ceil(16000 / rate * samples)] in total.
    """
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
    """Return the function from samples at a rate to samples at 16 kHz: the only user of torchaudio here."""
    import torch
    import torchaudio.functional

    def resample(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the order of sums, and with it the last bit, must not follow the number of cores
        try:
            resampled = torchaudio.functional.resample(torch.from_numpy(samples), rate, SAMPLE_RATE)
        finally:
            torch.set_num_threads(threads)
        return np.asarray(resampled.numpy(), np.float32)

    return resample
