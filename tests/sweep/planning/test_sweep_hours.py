"""Hours of trials: from those that were measured on a device, else from one step per design, kept per host."""

import dataclasses
import json
import math
import os
import shutil

import pytest
import torch

from ser_ray.models import ModelConfig
from ser_ray.provenance import cpu_name, host_name
from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.sweep.planning import hours as estimate
from ser_ray.sweep.planning import trial_audio
from ser_ray.sweep.planning.hours import estimate_hours, forecast, measured_hours
from ser_ray.sweep.planning.measured import DeviceClass
from ser_ray.training.config import TrainingConfig
from ser_ray.training.numerics import effective_precision
from ser_ray.trial import Trial, TrialConfig, keyed_config, trial_key

STEP_S = 0.5
RATE = 250.0


@pytest.fixture
def trial(tiny_corpus, tmp_path):
    def make(model=None, **training):
        fields = {"channels": (3, 4), "kernels": (4, 6), "pools": (8, 8), "hidden": 5, **(model or {})}
        training = {"epochs": 3, "sequence_s": 0.08, "batch_size": 3, **training}
        config = TrialConfig(model=ModelConfig(**fields), training=TrainingConfig(**training))
        key = trial_key(config, tiny_corpus.fingerprint)
        return Trial(key=key, config=config, corpus=tiny_corpus, sweep="s", folder=SweepFolder(tmp_path / "s"))

    return make


@pytest.fixture
def measured(monkeypatch):
    """Every step takes half a second per second of audio; collects the trials that were measured."""
    asked = []
    monkeypatch.setattr(
        estimate, "_measure", lambda trial, batch_size, device, backend: (asked.append(trial), STEP_S)[1]
    )
    return asked


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "results" / "cache"


def device_here():
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu: {cpu_name()}"


def put(folder, trial, **columns):
    """The row of a trial that was measured."""
    config = keyed_config(trial.config, trial.corpus.fingerprint)
    row = {
        "key": trial_key(trial.config, trial.corpus.fingerprint),
        "status": "finished",
        "precision": trial.config.training.precision,
        "backend": "fused",
        "batch_size": trial.config.training.batch_size,
        "sequence_s": trial.config.training.sequence_s,
        "config": json.dumps(config),
        **columns,
    }
    write_part(folder, "trials", row["key"], make_table("trials", [row]))


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
    [
        {"model": {"hidden": 6}},
        {"model": {"pooling": "average"}},
        {"batch_size": 4},
        {"sequence_s": 0.04},
        {"precision": "float64"},
    ],
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


def test_each_back_end_is_measured_by_itself(trial, measured, cache):
    for backend in ("fused", "reference", "auto"):  # on a CPU auto is fused
        estimate_hours([trial()], cache, backend)
    assert len(measured) == (2 if not torch.cuda.is_available() else 3)


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
    assert "the measured steps cannot be cached: " in capsys.readouterr().err
    assert cache.read_text() == "a file where a folder should be"


def test_a_failure_to_keep_leaves_the_file_that_was(trial, measured, cache, monkeypatch):
    estimate_hours([trial()], cache)
    before = file_of(cache).read_bytes()
    shutil.copy(file_of(cache), cache / "copy")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    estimate_hours([trial(batch_size=5)], cache)
    assert file_of(cache).read_bytes() == before
    assert {path.name for path in cache.iterdir()} == {"copy", file_of(cache).name}


def test_a_step_is_really_measured(trial, cache, expected):
    (hours,) = estimate_hours([trial()], cache)
    (step,) = json.loads(file_of(cache).read_text()).values()
    assert 0 < step < 100
    assert hours == pytest.approx(expected() * step / STEP_S)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("precision", "backend"), [("float32", "reference"), ("float32", "fused"), ("bf16", "auto"), ("float64", "auto")]
)
def test_the_step_has_the_precision_and_back_end_of_the_trial(trial, cache, monkeypatch, precision, backend):
    seen = []
    real = estimate.build

    def build(config, chosen):
        model = real(config, chosen)
        model.blocks[-1].register_forward_hook(
            lambda module, inputs, output: seen.append((output.dtype, model.backend_on(output.device)))
        )
        return model

    monkeypatch.setattr(estimate, "build", build)
    estimate_hours([trial(precision=precision)], cache, backend, on_gpu=False)
    in_effect = effective_precision(precision, torch.device("cpu"))  # not every CPU has bfloat16
    dtype = {"bf16": torch.bfloat16, "float64": torch.float64}.get(in_effect, torch.float32)
    assert seen == [(dtype, "reference" if in_effect == "bf16" or backend == "reference" else "fused")] * 3


