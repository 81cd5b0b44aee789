"""Read length, rate and channels from the headers of audio files, and refuse unusable files."""

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import soundfile

from ser_ray.corpus.importing.mp3 import check_mp3
from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.errors import InputError

MP3 = "MP3"
"""libsndfile's name of the format that its MPEG decoder reads."""
MOST_TAPS = 10**7
"""Largest product of both rates, divided by their greatest common divisor: the size of the resampling filter bank, at
some 25 bytes per tap. For 44.1 kHz it is 70,560."""
MOST_FRAMES = 2**48
"""libsndfile returns a larger number for files that do not state their length."""
ANNOUNCED = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""libsndfile's log of truncated WAV, AIFF, AU, W64 and RF64 files."""
NO_DATA = re.compile(r"^ *(?:data|SSND|Data Size) *: 0$", re.MULTILINE)
"""libsndfile's log of a header that says that there are no samples."""
SPHERE_BYTES = 1024
COMPRESSED = re.compile(rb"\ANIST_1A\n.*\nsample_coding -s\d+ (\S*(?:shorten|wavpack|shortpack)\S*)", re.DOTALL)
"""Beginning of a sphere file whose samples libsndfile cannot decompress."""
HEADER_BYTES = 4096
"""More than headers and their tags take: a longer file contains samples even if its header says that there are none."""


@dataclass(frozen=True)
class Header:
    """Length, rate and channels of an audio file."""

    seconds: float
    rate_hz: int
    channels: int


def read_header(path: Path) -> Header:
    """Read the header of an audio file.

    Raises:
        InputError: if it cannot be read as audio, is empty, or was truncated.
    """
    check_kind(path)
    try:
        header = soundfile.info(str(path), verbose=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise unreadable(path, error) from error
    if header.frames == 0:
        refuse_empty(path, header.extra_info)
    cut = ANNOUNCED.search(header.extra_info)
    if cut and int(cut[1]) > int(cut[2]) and 0 < int(cut[1]) < 0x7FFFFF00:  # a header written to a pipe has the maximum
        raise InputError(
            f"{path} is truncated or has a wrong header: the header says {int(cut[1]):,} bytes of samples, but the "
            f"file has {int(cut[2]):,}; copy it again"
        )
    check_length(header.frames, header.samplerate, path)
    if header.format == MP3:
        check_mp3(path, header.frames)
    return Header(header.frames / header.samplerate, header.samplerate, header.channels)


def check_kind(path: Path) -> None:
    """Refuse a path on which libsndfile would block, and a raw file, whose rate it cannot know."""
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file (a pipe, socket or device?)"
        raise InputError(f"{path} is {kind}: audio is read from files; write it to a wav file first")
    if path.suffix.lower() == ".raw":
        raise InputError(
            f"{path} has no header, so that its rate, type and channels are unknown: give it one, such as with "
            f"`ffmpeg -f s16le -ar RATE -ac CHANNELS -i {shlex.quote(str(path))} "
            f"{shlex.quote(str(path.with_suffix('.wav')))}`"
        )


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error for a file that libsndfile cannot read."""
    try:
        with path.open("rb") as file:
            coding = COMPRESSED.search(file.read(SPHERE_BYTES))
    except OSError:
        coding = None
    if coding:
        wav = shlex.quote(str(path.with_suffix(".wav")))
        return InputError(
            f"{path} is a compressed sphere file ({coding[1].decode('ascii', 'replace')}), which is not supported: "
            f"convert it to wav with `sph2pipe -f wav {shlex.quote(str(path))} {wav}`"
        )
    return InputError(f"{path} cannot be read as audio ({error})")


def refuse_empty(path: Path, notes: str) -> NoReturn:
    """Refuse a file whose header says, perhaps wrongly, that it is empty; `notes` is libsndfile's log of the header."""
    size = path.stat().st_size
    if NO_DATA.search(notes) and size > HEADER_BYTES:
        fixed = path.with_name(f"{path.stem}_fixed.wav")
        raise InputError(
            f"{path} has a header that says 0 bytes of samples, but has {size:,} bytes (written to a pipe, or the "
            f"recording was interrupted?): rewrite the header with `sox --ignore-length {shlex.quote(str(path))} "
            f"{shlex.quote(str(fixed))}`"
        )
    raise InputError(f"{path} has zero length: it contains no samples")


def check_length(frames: int, rate: int, path: str | Path) -> None:
    """Refuse an unknown length, and a rate that cannot be resampled."""
    if frames > MOST_FRAMES:
        raise InputError(f"{path} does not state its length (was it written to a pipe?): convert it to wav")
    shared = math.gcd(rate, SAMPLE_RATE)
    if (rate // shared) * (SAMPLE_RATE // shared) > MOST_TAPS:
        raise InputError(
            f"{path} has {rate} samples per second, a rate that cannot be resampled to {SAMPLE_RATE}: convert it to "
            "16 or 48 kHz"
        )
