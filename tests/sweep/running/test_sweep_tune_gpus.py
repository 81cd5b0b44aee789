"""Trials on GPUs that are not there: Ray is told of four, and a stand-in for the training tells where it was put.

No trial goes on before all have their first place, however long their processes take to start: a machine that has much
else to do would place the last ones where the first were.
"""

import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray import cloudpickle

from ser_ray.sweep.nodes.cluster import OWN_CHOICE
from ser_ray.sweep.nodes.ray_folder import prepare_environment
from ser_ray.sweep.nodes.stop import StopRequest
from ser_ray.sweep.nodes.trial_resources import TrialResources
from ser_ray.sweep.running import trainable, tune
from ser_ray.sweep.running.queue import TrialQueue
from ser_ray.sweep.running.worker import DeviceFaultError, WorkerOptions
from ser_ray.sweep.spec.config import Schedule
from ser_ray.trial.place import NOWHERE

pytestmark = pytest.mark.slow

LONGEST_S = 400
"""What no machine takes to start eight processes: a trial that waits so long fails, and says so."""


@pytest.fixture(scope="module")
def four_gpus():
    prepare_environment()
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        num_cpus=8,
        num_gpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": {**OWN_CHOICE, "OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


@pytest.fixture
def gpus(four_gpus):
    """Takes back what trials told each other of the node's GPUs, such as that one is set aside."""
    yield
    shutil.rmtree(Path(ray._private.worker._global_node.get_session_dir_path()) / "ser_ray_gpus")


class Told:
    """In the place of what a run makes of its trials' ends."""

    def __init__(self):
        self.faults, self.failures, self.lefts, self.shares, self.places = [], {}, [], {}, {}

    def started(self, key, kill):
        pass

    def place(self, key):
        return NOWHERE

    def epoch(self, key, figures):
        self.shares[key] = figures["gpus"]

    def faulted(self, key, fault):
        self.faults.append((key, fault))

    def failed(self, key, reason):
        self.failures[key] = reason

    def left(self, key):
        self.lefts.append(key)


def stand_in(folder, bad, trials):
    """Return what takes the place of run_trial: it notes its GPU, and waits until all trials have; bad ones fault."""

    def run_trial(trial, share, options, on_epoch, on_place):
        gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        written = folder / f".{trial.key}"
        written.write_text(json.dumps({"key": trial.key, "gpu": gpu, "share": share}))
        written.rename(folder / f"{trial.key}.{time.monotonic_ns()}")
        began = time.monotonic()
        while len({path.stem for path in folder.glob("[!.]*")}) < trials:
            assert time.monotonic() - began < LONGEST_S, "not all trials were given a place"
            time.sleep(0.05)
        if gpu in bad or trial.config.training.seed in bad:
            raise DeviceFaultError("CUDA error: uncorrectable ECC error encountered")
        pooled = {"mean": 0.5, "arousal": 0.5, "valence": 0.5}
        on_epoch(
            SimpleNamespace(
                epoch=1, train_loss=0.5, devel=SimpleNamespace(pooled=pooled), train_seconds=1.0, evaluate_seconds=1.0
            )
        )

    return run_trial


@pytest.fixture
def train(gpus, make_trial, tiny_config, tmp_path, monkeypatch):
    """Returns what trains so many trials, and returns what they noted, and what was told."""

    def run(trials, *, bad=(), wrong="a convolution is off"):
        noted = tmp_path / "noted"
        noted.mkdir()
        monkeypatch.setattr(trainable, "run_trial", stand_in(noted, bad, trials))
        monkeypatch.setattr(trainable, "wrong_with", lambda gpu: wrong)
        for module in (tune, trainable):  # with the stand-ins
            cloudpickle.register_pickle_by_value(module)
        ours = [make_trial(tiny_config(seed=seed)) for seed in range(1, trials + 1)]
        stop = StopRequest(tmp_path / "go")
        told = Told()
        options = tune.TuneOptions(
            schedule=Schedule(),
            most_epochs=3,
            resources=TrialResources(1.0, 0.25),
            worker=WorkerOptions(go_file=stop.file, silence_s=600.0, save_every_s=600.0),
            folder=tmp_path / "scratch",
        )
        queue = TrialQueue(ours, slots=8)
        try:
            tune.train_trials(queue, told, stop, options)
        finally:
            for module in (tune, trainable):
                cloudpickle.unregister_pickle_by_value(module)
        told.stop = stop
        return [json.loads(path.read_text()) for path in sorted(noted.iterdir())], told

    return run


def test_six_trials_use_all_of_four_gpus_at_once_and_their_rows_know_their_shares(train):
    noted, told = train(6)
    assert sorted(Counter(one["gpu"] for one in noted).values()) == [1, 1, 2, 2]
    assert sorted(one["share"] for one in noted) == [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]
    assert {one["key"]: one["share"] for one in noted} == told.shares


def test_a_faulty_gpu_is_set_aside_and_named_and_its_trials_go_on_elsewhere(train):
    noted, told = train(8, bad=("0",))
    assert not told.failures
    assert len(told.shares) == 8
    assert not told.stop.requested
    aside = [fault for _, fault in told.faults if fault.set_aside]
    assert [fault.gpu for fault in aside] == ["0"]
    assert aside[0].set_aside.endswith("faults in a row; a convolution is off")
    assert {fault.gpu for _, fault in told.faults} == {"0"}
    met = {key for key, _ in told.faults}
    assert all({one["gpu"] for one in noted if one["key"] == key} - {"0"} for key in met)


def test_a_trial_that_faults_wherever_it_is_put_fails_alone(train):
    noted, told = train(4, bad=(2,))
    ((key, reason),) = told.failures.items()
    assert reason.startswith("GPU faults ended it 3 times (")
    assert reason.endswith("): CUDA error: uncorrectable ECC error encountered")
    assert len({one["gpu"] for one in noted if one["key"] == key}) >= 2
    assert len(told.shares) == 3


def test_without_a_gpu_that_works_the_run_ends_and_its_trials_stay_open(train):
    noted, told = train(8, bad=("0", "1", "2", "3"))
    assert told.stop.reason == "no working GPU is left: check them with ser-ray doctor"
    aside = [fault for _, fault in told.faults if fault.set_aside]
    assert {fault.gpu for fault in aside} == {one["gpu"] for one in noted} == {"0", "1", "2", "3"}
    assert not told.shares
    assert told.lefts