@pytest.mark.parametrize("segments", ["grid", "random"])
def test_hours_of_a_measured_trial_are_those_that_it_took(trial, tiny_corpus, cache, segments, tmp_path):
    """A training at a given speed, as the trial's row says it."""
    folder, planned = SweepFolder(tmp_path / "results" / "s"), trial(segments=segments, sequence_s=50 / RATE)
    samples_per_second = 12_345.0
    put(folder, planned, samples_per_second=samples_per_second, device=device_here())
    frames = {part: [r.frames for r in tiny_corpus.recordings(part)] for part in ("train", "devel", "test")}
    # 60, 45 and 37 frames in sequences of 50: a random one is whole but for recordings shorter than it
    trained = 50 + 50 + 45 + 37 if segments == "random" else sum(frames["train"])
    evaluated = 3 * sum(frames["devel"]) + sum(frames["devel"]) + sum(frames["test"])
    seconds = (3 * trained + evaluated / 3) * tiny_corpus.hop / samples_per_second
    found = forecast([planned], {planned.key}, [folder], cache)
    assert found.hours == (pytest.approx(seconds / 3600),)
    assert [(d.device, d.measured, d.hours) for d in found.devices] == [
        (f"{device_here()}, float32, fused", 1, pytest.approx(seconds / 3600))
    ]
    assert not cache.exists(), "nothing is measured"


def test_each_device_class_has_its_hours_of_what_is_to_do(trial, measured, cache, tmp_path):
    folder = SweepFolder(tmp_path / "results" / "s")
    trials = [trial(seed=seed, epochs=epochs) for seed, epochs in ((0, 3), (1, 5), (2, 7))]
    for seed, (device, speed) in enumerate((("gpu A", 1e6), ("gpu A", 3e6), ("gpu A", 9e6), ("gpu B", 1e5))):
        put(folder, trial(seed=seed), samples_per_second=speed, device=device, backend="reference")
    to_do = {trials[1].key, trials[2].key}
    found = forecast(trials, to_do, [folder], cache)
    assert len(measured) == 1, "nothing is known of this host"
    here, fast, slow = found.devices
    assert (here.device, here.measured) == (f"this host: {device_here()}", 0)
    assert here.hours == pytest.approx(sum(found.hours[1:]))
    assert found.hours == tuple(estimate_hours(trials, cache))
    assert (fast.device, fast.measured) == ("gpu A, float32, reference", 3)
    assert (slow.device, slow.measured) == ("gpu B, float32, reference", 1)
    assert slow.hours == pytest.approx(30 * fast.hours), "the median speed of A is 3e6"
    seconds = (5 + 7) * (60 + 45 + 37 + 83 / 3) + 2 * (83 + 68) / 3  # of frames: train, devel, test
    assert fast.hours == pytest.approx(seconds * 64 / 3e6 / 3600)


def test_a_class_is_of_one_precision_and_back_end(trial, measured, cache, tmp_path):
    folder = SweepFolder(tmp_path / "results" / "s")
    put(folder, trial(seed=1), samples_per_second=1e5, device=device_here(), backend="reference")
    put(folder, trial(seed=2), samples_per_second=1e5, device=device_here(), precision="bf16", backend="reference")
    found = forecast([trial()], {trial().key}, [folder], cache)
    assert len(measured) == 1, "no trial of this back end was measured"
    assert [device.measured for device in found.devices] == [0, 1, 1]
    forecast([trial(precision="bf16")], set(), [folder], cache)
    forecast([trial(model={"pooling": "average"})], set(), [folder], cache)
    forecast([trial()], set(), [folder], cache, "reference")
    assert len(measured) == 1


def test_ten_thousand_trials_of_a_design_are_measured_once(trial, measured, cache, monkeypatch):
    one = trial()
    trials = [dataclasses.replace(one, key=f"{n}") for n in range(10_000)]
    opened = []
    real = trial_audio.recordings_of
    monkeypatch.setattr(trial_audio, "recordings_of", lambda *a: (opened.append(a), real(*a))[1])
    found = forecast(trials, {trial.key for trial in trials}, [], cache)
    assert found.hours == (found.hours[0],) * 10_000
    assert found.devices[0].hours == pytest.approx(10_000 * found.hours[0])
    assert (len(measured), len(opened)) == (1, 3)


