"""How fast devices were, read from rows of trials."""

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.models import ModelConfig
from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.sweep.planning import measured
from ser_ray.sweep.planning.measured import DeviceClass, Speed, Speeds, read_speeds, sweeps_beside

SMALL = ModelConfig(channels=(2, 2), kernels=(3, 3), pools=(4, 4), hidden=3)
LARGE = ModelConfig(channels=(8, 8), kernels=(5, 5), pools=(4, 4), hidden=9)
OTHER_HOP = ModelConfig(channels=(4, 4), kernels=(3, 3), pools=(4, 8), hidden=5)
CLASS = {"device": "gpu", "precision": "float32", "backend": "reference"}


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "results" / "s")


def put(folder, key, speed=1000.0, model=SMALL, **columns):
    config = {"model": {name: getattr(model, name) for name in model.__dataclass_fields__}}
    row = {
        "key": key,
        "status": "finished",
        "batch_size": 5,
        "sequence_s": 20.0,
        "samples_per_second": speed,
        "config": json.dumps(config),
        **CLASS,
        **columns,
    }
    write_part(folder, "trials", key, make_table("trials", [row]))


def test_the_nearest_measured_trials_are_taken():
    speeds = Speeds((
        Speed(SMALL, 5, 20.0, 1.0), Speed(SMALL, 5, 20.0, 3.0), Speed(SMALL, 5, 20.0, 4.0),
        Speed(SMALL, 2, 20.0, 9.0), Speed(SMALL, 5, 6.0, 10.0),
    ))  # fmt: skip
    both = Speeds((*speeds.trials, Speed(LARGE, 5, 20.0, 1e6)))
    assert both.seconds_per_sample(SMALL, 7, 7.0) == 4.0, "whatever other networks took"
    assert speeds.seconds_per_sample(SMALL, 5, 20.0) == 3.0
    assert speeds.seconds_per_sample(SMALL, 2, 20.0) == 9.0
    assert speeds.seconds_per_sample(SMALL, 7, 7.0) == 4.0, "the median of all with this network"
    per_sample = {model: model.multiply_adds / model.hop for model in (SMALL, LARGE, OTHER_HOP)}
    for model in (LARGE, OTHER_HOP):
        expected = 4.0 * per_sample[model] / per_sample[SMALL]
        assert speeds.seconds_per_sample(model, 5, 20.0) == pytest.approx(expected)


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=5), st.floats(1e-3, 1e3))
def test_a_device_twice_as_slow_takes_twice_as_long(seconds, factor):
    def speeds(factor):
        return Speeds(tuple(Speed((SMALL, OTHER_HOP)[n % 2], 5, 20.0, s * factor) for n, s in enumerate(seconds)))

    for model in (SMALL, LARGE, OTHER_HOP):
        one, other = (speeds(f).seconds_per_sample(model, 5, 20.0) for f in (1.0, factor))
        assert other == pytest.approx(factor * one)


def test_rows_are_read_by_class(folder):
    put(folder, "a", 1000.0)
    put(folder, "b", 500.0)
    put(folder, "c", 250.0, backend="fused")
    put(folder, "d", 125.0, device="cpu: x")
    found = read_speeds([folder])
    assert {device: [s.seconds_per_sample for s in speeds.trials] for device, speeds in found.items()} == {
        DeviceClass("gpu", "float32", "reference"): [1 / 1000, 1 / 500],
        DeviceClass("gpu", "float32", "fused"): [1 / 250],
        DeviceClass("cpu: x", "float32", "reference"): [1 / 125],
    }
    assert str(next(iter(found))) == "cpu: x, float32, reference"


@pytest.mark.parametrize(
    "row",
    [
        {"status": "stopped"},
        {"status": "failed", "device": None},
        {"device": None},
        {"precision": None},
        {"backend": None},
        {"samples_per_second": None},
        {"config": json.dumps({"model": {"attention": 8}})},
        {"config": json.dumps({})},
    ],
    ids=str,
)
def test_what_tells_nothing_is_passed_over(folder, row):
    put(folder, "a")
    put(folder, "b", **row)
    (speeds,) = read_speeds([folder]).values()
    assert len(speeds.trials) == 1


def test_a_trial_that_two_sweeps_share_counts_once(folder, tmp_path):
    other = SweepFolder(tmp_path / "results" / "t")
    for place in (folder, other):
        put(place, "a")
    put(other, "b")
    (speeds,) = read_speeds([folder, other]).values()
    assert len(speeds.trials) == 2


