import shutil
import threading

import numpy as np
import pytest

from ser_ray.corpus import gold_standard, open_corpus
from ser_ray.corpus.store.schema import PARTITIONS
from ser_ray.corpus.synthetic import generate as synthetic
from ser_ray.corpus.synthetic.generate import BUILT_IN, built_in, make_synthetic
from ser_ray.corpus.synthetic.speech import BLOCK, CONTROL_RATE, Voice, one_pole, speak
from ser_ray.errors import InputError
from ser_ray.metrics import pearson


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return built_in("synthetic-demo", tmp_path_factory.mktemp("built-in"))


def test_the_demo_is_the_same_again(demo, tmp_path):
    again = built_in("synthetic-demo", tmp_path)
    assert again.name == demo.name
    assert open_corpus(again).fingerprint == open_corpus(demo).fingerprint
    assert [path.name for path in tmp_path.iterdir()] == [again.name]  # nothing temporary is left


def test_the_demo_is_made_once(demo):
    made = (demo / "corpus.json").stat().st_mtime_ns
    assert built_in("synthetic-demo", demo.parent) == demo
    assert (demo / "corpus.json").stat().st_mtime_ns == made


def test_shape_of_the_built_in_corpora(demo):
    corpus = open_corpus(demo)
    assert [len(corpus.recordings(p)) for p in PARTITIONS] == [8, 4, 4]
    assert {r.frames for p in PARTITIONS for r in corpus.recordings(p)} == {1500}
    assert (corpus.label_rate, corpus.hop, corpus.targets) == (25.0, 640, ("arousal", "valence"))
    assert "synthetic voice" in corpus.manifest.notice
    paper = BUILT_IN["synthetic"]
    assert (paper.recordings, paper.seconds) == ((16, 15, 15), 300.0)


def test_gold_is_made_of_the_raters(demo):
    corpus = open_corpus(demo)
    recording = corpus.recordings("devel")[1]
    ratings = corpus.ratings(recording)
    for column, target in enumerate(corpus.targets):
        assert ratings[target].shape == (6, 1500)
        made = gold_standard(ratings[target], "ewe")
        np.testing.assert_allclose(corpus.gold(recording)[:, column], made, atol=2e-5)
        assert np.abs(ratings[target]).max() <= 1
        np.testing.assert_allclose(ratings[target], np.round(ratings[target], 2), atol=1e-6)


def test_loudness_follows_arousal_and_gold_comes_late(demo):
    """Over all recordings, the energy of the last seconds tells arousal; it tells it best some seconds later."""
    corpus = open_corpus(demo)
    delays = np.array([0, 25, 50, 75, 100])
    correlations = np.zeros((len(delays), 2))
    recordings = [r for p in PARTITIONS for r in corpus.recordings(p)]
    for recording in recordings:
        waveform, gold = corpus.crop(recording, 0, recording.frames)
        energy = np.square(waveform.reshape(-1, corpus.hop)).mean(axis=1)
        smooth = np.log(np.convolve(energy, np.full(75, 1 / 75), mode="same") + 1e-6)
        for row, delay in enumerate(delays):
            for column in range(2):
                r = pearson(smooth[: len(smooth) - delay], gold[delay:, column])
                correlations[row, column] += r / len(recordings)
    arousal, valence = correlations.T
    assert arousal.max() > 0.6
    assert arousal.max() > 2 * np.abs(valence).max()  # valence is not to be had from loudness
    assert 0 < int(np.argmax(arousal)) < len(delays) - 1


def test_a_rater_is_late_and_slow():
    rater = synthetic._Rater(lag_s=2.0, smoothing_s=0.5, gain=0.8, bias=0.1, noise=0.0)
    step = np.where(np.arange(300) < 100, -0.5, 0.5)
    trace = synthetic._rate(step, rater, np.random.default_rng(0))
    np.testing.assert_allclose(trace[:150], -0.5 * 0.8 + 0.1)  # nothing for two seconds
    assert (np.diff(trace[150:]) >= 0).all()
    t = np.arange(150) / 25 / 0.5
    critically_damped = 1 - (1 + t) * np.exp(-t)
    np.testing.assert_allclose(trace[150:], 0.8 * (critically_damped - 0.5) + 0.1, atol=0.04)


