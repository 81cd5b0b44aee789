"""Estimated delays of labels: planted ones are found, whatever is around them, and what has none is said."""

import dataclasses
import re

import numpy as np
import pytest

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.synthetic.generate import make_synthetic
from ser_ray.errors import InputError
from ser_ray.training.config import LONGEST_DELAY_S, TrainingConfig
from ser_ray.training.delay import estimate_delays, shift_frames

TARGETS = ("arousal", "valence")
RATE_HZ = 25


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Built-in speech whose labels follow it by the raters' own delay, about 3 s."""
    return open_corpus(make_synthetic(tmp_path_factory.mktemp("corpus") / "s", recordings=(8, 1, 1), seconds=60.0))


def rewritten(corpus, out, relabel, recordings=None):
    """A corpus with other labels: relabel(gold) of each recording of train."""
    with CorpusWriter(out, name="x", label_rate=RATE_HZ, targets=TARGETS) as writer:
        for recording in recordings or corpus.recordings("train"):
            audio, gold = corpus.audio(recording), corpus.gold(recording)
            writer.add(recording.name, "train", recording.speaker, audio, relabel(gold).astype(np.float32))
    return open_corpus(out)


def delays(corpus):
    found = estimate_delays(corpus, corpus.recordings("train"), TARGETS)
    return np.array([delay.frames / RATE_HZ for delay in found])


def later(gold, *seconds):
    columns = []
    for target, delay in enumerate(seconds):
        frames = round(delay * RATE_HZ)
        columns.append(np.concatenate([np.repeat(gold[:1, target], frames), gold[: len(gold) - frames, target]]))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("planted", [(0.0, 6.0), (1.0, 3.0), (2.4, 0.4), (4.2, 5.0), (6.0, 2.0)])
def test_planted_delays_are_recovered_within_a_fifth_of_a_second(speech, tmp_path, planted):
    raters = delays(speech)
    found = delays(rewritten(speech, tmp_path / "c", lambda gold: later(gold, *planted)))
    np.testing.assert_allclose(found - raters, planted, atol=0.2)


def test_the_delay_of_made_raters_is_that_of_their_hands(speech):
    """Of six raters, each late by 1 to 3 s and by two poles of 0.4 to 0.7 s; valence is hard to hear."""
    arousal, valence = delays(speech)
    assert arousal == pytest.approx(3.1, abs=0.2)
    assert valence == pytest.approx(3.1, abs=0.5)


def test_gaps_in_the_labels_and_a_single_recording_are_no_hindrance(speech, tmp_path):
    def gaps(gold):
        gold = gold.copy()
        gold[200:500] = np.nan
        return gold

    np.testing.assert_allclose(delays(rewritten(speech, tmp_path / "gaps", gaps)), delays(speech), atol=0.3)
    (only, *_) = speech.recordings("train")
    arousal, _ = delays(rewritten(speech, tmp_path / "one", lambda gold: gold, [only]))
    assert arousal == pytest.approx(3.1, abs=1)


def test_a_target_that_does_not_follow_the_audio_has_the_delay_of_the_others(speech, tmp_path):
    rng = np.random.default_rng(0)

    def noise(gold):
        return np.stack([gold[:, 0], rng.normal(size=len(gold))], axis=1)

    arousal, valence = delays(rewritten(speech, tmp_path / "c", noise))
    assert arousal == valence == delays(speech)[0]


def test_labels_that_follow_nothing_are_refused(speech, tmp_path):
    rng = np.random.default_rng(0)
    noise = rewritten(speech, tmp_path / "noise", lambda gold: rng.normal(size=gold.shape))
    with pytest.raises(InputError, match=r"no target follow the audio .* set label_shift_s instead"):
        delays(noise)
    constant = rewritten(speech, tmp_path / "constant", np.zeros_like)
    with pytest.raises(InputError, match="set label_shift_s instead"):
        delays(constant)


def test_delays_beyond_the_longest_are_refused(speech, tmp_path):
    with pytest.raises(InputError, match=r"at any delay up to 10 s: set label_shift_s instead"):
        delays(rewritten(speech, tmp_path / "c", lambda gold: later(gold, 9.0, 9.0)))


def test_recordings_that_are_too_short_are_refused(speech):
    few = [
        dataclasses.replace(recording, frames=round(LONGEST_DELAY_S * RATE_HZ))
        for recording in speech.recordings("train")
    ]
    with pytest.raises(InputError, match=r"no labelled train recording has 12 s: set label_shift_s"):
        estimate_delays(speech, few, TARGETS)


def test_a_configured_shift_is_that_of_all_targets(speech):
    recordings = speech.recordings("train")
    said = []
    assert shift_frames(TrainingConfig(label_shift_s=2.0), speech, recordings, TARGETS, said.append) == (50, 50)
    assert said == []
    estimated = shift_frames(TrainingConfig(estimate_delay=True), speech, recordings, TARGETS[::-1], said.append)
    assert re.fullmatch(
        r"labels follow the audio by valence \d\.\d\d s \(correlation 0\.\d\d\), arousal \d\.\d\d s \(correlation .*",
        said[0],
    )
    assert estimated[::-1] == tuple(np.rint(delays(speech) * RATE_HZ))
    with pytest.raises(ValueError, match="label_shift_s 2 and estimate_delay true are both set: keep one"):
        TrainingConfig(label_shift_s=2.0, estimate_delay=True)
