"""MP3 files whose length or delay their decoder cannot know: refused, or warned of, by name."""

import shlex
import struct

import numpy as np
import pytest
import soundfile

from ser_ray.corpus.importing.audio import decode
from ser_ray.corpus.importing.audio_headers import read_header
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.corpus.importing.mp3 import count_frames
from ser_ray.errors import InputError


def write(path, rate=16000, seconds=3.0, channels=1, mode="VARIABLE", level=0.3):
    """Write an MP3 of noise; in bursts, so that a varying bit rate varies. Return how many frames its own tag tells."""
    samples = np.random.default_rng(0).normal(0, 0.1, (round(rate * seconds), channels))
    samples[: len(samples) // 2] *= 0.001
    soundfile.write(path, samples, rate, compression_level=level, bitrate_mode=mode)
    return struct.unpack(">I", tag_of(path)[8:12])[0]


def tag_of(path):
    content = path.read_bytes()
    return content[max(content.find(b"Xing"), content.find(b"Info")) :]


def without_tag(path):
    """Take the first frame, which is the tag, away."""
    content = path.read_bytes()
    first = content.index(b"\xff")
    path.write_bytes(content[content.index(content[first : first + 2], content.index(b"LAME3")) :])


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize(("mode", "level"), [("VARIABLE", 0.3), ("CONSTANT", 0.1), ("CONSTANT", 0.5)])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_are_as_many_as_the_encoder_says(tmp_path, rate, mode, level, channels):
    path = tmp_path / "x.mp3"
    frames = write(path, rate, 1.0, channels, mode, level)
    counted = count_frames(path)
    assert counted.samples == frames * (1152 if rate >= 32000 else 576)
    assert counted.first.rate_hz == rate
    assert (counted.tag, counted.delay_known) == ("Xing" if mode == "VARIABLE" else "Info", True)
    without_tag(path)
    again = count_frames(path)
    assert (again.samples, again.tag, again.delay_known) == (counted.samples, "", False)
    assert (again.bit_rates > 1) == (mode == "VARIABLE")


def test_other_tags_and_rubbish_are_no_frames(tmp_path):
    path = tmp_path / "x.mp3"
    frames = write(path)
    content = path.read_bytes()
    picture = b"\xff\xfb\x90\x00" * 500  # what looks like headers, in a tag
    id3 = b"ID3\x04\x00\x00" + bytes([0, 0, len(picture) >> 7, len(picture) & 127]) + picture
    path.write_bytes(id3 + id3 + content + b"\xff\xf3rubbish" * 9 + b"TAG" + b"\xff" * 125)
    assert count_frames(path).samples == frames * 576
    assert read_header(path).seconds == 3.0
    path.write_bytes(content[: len(content) // 2] + b"\xff\xf3\x00" * 40 + content[len(content) // 2 :])
    assert abs(count_frames(path).samples - frames * 576) <= 576


def test_what_holds_no_frame(tmp_path):
    (tmp_path / "x.mp3").write_bytes(b"\xff" * 1000)
    assert count_frames(tmp_path / "x.mp3") is None


@pytest.mark.parametrize("read", [read_header, decode])
@pytest.mark.parametrize("level", [0.1, 0.5])
def test_a_varying_bit_rate_without_tag_is_refused(tmp_path, read, level):
    path = tmp_path / "my rec.mp3"
    frames = write(path, seconds=6.0, level=level)
    without_tag(path)
    expected = soundfile.info(path).frames / 16000
    with pytest.raises(InputError, match=r"no Xing, Info or VBRI tag, and a varying bit rate; convert it") as refused:
        read(path)
    assert f"has {frames * 576 / 16000:.2f} s according to its frames, but its decoder expects {expected:.2f} s" in str(
        refused.value
    )
    assert f"`ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.wav')))}`" in str(refused.value)


@pytest.mark.parametrize("read", [read_header, decode])
def test_several_files_in_one_are_refused(tmp_path, read):
    path = tmp_path / "x.mp3"
    write(path)
    path.write_bytes(path.read_bytes() * 3)
    with pytest.raises(InputError, match=r"its Xing tag counts fewer frames \(were several files concatenated\?\)"):
        read(path)


def test_the_import_refuses_it_before_labels_are_compared(table_source, tmp_path):
    (table_source.folder / "audio" / "a.wav").unlink()
    write(table_source.folder / "audio" / "a.mp3", seconds=6.0)
    without_tag(table_source.folder / "audio" / "a.mp3")
    with pytest.raises(InputError, match=r"a.mp3 has 6.\d\d s according to its frames"):
        import_corpus("table", table_source.folder, tmp_path / "out")


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_delay_that_nothing_tells_of_is_warned_of(tmp_path, rate):
    """A click, with a tag where it was; without one as late as is said."""
    path = tmp_path / "x.mp3"
    samples = np.zeros(3 * rate)
    samples[rate : rate + 16] = 0.9 * np.hanning(16)
    soundfile.write(path, samples, rate, compression_level=0.3, bitrate_mode="CONSTANT")
    tagged = decode(path)
    assert tagged.warnings == ()
    without_tag(path)
    late = decode(path)
    (said,) = late.warnings
    milliseconds = round(1000 * 1105 / rate)
    assert "x.mp3 does not state its encoder's delay (it has no LAME tag): its audio is delayed by about 1,105 " in said
    assert f"({milliseconds} ms)" in said
    measured = np.argmax(np.abs(late.samples.astype(int))) - np.argmax(np.abs(tagged.samples.astype(int)))
    assert measured / 16000 == pytest.approx(1105 / rate, abs=2e-4)


def test_a_tag_of_an_encoder_that_does_not_name_itself(tmp_path):
    path = tmp_path / "x.mp3"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"LAME3.100", bytes(9), 1))
    assert not count_frames(path).delay_known
    assert "does not state its encoder's delay" in decode(path).warnings[0]