def test_speakers_and_recordings_differ(demo):
    corpus = open_corpus(demo)
    recordings = [r for p in PARTITIONS for r in corpus.recordings(p)]
    assert len({r.speaker for r in recordings}) == len({r.std for r in recordings}) == 16
    gold = np.stack([corpus.gold(r)[:, 0] for r in recordings])
    assert np.abs(np.corrcoef(gold) - np.eye(16)).max() < 0.9
    clipped = np.mean(np.abs(corpus.audio(recordings[0]).astype(int)) >= 32767)
    assert clipped < 1e-3


def test_seeds_differ_and_recordings_do_not_depend_on_the_number_of_others(tmp_path):
    def made(name, **options):
        return open_corpus(make_synthetic(tmp_path / name, seconds=2.0, **options))

    few, more = made("few", recordings=(1, 1, 0)), made("more", recordings=(1, 1, 1))
    other = made("other", recordings=(1, 1, 0), seed=1)
    first, second, third = (corpus.recordings("train")[0] for corpus in (few, more, other))
    np.testing.assert_array_equal(few.audio(first), more.audio(second))
    assert not np.array_equal(few.audio(first), other.audio(third))
    assert len({few.fingerprint, more.fingerprint, other.fingerprint}) == 3
    assert few.recordings("test") == ()


def _pitch_hz(samples):
    """Return the fundamental frequency by autocorrelation over the whole stretch."""
    x = samples.astype(np.float64) - samples.mean()
    spectrum = np.fft.rfft(x, 2 * x.size)
    r = np.fft.irfft(np.abs(spectrum) ** 2)[: x.size]
    return 16000 / (60 + int(np.argmax(r[60:300])))


def test_a_voice_says_arousal_by_pitch_and_loudness():
    voice = Voice(pitch_hz=120, tract=1, rate_hz=4, brightness_hz=800, breath=0.02, room=0.002)
    steps = 5 * CONTROL_RATE
    said = {}
    for arousal in (-0.8, 0.8):
        rng = np.random.default_rng(0)
        said[arousal] = speak(voice, np.full(steps, arousal), np.full(steps, -0.9), rng)
        assert said[arousal].shape == (steps * BLOCK,)
        assert said[arousal].dtype == np.int16
    assert _pitch_hz(said[0.8]) / _pitch_hz(said[-0.8]) == pytest.approx(2 ** (3.5 * 1.6 / 12), rel=0.15)
    assert said[0.8].std() > 1.5 * said[-0.8].std()


def test_one_pole_against_its_definition():
    x = np.random.default_rng(0).normal(size=50)
    y = x[0]
    for t in range(50):
        y = 0.8 * y + 0.2 * x[t]
        assert one_pole(x, 0.8)[t] == pytest.approx(y)


def test_two_processes_may_make_the_same_corpus(tmp_path, monkeypatch):
    """Both build, the later one finds the place taken: each gets the whole corpus, and nothing else is left."""
    small = synthetic.SyntheticConfig(recordings=(1, 1, 0), seconds=2.0)
    monkeypatch.setattr(synthetic, "BUILT_IN", {"small": small})
    both_built = threading.Barrier(2)
    make = synthetic._make

    def make_and_wait(*arguments):
        make(*arguments)
        both_built.wait(timeout=30)

    monkeypatch.setattr(synthetic, "_make", make_and_wait)
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(built_in("small", tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 2
    assert paths[0] == paths[1]
    assert [path.name for path in tmp_path.iterdir()] == [paths[0].name]
    assert len(open_corpus(paths[0]).recordings("train")) == 1


def test_a_place_without_a_whole_corpus_is_refused(demo, tmp_path):
    shutil.copytree(demo, tmp_path / demo.name, ignore=shutil.ignore_patterns("corpus.json"))
    with pytest.raises(InputError, match=r"synthetic-demo-\w{8} exists and is not empty"):
        built_in("synthetic-demo", tmp_path)


def test_mistakes(tmp_path):
    with pytest.raises(
        InputError, match=r"built-in corpus is 'recola', but must be one of synthetic, synthetic-small, synthetic-demo"
    ):
        built_in("recola", tmp_path)
    with pytest.raises(InputError, match=r"recordings are \[1, 0, 1\], but must be three numbers"):
        make_synthetic(tmp_path / "c", recordings=(1, 0, 1))
    with pytest.raises(InputError, match=r"seconds is 0.5, but a recording must last 1 to 36000 seconds"):
        make_synthetic(tmp_path / "c", seconds=0.5)
    with pytest.raises(InputError, match=r"seed is -1, but must be at least 0"):
        make_synthetic(tmp_path / "c", seed=-1)
    assert list(tmp_path.iterdir()) == []
