import os
import socket
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
from corpus_cases import noise
from scipy.signal import resample_poly

from ser_ray.corpus.importing import audio
from ser_ray.corpus.importing.audio import decode
from ser_ray.corpus.importing.audio_headers import Header, read_header
from ser_ray.errors import InputError


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("flac", "PCM_16"), ("wav", "PCM_16"), ("wav", "FLOAT"), ("aiff", "PCM_24")]
)
def test_16_khz_mono_comes_as_it_is(tmp_path, suffix, subtype):
    samples = np.concatenate([[-32768, 32767, 0], noise(5000)]).astype(np.int16)
    written = samples / 32768 if subtype == "FLOAT" else samples
    soundfile.write(tmp_path / f"x.{suffix}", written, 16000, subtype=subtype)
    np.testing.assert_array_equal(decode(tmp_path / f"x.{suffix}").samples, samples)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_length_and_time(tmp_path, rate):
    """A chirp below all band edges, at half the level in the right channel, must be where it is at 16 kHz."""

    def chirp(rate):
        t = np.arange(3 * rate) / rate
        return 0.5 * np.sin(2 * np.pi * (200 * t + 400 * t**2)) * np.hanning(t.size)

    stereo = np.column_stack([chirp(rate), chirp(rate) / 2])
    soundfile.write(tmp_path / "x.wav", stereo, rate, subtype="FLOAT")
    samples = decode(tmp_path / "x.wav").samples
    assert samples.size == 48000
    np.testing.assert_allclose(samples / 32768, chirp(16000) * 0.75, atol=2e-3)
    if rate > 16000:
        reference = resample_poly(chirp(rate) * 0.75, 16000, rate)
        np.testing.assert_allclose(samples / 32768, reference, atol=2e-3)


@pytest.mark.parametrize("rate", [44100, 8000, 11025])
def test_resampling_in_blocks_is_resampling_at_once(tmp_path, rate):
    """What lies around the end of a block comes as it does alone, in a block of its own."""
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (audio.BLOCK_S + 1) * rate + 123).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
    in_blocks = decode(tmp_path / "x.wav").samples
    assert in_blocks.size == -(-samples.size * 16000 // rate)
    at_once = decode(tmp_path / "x.wav", audio.BLOCK_S - 1).samples
    np.testing.assert_allclose(in_blocks[(audio.BLOCK_S - 1) * 16000 :], at_once, atol=1)


def test_an_odd_rate_is_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(100), 44101)
    with pytest.raises(
        ValueError, match=r"x.wav has 44101 samples per second, a rate that cannot be resampled to 16000"
    ):
        decode(tmp_path / "x.wav")


def test_samples_that_are_not_numbers_are_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.array([0.0, np.nan]), 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"x.wav contains samples that are NaN or infinite"):
        decode(tmp_path / "x.wav")


def test_a_header_that_promises_more_than_there_is_or_can_be(tmp_path):
    path = tmp_path / "x.flac"
    soundfile.write(path, noise(16000), 16000)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the 36 bits of the number of samples
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert soundfile.info(path).frames == 2**36 - 1
    with pytest.raises(InputError, match=r"x.flac cannot be read as audio"):
        decode(path)


def test_decoding_holds_the_samples_once(tmp_path):
    samples = noise(30 * audio.BLOCK_S * 16000)
    soundfile.write(tmp_path / "x.wav", samples, 16000)
    tracemalloc.start()
    decoded = decode(tmp_path / "x.wav").samples
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(decoded, samples)
    assert peak < 1.5 * samples.nbytes


def test_a_part_is_that_part_of_the_whole(tmp_path):
    samples = noise(16000 * 7)
    soundfile.write(tmp_path / "x.wav", samples, 16000)
    np.testing.assert_array_equal(decode(tmp_path / "x.wav", 1.5, 4.25).samples, samples[24000:68000])
    np.testing.assert_array_equal(decode(tmp_path / "x.wav", 6.0, 99.0).samples, samples[96000:])


