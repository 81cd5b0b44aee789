"""Which channels of a file become the one of a recording, and what is said of them."""

import numpy as np
import pytest
import soundfile
from corpus_cases import noise

from ser_ray.corpus import open_corpus
from ser_ray.corpus.importing import audio
from ser_ray.corpus.importing.audio import decode
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.corpus.source.channels import channel_named
from ser_ray.errors import InputError

RNG = np.random.default_rng(5)
VOICE, OTHER = (RNG.uniform(-0.5, 0.5, 32000).astype(np.float32) for _ in range(2))


def write(path, *channels, rate=16000):
    soundfile.write(path, np.column_stack(channels), rate, subtype="FLOAT")
    return path


def int16(samples):
    return np.rint(samples.astype(np.float32) * np.float32(32768)).astype(np.int16)


@pytest.mark.parametrize("factor", [-1.0, -0.95, -0.5, -1.6])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_of_channels_that_cancel_the_loudest_is_taken(tmp_path, factor, offset):
    decoded = decode(write(tmp_path / "x.wav", VOICE + offset, factor * VOICE - offset))
    loudest = VOICE + offset if abs(factor) <= 1 else factor * VOICE - offset
    if np.abs(loudest).max() > 1:
        loudest = loudest / np.abs(loudest).max()
    np.testing.assert_array_equal(decoded.samples, int16(loudest))
    assert "x.wav has channels that cancel each other" in decoded.warnings[0]
    assert f"only channel {1 if abs(factor) <= 1 else 2} is used" in decoded.warnings[0]


def test_how_little_the_mean_keeps_is_told(tmp_path):
    (said,) = decode(write(tmp_path / "x.wav", VOICE, -0.95 * VOICE)).warnings
    assert "their mean is 32 dB below the loudest" in said  # 20 log10 (0.05 / 2)


def test_channels_that_cancel_at_another_rate_and_in_late_blocks(tmp_path):
    first = audio.BLOCK_S * 44100
    voice = np.concatenate([np.full(first, 1e-4) * (np.arange(first) % 2), RNG.uniform(-0.5, 0.5, 2 * 44100)])
    write(tmp_path / "mono.wav", voice, rate=44100)
    decoded = decode(write(tmp_path / "x.wav", voice, -0.95 * voice, rate=44100))
    np.testing.assert_array_equal(decoded.samples, decode(tmp_path / "mono.wav").samples)


def test_the_level_is_that_of_the_channel_that_is_taken(tmp_path):
    voice = np.tile(VOICE, 2 + audio.BLOCK_S * 16000 // VOICE.size)  # of two blocks
    decoded = decode(write(tmp_path / "x.wav", 8 * voice, -7.9 * voice))
    np.testing.assert_array_equal(decoded.samples, int16(voice / np.abs(voice).max()))
    assert decoded.gain == pytest.approx(1 / (8 * np.abs(voice).max()))


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (VOICE, False),
        (0.2 * VOICE, False),
        (0.5 * VOICE + 0.8 * OTHER, False),
        (-0.3 * VOICE, False),
        (OTHER, True),
        (0.1 * VOICE + OTHER, True),
        (0.01 * OTHER, False),  # a channel that hears nothing but its own noise holds no speaker
    ],
)
def test_channels_that_hardly_correlate_are_averaged_and_named(tmp_path, right, said):
    decoded = decode(write(tmp_path / "x.wav", VOICE, right))
    np.testing.assert_allclose(decoded.samples, int16((VOICE + right.astype(np.float32)) / 2), atol=1)
    assert [("x.wav has channels that hardly correlate" in w, "--channel left" in w) for w in decoded.warnings] == (
        [(True, True)] if said else []
    )


def test_offsets_are_nothing_that_channels_share(tmp_path):
    (said,) = decode(write(tmp_path / "x.wav", VOICE / 4 + 0.5, OTHER / 4 + 0.5)).warnings
    assert "hardly correlate" in said


@pytest.mark.parametrize(("channel", "expected"), [(1, VOICE), (2, OTHER), (3, -VOICE)])
def test_a_channel_is_taken_as_it_is(tmp_path, channel, expected):
    decoded = decode(write(tmp_path / "x.wav", VOICE, OTHER, -VOICE), channel=channel)
    np.testing.assert_array_equal(decoded.samples, int16(expected))
    assert decoded.warnings == ()


def test_the_mean_is_taken_where_it_is_asked_for(tmp_path):
    decoded = decode(write(tmp_path / "x.wav", VOICE, -0.95 * VOICE), channel="mean")
    np.testing.assert_allclose(decoded.samples, int16(0.025 * VOICE), atol=1)
    assert decoded.warnings == ()


def test_a_channel_that_the_file_lacks(tmp_path):
    write(tmp_path / "x.wav", VOICE)
    np.testing.assert_array_equal(decode(tmp_path / "x.wav", channel=1).samples, int16(VOICE))
    with pytest.raises(InputError, match=r"x.wav has 1 channel, but channel 2 is requested; .* left, right, a number"):
        decode(tmp_path / "x.wav", channel=2)


@pytest.mark.parametrize(
    ("text", "channel"), [("left", 1), (" Right ", 2), ("1", 1), ("12", 12), ("MEAN", "mean"), ("", None)]
)
def test_names_of_channels(text, channel):
    assert channel_named(text, "--channel") == channel


@pytest.mark.parametrize("text", ["0", "-1", "1.0", "both", "²", "l", "9" * 5000])
def test_what_names_no_channel(text):
    with pytest.raises(InputError, match=r"--channel: channel is .* but must be left, right, a number from 1, or mean"):
        channel_named(text, "--channel")


def test_an_import_names_the_file_whose_channels_cancel(table_source, tmp_path):
    samples = noise(32000).astype(np.float32) / 32768
    write(table_source.folder / "audio" / "a.wav", samples, -0.95 * samples)
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    (said,) = made.warnings
    assert "a.wav has channels that cancel each other" in said
    corpus = open_corpus(made.path)
    np.testing.assert_array_equal(corpus.audio(corpus.recordings("train")[0]), noise(32000))
