"""Hours of trials: one measured step per design, kept per host, scaled to the corpus."""

import json
import math
import shutil

import pytest
import torch

from ser_ray.models import ModelConfig
from ser_ray.provenance import host_name
from ser_ray.results import SweepFolder
from ser_ray.sweep import estimate
from ser_ray.sweep.estimate import estimate_hours
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import Trial, TrialConfig

STEP_S = 0.5
RATE = 250.0


@pytest.fixture
def trial(tiny_corpus, tmp_path):
    def make(model=None, **training):
        fields = {"channels": (3, 4), "kernels": (4, 6), "pools": (8, 8), "hidden": 5, **(model or {})}
        training = {"epochs": 3, "sequence_s": 0.08, "batch_size": 3, **training}
        config = TrialConfig(model=ModelConfig(**fields), training=TrainingConfig(**training))
        return Trial(key="k", config=config, corpus=tiny_corpus, sweep="s", folder=SweepFolder(tmp_path / "s"))

    return make


@pytest.fixture
def measured(monkeypatch):
    """Every step takes half a second per second of audio; collects the trials that were measured."""
    asked = []
    monkeypatch.setattr(estimate, "_measure", lambda trial, device: (asked.append(trial), STEP_S)[1])
    return asked


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "results" / "cache"


def file_of(cache):
    return cache / f"{host_name()}.json"


@pytest.fixture
def expected(tiny_corpus):
    """From the lengths of the corpus: padded sequences for training, a third of the time for evaluation."""

    def hours(epochs=3, *, sequence_frames=20, recordings=3, limit_frames=10**9):
        lengths = {
            partition: [min(r.frames, limit_frames) for r in tiny_corpus.recordings(partition)][:recordings]
            for partition in ("train", "devel", "test")
        }
        trained = sum(math.ceil(n / sequence_frames) * sequence_frames for n in lengths["train"])
        devel, test = sum(lengths["devel"]), sum(lengths["test"])
        return (epochs * (trained + devel / 3) + (devel + test) / 3) / RATE * STEP_S / 3600

    return hours


def test_a_design_is_measured_once_and_kept(trial, measured, cache):
    trials = [trial(seed=seed, learning_rate=rate, epochs=5) for seed in range(3) for rate in (1e-3, 1e-4)]
    hours = estimate_hours(trials, cache)
    assert len(measured) == 1
    assert hours == [hours[0]] * 6
    assert estimate_hours(trials, cache) == hours
    assert len(measured) == 1, "kept"
    assert list(json.loads(file_of(cache).read_text()).values()) == [STEP_S]
    assert [path.name for path in cache.iterdir()] == [file_of(cache).name]


@pytest.mark.parametrize(
    "other",
    [{"model": {"hidden": 6}}, {"model": {"pooling": "average"}}, {"batch_size": 4}, {"sequence_s": 0.04}],
    ids=str,
)
def test_what_makes_a_step_longer_is_measured_by_itself(trial, measured, cache, other):
    estimate_hours([trial()], cache)
    estimate_hours([trial(), trial(**other)], cache)
    assert len(measured) == 2
    assert len(json.loads(file_of(cache).read_text())) == 2


def test_sequences_longer_than_the_measured_ones_share_a_step(trial, measured, cache):
    estimate_hours([trial(sequence_s=6.0), trial(sequence_s=20.0)], cache)
    assert len(measured) == 1


def test_each_host_has_a_file_of_its_own(trial, measured, cache, monkeypatch):
    for host in ("node1", "node2"):
        monkeypatch.setattr(estimate, "host_name", lambda host=host: host)
        estimate_hours([trial()], cache)
    assert len(measured) == 2
    assert sorted(path.name for path in cache.iterdir()) == ["node1.json", "node2.json"]


@pytest.mark.parametrize("epochs", [1, 10, 100])
def test_hours_follow_the_epochs_and_the_audio(trial, measured, cache, epochs, expected):
    assert estimate_hours([trial(epochs=epochs)], cache) == [pytest.approx(expected(epochs), rel=1e-12)]


@pytest.mark.parametrize("frames", [1, 3, 7, 15, 20, 45, 100])
def test_short_sequences_are_padded_and_counted_whole(trial, measured, cache, frames, expected):
    (hours,) = estimate_hours([trial(sequence_s=frames / RATE)], cache)
    assert hours == pytest.approx(expected(sequence_frames=frames), rel=1e-12)


def test_limits_make_it_shorter(trial, measured, cache, expected):
    given = [trial(limit_recordings=1), trial(limit_s=0.1), trial(limit_s=0.1, limit_recordings=2), trial(limit_s=1e6)]
    assert estimate_hours(given, cache) == [
        pytest.approx(expected(recordings=1), rel=1e-12),
        pytest.approx(expected(limit_frames=25), rel=1e-12),
        pytest.approx(expected(limit_frames=25, recordings=2), rel=1e-12),
        pytest.approx(expected(), rel=1e-12),
    ]


def test_the_order_is_that_of_the_trials(trial, measured, cache, expected):
    given = [trial(epochs=n) for n in (7, 1, 3)]
    assert estimate_hours(given, cache) == [pytest.approx(expected(n)) for n in (7, 1, 3)]
    assert estimate_hours([], cache) == []


@pytest.mark.parametrize(
    "content",
    [b"", b'{"ab', b"\xff\xfe", b"[1, 2]", b"3", b"null", "numbers"],
    ids=["empty", "cut short", "no text", "a list", "a number", "null", "no numbers"],
)
def test_a_damaged_file_is_measured_anew(trial, measured, cache, content):
    hours = estimate_hours([trial()], cache)
    if content == "numbers":
        (identity,) = json.loads(file_of(cache).read_text())
        for value in ("fast", None, math.nan, math.inf, 0.0, -1.0):
            file_of(cache).write_text(json.dumps({identity: value, "other": 2.5}))
            assert estimate_hours([trial()], cache) == hours
            assert json.loads(file_of(cache).read_text()) == {identity: STEP_S, "other": 2.5}
    else:
        file_of(cache).write_bytes(content)
        assert estimate_hours([trial()], cache) == hours
        assert len(measured) == 2
        assert list(json.loads(file_of(cache).read_text()).values()) == [STEP_S]


def test_where_nothing_can_be_kept_hours_are_told_all_the_same(trial, measured, cache, capsys, expected):
    cache.parent.mkdir()
    cache.write_text("a file where a folder should be")
    assert estimate_hours([trial()], cache) == [pytest.approx(expected())]
    assert "the measured steps are not kept: " in capsys.readouterr().err
    assert cache.read_text() == "a file where a folder should be"


def test_a_failure_to_keep_leaves_the_file_that_was(trial, measured, cache, monkeypatch):
    estimate_hours([trial()], cache)
    before = file_of(cache).read_bytes()
    shutil.copy(file_of(cache), cache / "copy")
    monkeypatch.setattr(estimate.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    estimate_hours([trial(batch_size=5)], cache)
    assert file_of(cache).read_bytes() == before
    assert {path.name for path in cache.iterdir()} == {"copy", file_of(cache).name}


def test_a_step_is_really_measured(trial, cache, expected):
    (hours,) = estimate_hours([trial()], cache)
    (step,) = json.loads(file_of(cache).read_text()).values()
    assert 0 < step < 100
    assert hours == pytest.approx(expected() * step / STEP_S)
    assert torch.is_grad_enabled()