@pytest.mark.parametrize("rate", [44100, 8000, 11025, 48000])
@pytest.mark.parametrize(("start_s", "stop_s"), [(0.0, 2.0), (0.9, 3.4567), (2.0001, None), (4.9, 9.0)])
def test_a_part_that_is_resampled(tmp_path, monkeypatch, rate, start_s, stop_s):
    monkeypatch.setattr(audio, "BLOCK_S", 1)
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, 5 * rate + 123).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
    whole = decode(tmp_path / "x.wav").samples.astype(int)
    part = decode(tmp_path / "x.wav", start_s, stop_s).samples
    reference = whole[round(start_s * 16000) : None if stop_s is None else round(stop_s * 16000)]
    assert part.size == reference.size
    np.testing.assert_allclose(part, reference, atol=1)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_dead_channel_is_left_out(tmp_path, rate):
    live = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * rate).astype(np.float32)
    soundfile.write(tmp_path / "mono.wav", live, rate, subtype="FLOAT")
    soundfile.write(tmp_path / "x.wav", np.column_stack([np.full(2 * rate, 0.1), live]), rate, subtype="FLOAT")
    decoded = decode(tmp_path / "x.wav")
    assert decoded.dead_channels == (1,)
    np.testing.assert_array_equal(decoded.samples, decode(tmp_path / "mono.wav").samples)


def test_channels_that_are_all_dead_are_the_writers_to_refuse(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros((16000, 2)), 16000)
    decoded = decode(tmp_path / "x.wav")
    assert (decoded.dead_channels, decoded.samples.any()) == ((), False)


def test_the_number_of_cores_changes_no_sample(tmp_path):
    """Torch sums in another order with more threads; that must not reach the samples."""
    soundfile.write(tmp_path / "x.wav", noise(44100 * 3), 44100)
    code = (
        "import sys, torch; torch.set_num_threads(int(sys.argv[2])); from ser_ray.corpus.importing.audio import decode;"
    )
    code += "sys.stdout.buffer.write(decode(sys.argv[1]).samples.tobytes())"
    command = [sys.executable, "-c", code, tmp_path / "x.wav"]
    one, two = (subprocess.run([*command, threads], capture_output=True, check=True).stdout for threads in "14")
    assert one == two
    assert len(one) == 2 * 48000


def test_a_file_that_was_cut_short(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(16000), 16000)
    path.write_bytes(path.read_bytes()[:20044])
    with pytest.raises(
        InputError, match=r"x.wav is truncated .*the header says 32,000 bytes of samples, but the file has 20,000"
    ):
        read_header(path)


def test_a_header_that_no_writer_finished_is_understood(tmp_path):
    """Who writes to a pipe cannot go back to say how much it was, and leaves the largest number there."""
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(16000), 16000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read_header(path) == Header(1.0, 16000, 1)


@pytest.mark.parametrize("suffix", ["aiff", "au", "w64", "rf64"])
def test_other_files_that_were_cut_short(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, noise(16000), 16000)
    path.write_bytes(path.read_bytes()[:20044])
    with pytest.raises(InputError, match=rf"x.{suffix} is truncated .* but the file has (19|20),\d+;"):
        read_header(path)


def test_an_mp3_that_was_cut_short(tmp_path):
    """Its first frame says how long it was; what is missing must not be filled with what the memory holds."""
    path = tmp_path / "x.mp3"
    soundfile.write(path, noise(48000) / 32768, 16000)
    whole = decode(path).samples
    assert whole.size == 48000
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(InputError, match=r"x.mp3 is truncated .*the header says 3.00 s, but [12].\d\d s are missing"):
        decode(path)
    start = decode(path, 0.0, 0.5).samples.astype(int)
    np.testing.assert_allclose(start, whole[:8000].astype(int), atol=1)


