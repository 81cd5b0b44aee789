"""Count an MP3's frames from their headers; without a tag, its decoder only estimates their number."""

import functools
import mmap
import shlex
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ser_ray.errors import InputError

UNKNOWN_DELAY = 576 + 529
"""Delay in samples of the usual encoder and the decoder; the decoder removes the delay that a LAME tag gives."""
GUESSED_S, GUESSED_FRAMES = 0.1, 4
"""Largest difference between the count and a length that the decoder estimates from the bit rate."""
TAGGED_SAMPLES = 2 * 4095 + 1152
"""The same for a length from a tag: the longest delay and padding of the last frame."""

RATES_HZ = (44100, 48000, 32000)
DIVIDERS = {3: 1, 2: 2, 0: 4}
"""Version bits -> divider of those rates, for MPEG 1, 2 and 2.5."""
LAYERS = {3: 1, 2: 2, 1: 3}
"""Layer bits -> layer."""
KILOBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by version (2 also for 2.5) and layer, in the order of their index from 1."""
SIDE_BYTES = {(1, False): 32, (1, True): 17, (2, False): 17, (2, True): 9}
"""Bytes between a frame's header and a Xing tag, by version and whether the file is mono."""
VBRI_AT = 36
"""Offset of a VBRI tag in a frame."""


@dataclass(frozen=True)
class Frame:
    """Header of an MPEG frame: version (1, or 2 also for 2.5), layer, and `size` in bytes with the header."""

    version: int
    layer: int
    rate_hz: int
    kilobits: int
    size: int
    mono: bool

    @property
    def samples(self) -> int:
        """Samples per channel in the frame."""
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and self.version == 2 else 1152

    def continues(self, first: "Frame") -> bool:
        """Return whether this frame may belong to the same stream as `first`."""
        return (self.version, self.layer, self.rate_hz) == (first.version, first.layer, first.rate_hz)


@dataclass(frozen=True)
class Counted:
    """Counts of an MP3's frames, of which the first may be a tag.

    `samples` is the number per channel in all frames except a tag, including delay and padding; `bit_rates` is the
    number of different bit rates; `tag` is "Xing", "Info" or "VBRI", or "" where no tag gives the number of frames;
    `delay_known` is whether a LAME tag gives the delay.
    """

    first: Frame
    samples: int
    bit_rates: int
    tag: str
    delay_known: bool


def count_frames(path: Path) -> Counted | None:
    """Count an MP3's frames from their headers; None where no frame is found, or no header gives its frame's size."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        frames = _frames(content)
        at, first = next(frames, (0, None))
        if first is None:
            return None
        tag, delay_known = _tag(content[at : at + first.size], first)
        count, bit_rates = (0, set()) if tag else (1, {first.kilobits})
        for _, frame in frames:
            count += 1
            bit_rates.add(frame.kilobits)
    return Counted(first, count * first.samples, len(bit_rates), tag, delay_known)


def check_mp3(path: Path, read: int) -> list[str]:
    """Check an MP3 of which the decoder expects `read` samples per channel; return warnings.

    Raises:
        InputError: if its frames contain more samples, or fewer and there is no tag. Fewer with a tag means a truncated
            file, which decoding reports.
    """
    counted = count_frames(path)
    if counted is None:
        return []
    rate_hz, surplus = counted.first.rate_hz, counted.samples - read
    guessed = max(GUESSED_S * rate_hz, GUESSED_FRAMES * counted.first.samples)
    if surplus > TAGGED_SAMPLES if counted.tag else abs(surplus) > guessed:
        why = "it has no Xing, Info or VBRI tag" + (", and a varying bit rate" if counted.bit_rates > 1 else "")
        if counted.tag:
            why = f"its {counted.tag} tag counts fewer frames (were several files concatenated?)"
        wav = path.with_suffix(".wav")
        raise InputError(
            f"{path} has {counted.samples / rate_hz:.2f} s according to its frames, but its decoder expects "
            f"{read / rate_hz:.2f} s: {why}; convert it to wav, such as with `ffmpeg -i {shlex.quote(str(path))} "
            f"{shlex.quote(str(wav))}`"
        )
    if counted.delay_known or counted.first.layer != 3:
        return []
    return [
        f"{path} does not state its encoder's delay (it has no LAME tag): its audio is delayed by about "
        f"{UNKNOWN_DELAY:,} samples ({1000 * UNKNOWN_DELAY / rate_hz:.0f} ms); use wav or flac files of the original"
    ]


def _frames(content: mmap.mmap) -> Iterator[tuple[int, Frame]]:
    """Yield position and header of each complete frame; bytes between frames are skipped."""
    at, first = _behind_id3(content), None
    while found := _next_frame(content, at, first):
        yield found
        at, first = found[0] + found[1].size, first or found[1]


def _behind_id3(content: mmap.mmap) -> int:
    """Return the position after all ID3v2 tags at the beginning of a file."""
    at = 0
    while content[at : at + 3] == b"ID3" and len(content) >= at + 10:
        size = functools.reduce(lambda total, byte: total << 7 | byte & 0x7F, content[at + 6 : at + 10], 0)
        footer = 10 if content[at + 5] & 0x10 else 0
        at += 10 + size + footer
    return at


def _next_frame(content: mmap.mmap, at: int, first: Frame | None) -> tuple[int, Frame] | None:
    """Find the next frame from a position on; a frame further on must itself be followed by a frame."""
    begin = at
    while (at := content.find(b"\xff", at)) >= 0:
        frame = _header(content[at : at + 4])
        if frame and at + frame.size <= len(content) and (first is None or frame.continues(first)):
            follower = _header(content[at + frame.size : at + frame.size + 4])
            followed = at + frame.size == len(content) or (follower is not None and follower.continues(frame))
            if followed or (first is not None and at == begin):
                return at, frame
        at += 1
    return None


@functools.lru_cache(maxsize=4096)
def _header(header: bytes) -> Frame | None:
    """Parse the four bytes of a frame header; None where they are not one, or give no bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    divider, layer = DIVIDERS.get(header[1] >> 3 & 3), LAYERS.get(header[1] >> 1 & 3)
    speed, rate = header[2] >> 4, header[2] >> 2 & 3
    if divider is None or layer is None or not 1 <= speed <= 14 or rate == 3:
        return None
    version = 1 if divider == 1 else 2
    rate_hz, kilobits = RATES_HZ[rate] // divider, KILOBITS[version, layer][speed - 1]
    padding = header[2] >> 1 & 1
    if layer == 1:
        size = 4 * (12_000 * kilobits // rate_hz + padding)
    else:
        size = (72_000 if layer == 3 and version == 2 else 144_000) * kilobits // rate_hz + padding
    return Frame(version, layer, rate_hz, kilobits, size, mono=header[3] >> 6 == 3)


def _tag(content: bytes, frame: Frame) -> tuple[str, bool]:
    """Return the name of the tag in a file's first frame, or "", and whether it gives the encoder's delay."""
    if content[VBRI_AT : VBRI_AT + 4] == b"VBRI":
        return "VBRI", False
    at = 4 + SIDE_BYTES[frame.version, frame.mono]
    name = content[at : at + 4]
    if frame.layer != 3 or name not in (b"Xing", b"Info"):
        return "", False
    (flags,) = struct.unpack(">I", content[at + 4 : at + 8].rjust(4, b"\0"))
    # the flags tell which fields are present: number of frames, number of bytes, table of contents, quality
    lame = at + 8 + sum(size for bit, size in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    return name.decode(), len(content) >= lame + 24 and content[lame] != 0