def test_measured_hours_are_of_all_trials_on_each_class_and_nothing_is_measured(trial, measured, tmp_path):
    folder = SweepFolder(tmp_path / "results" / "s")
    trials = [trial(seed=seed, epochs=epochs) for seed, epochs in ((0, 3), (1, 5))]
    for device, speed in (("gpu A", 1e6), ("cpu: B", 1e5)):
        put(folder, trial(seed=int(speed)), samples_per_second=speed, device=device)
    slow, fast = measured_hours(trials, [folder])
    assert (slow.device.device, slow.measured, slow.rough) == ("cpu: B", 1, False)
    assert slow.hours() == pytest.approx([10 * hours for hours in fast.hours()])
    frames = [epochs * (60 + 45 + 37 + 83 / 3) + (83 + 68) / 3 for epochs in (3, 5)]
    assert fast.hours() == pytest.approx([count * 64 / 1e6 / 3600 for count in frames])
    assert measured_hours([trial(model={"hidden": 6})], [folder])[0].rough
    assert measured_hours(trials, []) == []
    assert not measured


FRAMES = 3 * (60 + 45 + 37 + 83 / 3) + (83 + 68) / 3
"""Of the tiny corpus in a trial of three epochs: train, devel, then devel and test; evaluation counts a third."""


def hours_at(speed):
    return FRAMES * 64 / speed / 3600


@pytest.mark.parametrize(
    ("to_do", "gpus", "at_once"),
    [(8, 0.25, 4), (3, 0.25, 3), (1, 0.25, 1), (8, 0.3, 3), (8, 0.5, 2), (8, 1.0, 1), (8, 2.0, 1)],
)
def test_trials_that_share_a_gpu_take_it_no_less_time_than_one_after_the_other(
    trial, measured, cache, tmp_path, to_do, gpus, at_once
):
    folder = SweepFolder(tmp_path / "results" / "s")
    put(folder, trial(seed=99), samples_per_second=1e6, device="gpu A", backend="reference", gpus=1.0)
    put(folder, trial(seed=98), samples_per_second=1e6, device="cpu: B", backend="reference", gpus=0.0)
    trials = [trial(seed=seed) for seed in range(to_do)]
    found = {d.device: d for d in forecast(trials, {t.key for t in trials}, [folder], cache, gpus=gpus).devices}
    gpu, cpu = found["gpu A, float32, reference"], found["cpu: B, float32, reference"]
    assert (gpu.at_once, cpu.at_once) == (at_once, 1)
    assert (gpu.hours, cpu.hours) == pytest.approx((to_do * hours_at(1e6),) * 2)


def test_what_was_measured_at_the_share_that_trials_have_counts_as_it_is(trial, measured, cache, tmp_path):
    """Four trials on a GPU, each half as fast as alone, are twice as many in the same time."""
    folder = SweepFolder(tmp_path / "results" / "s")
    for seed, (speed, share) in enumerate(((1e6, 1.0), (5e5, 0.25), (4e5, 0.25), (6e5, 0.25))):
        row = {"device": "gpu A", "backend": "reference", "gpus": share}
        put(folder, trial(seed=90 + seed), samples_per_second=speed, **row)
    trials = [trial(seed=seed) for seed in range(8)]
    (_, gpu) = forecast(trials, {t.key for t in trials}, [folder], cache, gpus=0.25).devices
    assert gpu.hours == pytest.approx(8 * hours_at(5e5) / 4)
    (known,) = measured_hours(trials, [folder])
    assert known.hours(0.25) == pytest.approx((hours_at(5e5),) * 8)
    assert known.hours() == pytest.approx((hours_at(1e6),) * 8)


def test_a_step_of_this_hosts_gpu_is_one_of_a_trial_alone(trial, measured, cache, monkeypatch, expected):
    monkeypatch.setattr(estimate._Here, "device_class", lambda *_: DeviceClass("gpu here", "float32", "reference"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "gpu here")
    trials = [trial(seed=seed) for seed in range(6)]
    found = forecast(trials, {t.key for t in trials}, [], cache, gpus=0.25)
    assert found.hours == pytest.approx((4 * expected(),) * 6)
    (here,) = found.devices
    assert (here.at_once, here.hours) == (4, pytest.approx(6 * expected()))