def test_a_sweep_that_cannot_be_read_is_said_and_left_out(folder, tmp_path, capsys):
    other = SweepFolder(tmp_path / "results" / "t")
    put(folder, "a")
    put(other, "b")
    other.part("trials", "c").write_bytes(b"PAR1")
    assert len(read_speeds([other, folder])) == 1
    assert "left out of the estimate: " in capsys.readouterr().err


def test_of_many_rows_a_sample_spread_over_all_is_read(folder, monkeypatch):
    monkeypatch.setattr(measured, "MOST_ROWS", 4)
    for number in range(10):
        put(folder, f"{number}", float(number + 1))
    (speeds,) = read_speeds([folder]).values()
    assert [round(1 / s.seconds_per_sample) for s in speeds.trials] == [1, 4, 7, 10]


def test_nothing_is_known_of_a_sweep_that_has_not_run(folder):
    assert read_speeds([folder]) == {}


def test_the_sweeps_beside_are_those_of_the_same_results(folder, tmp_path):
    for path in ("results/s", "results/t", "results/.hidden/u", "results/v/reproduce/w", "results/no-sweep"):
        (tmp_path / path).mkdir(parents=True)
        if path != "results/no-sweep":
            (tmp_path / path / "sweep.yaml").write_text("name: x")
    assert [f.path.name for f in sweeps_beside(folder)] == ["s", "t"]
    absent = SweepFolder(tmp_path / "results" / "new")
    assert [f.path.name for f in sweeps_beside(absent)] == ["s", "t"]


def test_the_median_network_counts_not_the_median_trial():
    many = [Speed(SMALL, 5, 20.0, 1.0)] * 9
    speeds = Speeds((*many, Speed(OTHER_HOP, 5, 20.0, 1.0)))
    per = [model.hop / model.multiply_adds for model in (SMALL, OTHER_HOP)]
    expected = statistics.median(per) * LARGE.multiply_adds / LARGE.hop
    assert speeds.seconds_per_sample(LARGE, 5, 20.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("had", "asked", "factor"),
    [
        (1.0, 0.25, 4.0),  # others take the rest
        (0.5, 0.25, 2.0),
        (1.0, 1.0, 1.0),
        (0.25, 1.0, 1.0),  # whether it would be quicker with more nobody has measured
        (0.25, 0.5, 1.0),
    ],
)
def test_a_smaller_share_of_a_gpu_takes_longer_and_a_larger_one_as_long(had, asked, factor):
    speeds = Speeds((Speed(SMALL, 5, 20.0, 3.0, share=had),))
    for known in ((SMALL, 5, 20.0), (SMALL, 2, 6.0)):
        assert speeds.seconds_per_sample(*known, asked) == pytest.approx(3.0 * factor)
    per_sample = {model: model.multiply_adds / model.hop for model in (SMALL, LARGE)}
    rough = 3.0 * factor * per_sample[LARGE] / per_sample[SMALL]
    assert speeds.seconds_per_sample(LARGE, 5, 20.0, asked) == pytest.approx(rough)


def test_trials_that_had_the_share_come_before_those_of_others():
    had = ((1.0, 1.0), (1.2, 1.0), (2.5, 0.25), (2.6, 0.25), (9.0, 0.25))
    speeds = Speeds(tuple(Speed(SMALL, 5, 20.0, seconds, share=share) for seconds, share in had))
    assert speeds.seconds_per_sample(SMALL, 5, 20.0, 0.25) == 2.6
    assert speeds.seconds_per_sample(SMALL, 5, 20.0, 1.0) == pytest.approx(1.1)
    scaled = [2 * 1.0, 2 * 1.2, 2.5, 2.6, 9.0]  # at a half, which none had
    assert speeds.seconds_per_sample(SMALL, 5, 20.0, 0.5) == statistics.median(scaled)


@pytest.mark.parametrize(
    ("gpus", "share"), [(0.25, 0.25), (0.3333, 0.333), (1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (None, 1.0)]
)
def test_rows_tell_the_share_that_a_trial_had(folder, gpus, share):
    put(folder, "a", gpus=gpus)
    (speeds,) = read_speeds([folder]).values()
    assert [trial.share for trial in speeds.trials] == [share]


def test_a_third_is_a_third_however_it_is_rounded():
    speeds = Speeds((Speed(SMALL, 5, 20.0, 1.0), Speed(SMALL, 5, 20.0, 2.0, share=0.333)))
    assert speeds.seconds_per_sample(SMALL, 5, 20.0, 1 / 3) == speeds.seconds_per_sample(SMALL, 5, 20.0, 0.3334) == 2.0


def test_devices_are_gpus_or_processors():
    assert DeviceClass("NVIDIA H100", "float32", "reference").is_gpu
    assert not DeviceClass("cpu: x", "float32", "fused").is_gpu