def test_an_mp3_that_says_a_little_too_much(tmp_path):
    """Without its first frame libsndfile reckons its length from its bit rate."""
    path = tmp_path / "x.mp3"
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 44100 * 5) * np.linspace(0, 1, 44100 * 5) ** 4
    soundfile.write(path, samples, 44100, compression_level=0.5, bitrate_mode="CONSTANT")
    content = path.read_bytes()
    tagged = max(content.find(b"Info"), content.find(b"Xing"))
    path.write_bytes(content[content.index(b"\xff\xfb", tagged) :])
    announced = read_header(path).seconds
    decoded = decode(path).samples.size / 16000
    assert 0 < announced - decoded < 0.1
    assert 5.0 < decoded < 5.1


def test_a_file_that_does_not_tell_its_length(tmp_path):
    path = tmp_path / "x.flac"
    soundfile.write(path, noise(16000), 16000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # as from a pipe
    path.write_bytes(content)
    for read in (read_header, decode):
        with pytest.raises(InputError, match=r"x.flac does not state its length \(was it written to a pipe\?\)"):
            read(path)


def test_a_rate_whose_filters_would_fill_the_memory(tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(100), 22254)
    with pytest.raises(
        InputError, match=r"x.wav has 22254 samples per second, a rate that cannot be resampled to 16000"
    ):
        read_header(tmp_path / "x.wav")


@pytest.mark.parametrize("reader", [read_header, decode])
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, reader, kind):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        {"pipe": os.mkfifo, "folder": os.mkdir, "socket": server.bind}[kind]("x.wav")
        with pytest.raises(InputError, match=r"x.wav is (a folder|not a regular file .*): audio is read from files"):
            reader(tmp_path / "x.wav")


@pytest.mark.parametrize("reader", [read_header, decode])
@pytest.mark.parametrize("name", ["x.raw", "X.RAW"])
def test_samples_without_header_are_refused(tmp_path, reader, name):
    noise(1000).tofile(tmp_path / name)
    with pytest.raises(
        InputError, match=r"no header, so that its rate, type and channels are unknown.*ffmpeg -f s16le"
    ):
        reader(tmp_path / name)


def _with_sizes(path, riff, data):
    """Write a WAV file of 3,000 samples whose header announces other sizes."""
    soundfile.write(path, noise(3000), 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8], content[at : at + 4] = struct.pack("<I", riff), struct.pack("<I", data)
    path.write_bytes(content)


@pytest.mark.parametrize("reader", [read_header, decode])
@pytest.mark.parametrize("riff", [0, 36, 6036, 0xFFFFFFFF])
def test_a_header_that_announces_no_samples_is_told_from_an_empty_file(tmp_path, reader, riff):
    _with_sizes(tmp_path / "x.wav", riff, 0)
    with pytest.raises(InputError, match=r"has a header that says 0 bytes of samples, but has 6,044 .*sox --ignore"):
        reader(tmp_path / "x.wav")
    soundfile.write(tmp_path / "x.wav", noise(0), 16000)
    with pytest.raises(InputError, match="has zero length"):
        reader(tmp_path / "x.wav")


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_header_of_a_stream_is_read_to_the_end(tmp_path, size):
    _with_sizes(tmp_path / "x.wav", size, size)
    assert read_header(tmp_path / "x.wav") == Header(3000 / 16000, 16000, 1)
    np.testing.assert_array_equal(decode(tmp_path / "x.wav").samples, noise(3000))


@pytest.mark.parametrize("reader", [read_header, decode])
@pytest.mark.parametrize("coding", ["pcm,embedded-shorten-v2.00", "ulaw,embedded-shorten-v1.1", "pcm,wavpack"])
def test_a_compressed_sphere_file_is_refused_with_the_fix(tmp_path, reader, coding):
    path = tmp_path / "my x.sph"
    soundfile.write(path, noise(3000), 16000, format="NIST")
    content = path.read_bytes()
    header = content[:1024].replace(b"-s3 pcm", f"-s{len(coding)} {coding}".encode())[:1024]
    path.write_bytes(header + content[1024:])
    with pytest.raises(
        InputError, match=r"my x.sph is a compressed sphere file \(.*\).*`sph2pipe -f wav '.*my x.sph'"
    ) as e:
        reader(path)
    assert coding in str(e.value)
