"""Audio beyond full scale, and so quiet that 16 bits would lose it: scaled by its peak, and said."""

import tracemalloc

import numpy as np
import pytest
import soundfile
from corpus_cases import noise

from ser_ray.corpus import open_corpus
from ser_ray.corpus.importing import audio
from ser_ray.corpus.importing.audio import decode
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.errors import InputError


def write(path, samples, subtype, rate=16000):
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def wave(peak, size=20000):
    """Return noise whose largest sample is a peak, exactly."""
    samples = np.random.default_rng(3).uniform(-0.9, 0.9, size).astype(np.float32)
    samples[size // 2] = -1
    return (samples * np.float32(peak)).astype(np.float32)


def int16(samples):
    return np.rint(np.clip(samples.astype(np.float32) * np.float32(32768), -32768, 32767)).astype(np.int16)


@pytest.mark.parametrize("peak", [1.0000002, 1.5, 4.0, 1e4, 3e38])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_beyond_full_scale_is_scaled_by_its_peak(tmp_path, peak, subtype):
    samples = wave(peak)
    decoded = decode(write(tmp_path / "x.wav", samples, subtype))
    np.testing.assert_array_equal(decoded.samples, int16(samples / np.abs(samples).max()))
    assert decoded.gain == pytest.approx(1 / peak)
    (said,) = decoded.warnings
    assert f"x.wav exceeds full scale (its peak is {np.float32(peak):.6g})" in said


@pytest.mark.parametrize("peak", [2.0**-20, 2.0**-16, 2.0**-8 * 0.999])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE", "PCM_24", "PCM_32"])
def test_what_int16_would_lose_is_scaled_by_its_peak(tmp_path, peak, subtype):
    path = write(tmp_path / "x.wav", wave(peak), subtype)
    held = soundfile.read(path, dtype="float64")[0]  # integers keep a part of so quiet a wave
    decoded = decode(path)
    np.testing.assert_allclose(decoded.samples, int16(held / np.abs(held).max()), atol=1)
    assert np.abs(decoded.samples.astype(int)).max() >= 32767
    (said,) = decoded.warnings
    assert "x.wav is too quiet for 16 bits (its peak is " in said
    assert f"{20 * np.log10(np.abs(held).max()):.1f} dB" in said


@pytest.mark.parametrize(
    ("peak", "subtype"),
    [
        (1.0, "FLOAT"),
        (1.0, "PCM_16"),
        (2.0**-8, "FLOAT"),
        (2.0**-8, "PCM_24"),
        (2.0**-9, "PCM_16"),  # int16 holds all that there is
        (2.0**-21, "FLOAT"),  # silence and its rounding
        (0.5, "PCM_U8"),
    ],
)
def test_other_levels_are_left_as_they_are(tmp_path, peak, subtype):
    path = write(tmp_path / "x.wav", wave(peak), subtype)
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.samples, int16(soundfile.read(path, dtype="float32")[0]))
    assert (decoded.gain, decoded.warnings) == (1.0, ())


def test_a_peak_of_1_stays_where_resampling_goes_beyond_it(tmp_path):
    """What lies between the samples is no peak of the file: its level, and with it each sample, stays."""
    square = np.repeat(np.where(np.arange(300) % 2, 1.0, -1.0), 147)
    decoded = decode(write(tmp_path / "x.wav", square, "FLOAT", 44100))
    half = decode(write(tmp_path / "y.wav", square / 2, "FLOAT", 44100)).samples.astype(int)
    assert decoded.warnings == ()
    np.testing.assert_allclose(decoded.samples, np.clip(2 * half, -32768, 32767), atol=2)
    assert (np.abs(2 * half) > 33000).any()


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("second", [0, 1, 2])
def test_the_peak_is_that_of_the_mean_and_of_the_whole_file(tmp_path, monkeypatch, rate, second):
    """It may come in any block, and lies in what becomes mono."""
    monkeypatch.setattr(audio, "BLOCK_S", 1)
    left = np.sin(np.arange(3 * rate) / 50)
    left[second * rate : second * rate + rate // 2] *= 6
    stereo = np.column_stack([left, 0.5 * left])
    decoded = decode(write(tmp_path / "x.wav", stereo, "FLOAT", rate))
    peak = np.abs(stereo.mean(axis=1)).max()
    assert decoded.gain == pytest.approx(1 / peak, rel=1e-6)
    quieter = decode(write(tmp_path / "y.wav", stereo / peak, "FLOAT", rate))
    np.testing.assert_allclose(decoded.samples, quieter.samples, atol=1)


def test_a_part_is_scaled_by_its_own_peak(tmp_path):
    samples = wave(0.5, 32000)
    samples[20000] = 3.0
    write(tmp_path / "x.wav", samples, "FLOAT")
    np.testing.assert_array_equal(decode(tmp_path / "x.wav", 0.0, 1.0).samples, int16(samples[:16000]))
    np.testing.assert_array_equal(decode(tmp_path / "x.wav", 1.0).samples, int16(samples[16000:] / np.float32(3)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_has_no_peak(tmp_path, value):
    samples = wave(4.0)
    samples[-1] = value
    with pytest.raises(InputError, match=r"x.wav contains samples that are NaN or infinite"):
        decode(write(tmp_path / "x.wav", samples, "FLOAT"))


def test_channels_whose_sum_is_beyond_all_numbers(tmp_path):
    path = write(tmp_path / "x.wav", np.column_stack([wave(3e38)] * 2), "FLOAT")
    with pytest.raises(InputError, match="overflows"):
        decode(path)


def test_the_second_pass_takes_no_memory_of_its_own(tmp_path):
    write(tmp_path / "x.wav", wave(4.0, 30 * audio.BLOCK_S * 16000), "FLOAT")
    tracemalloc.start()
    decoded = decode(tmp_path / "x.wav").samples
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * decoded.nbytes


def test_an_import_says_it_and_keeps_the_gain(table_source, tmp_path):
    samples = noise(32000, 0) / np.float32(20000) * np.float32(8)
    write(table_source.folder / "audio" / "a.wav", samples, "FLOAT")
    write(table_source.folder / "audio" / "c.wav", wave(2.0**-16, 32000), "PCM_32")
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    assert ["a.wav exceeds full scale" in made.warnings[0], "c.wav is too quiet" in made.warnings[1]] == [True, True]
    corpus = open_corpus(made.path)
    a, b = corpus.recordings("train")
    np.testing.assert_array_equal(corpus.audio(a), int16(samples / np.abs(samples).max()))
    assert float(a.extra["audio_gain"]) == pytest.approx(1 / np.abs(samples).max())
    assert float(corpus.recordings("devel")[0].extra["audio_gain"]) == 2.0**16
    assert not b.extra.get("audio_gain")
    np.testing.assert_array_equal(corpus.audio(b), noise(32000, 1))


def test_an_index_without_gains_has_no_column_of_them(table_source, tmp_path):
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out").path)
    assert all("audio_gain" not in recording.extra for recording in corpus.recordings("train"))
