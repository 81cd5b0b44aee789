"""A run's driver without Ray's processes."""

import contextlib
import errno
import os
import signal
import threading
import time

import pytest

from ser_ray.errors import InputError
from ser_ray.gpus.usable import UsableGpus
from ser_ray.results import read_planned
from ser_ray.sweep.nodes import stop as stopping
from ser_ray.sweep.nodes.cluster import Cluster, RayNotUpError
from ser_ray.sweep.nodes.ray_folder import RayThread
from ser_ray.sweep.nodes.rendezvous import Rendezvous
from ser_ray.sweep.nodes.stop import StopRequest, announce_stop
from ser_ray.sweep.planning.plan import Plan
from ser_ray.sweep.planning.states import TrialStates
from ser_ray.sweep.running import driver as module
from ser_ray.sweep.running.driver import SAVING, Driver, wait_for_training
from ser_ray.sweep.running.options import RunOptions
from ser_ray.sweep.running.run import run_sweep
from ser_ray.sweep.spec.config import Resources, SweepConfig


@pytest.fixture
def make_plan(folder, make_trial, tiny_config, tiny_corpus):
    """Returns a plan of one trial, with sections of its sweep as given."""

    def make(guided=None, **sections):
        config = SweepConfig(name="tiny", **sections)
        trial = make_trial(tiny_config())
        return Plan(config=config, corpus=tiny_corpus, folder=folder, trials=(trial,), configurations=1, guided=guided)

    return make


@pytest.fixture
def run(make_plan):
    """Runs the driver of such a plan, whose trial is to be trained or only to be searched, and returns it."""

    def go(plan=None, options=None, *, trained=False):
        plan = plan or make_plan()
        states = TrialStates(to_search=plan.trials) if trained else TrialStates(to_train=plan.trials)
        driver = Driver(plan, plan.trials, states, options or RunOptions())
        driver.run(lambda: "interrupted")
        return driver

    return go


def test_on_several_nodes_mps_is_the_sites_to_say(run, make_plan, tmp_path, monkeypatch):
    monkeypatch.delenv("SER_RAY_MPS", raising=False)
    with pytest.raises(InputError, match=r"resources.mps is true, but on several nodes .* SER_RAY_MPS=1"):
        run(make_plan(resources=Resources(mps=True)), RunOptions(rendezvous=Rendezvous(tmp_path, 3)))


class Impatient(StopRequest):
    """A request whose hours last a few seconds."""

    @property
    def elapsed_s(self):
        return 1000 * super().elapsed_s


@pytest.fixture
def stop(tmp_path):
    return StopRequest(tmp_path / "go")


@pytest.fixture
def stuck():
    """A training that ends when it is told."""
    over = threading.Event()
    thread = RayThread(over.wait, "training")
    thread.start()
    yield thread, over
    over.set()


def test_hours_that_are_over_end_the_run_and_it_waits_for_what_is_saved(stop, stuck):
    (training, over), lines = stuck, []

    def log(line):
        lines.append(line)
        over.set()  # what is saved is saved

    with announce_stop(stop, log, lambda: SAVING):
        wait_for_training(training, stop, 1e-9)
    assert not training.running
    assert stop.reason == "schedule.max_hours (1e-09) is reached"
    assert not stop.now
    assert "trials save a checkpoint" in lines[0]


def test_what_does_not_save_in_time_is_left(tmp_path, stuck):
    (training, _), stop = stuck, Impatient(tmp_path / "go")
    begun = time.monotonic()
    with announce_stop(stop, print, lambda: SAVING):
        wait_for_training(training, stop, 1e-9)
    assert stop.now
    assert training.running
    assert time.monotonic() - begun < 5


def test_what_the_training_raised_is_raised(stop):
    def fail():
        raise ZeroDivisionError("in the thread")

    training = RayThread(fail, "training")
    training.start()
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        wait_for_training(training, stop, None)


class NoPool:
    """Searches nothing."""

    def __init__(self, *_):
        pass

    def submit(self, key):
        raise AssertionError("nothing is trained")

    def close(self, now):
        pass


class NoWatch:
    """Notices nothing."""

    def __init__(self, on_lost, *_):
        self.on_lost = on_lost

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def log_changes(self):
        pass


@pytest.fixture
def started(monkeypatch):
    """Has no cluster be started; notes with how many GPUs one would be, and what CUDA would see then."""
    seen = []

    @contextlib.contextmanager
    def stand_in(address, log, *, gpus):
        seen.append((gpus, os.environ.get("CUDA_VISIBLE_DEVICES")))
        yield Cluster(8, 0, ((8, 0),))

    for name, value in {
        "cluster": stand_in,
        "NodeWatch": NoWatch,
        "SearchPool": NoPool,
        "train_trials": lambda *_: None,
        "_compile_kernels": lambda training: None,
    }.items():
        monkeypatch.setattr(module, name, value)
    for name in ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return seen


def test_a_lost_cluster_is_reported_at_the_rendezvous_and_ends_the_run_at_once(
    run, make_plan, started, tmp_path, monkeypatch, capsys
):
    class LostNode(NoWatch):
        def log_changes(self):
            self.on_lost()

    monkeypatch.setattr(module, "NodeWatch", LostNode)
    monkeypatch.setattr(module, "train_trials", lambda *_: pytest.fail("no cluster is left"))
    run(make_plan(resources=Resources(gpus=0)), RunOptions(rendezvous=Rendezvous(tmp_path, 1)))
    assert (tmp_path / "lost").exists()
    assert f"ending    {stopping.RAY_LOST}: immediately" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "cpus", "trained", "actors"),
    [
        (None, 2, False, 1),  # a laptop: one, beside the trials
        (None, 64.5, True, 64),  # nothing is trained
        (None, 0.5, True, 1),
        (3, 64, False, 3),
    ],
)
def test_searches_take_the_cores_that_trials_leave(run, make_plan, started, monkeypatch, asked, cpus, trained, actors):
    @contextlib.contextmanager
    def stand_in(*_, **__):
        yield Cluster(cpus, 0, ((cpus, 0),))

    class CountedPool(NoPool):
        def __init__(self, folder, number, on_done):
            given.append(number)

        def submit(self, key):
            pass

    given = []
    monkeypatch.setattr(module, "cluster", stand_in)
    monkeypatch.setattr(module, "SearchPool", CountedPool)
    run(make_plan(resources=Resources(gpus=0, search_actors=asked)), trained=trained)
    assert given == [actors]


def test_on_gpus_searches_take_the_cores_that_trials_have_no_share_for(run, started, monkeypatch):
    given = []
    monkeypatch.setattr(module, "usable_gpus", lambda: UsableGpus(("0",)))
    monkeypatch.setattr(module, "cluster", lambda *_, **__: contextlib.nullcontext(Cluster(64, 8, ((64, 8),))))
    monkeypatch.setattr(module, "SearchPool", lambda folder, number, on_done: given.append(number) or NoPool())
    run()
    assert given == [32]


class SlowPool(NoPool):
    """Searches until the run ends; somebody asks for that meanwhile."""

    ended_by_request = False

    def submit(self, key):
        pass

    def close(self, now):
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 20
        while not now() and time.monotonic() < deadline:
            time.sleep(0.01)
        SlowPool.ended_by_request = now()


def test_a_request_to_stop_is_announced_and_kept_while_only_searches_are_left(run, started, monkeypatch, capsys):
    monkeypatch.setattr(stopping, "SAVE_S", 1.0)
    monkeypatch.setattr(module, "SearchPool", SlowPool)
    run(trained=True)
    assert SlowPool.ended_by_request
    out = capsys.readouterr().out
    assert "ending    received SIGTERM: trained trials are searched, for at most two minutes; a second Ctrl-C" in out
    assert "ending    immediately" in out


def test_ray_is_told_the_gpus_that_were_found_usable_and_the_others_are_said_and_hidden(
    run, started, monkeypatch, capsys
):
    found = UsableGpus(("0", "2"), all_visible=False, unusable=("GPU 1 (H100): ECC",))
    monkeypatch.setattr(module, "usable_gpus", lambda: found)
    run()
    assert started == [(2, "0,2")]
    assert "GPU       not used: GPU 1 (H100): ECC" in capsys.readouterr().out


@pytest.mark.parametrize("given", [None, "2"])
def test_who_asks_for_no_gpu_trains_on_the_cpu_and_nothing_is_probed(run, make_plan, started, monkeypatch, given):
    monkeypatch.setattr(module, "usable_gpus", lambda: pytest.fail("not needed"))
    if given:
        monkeypatch.setenv("SLURM_GPUS_ON_NODE", given)
    run(make_plan(resources=Resources(gpus=0)))
    assert started == [(0, None)]


def test_a_cluster_without_gpus_in_a_job_that_was_given_some_is_not_used(run, started, monkeypatch):
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(InputError, match="this job was given 2 GPUs, but PyTorch can use none"):
        run()


def breaks(error):
    def run(driver, outcome):
        raise error

    return run


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EACCES", "ESTALE", "EIO"])
def test_results_that_cannot_be_written_any_more_end_the_run_wherever_it_is(make_plan, monkeypatch, capsys, name):
    plan = make_plan()
    error = OSError(getattr(errno, name), "in trouble", str(plan.folder.path / "plan.json"))
    monkeypatch.setattr(Driver, "run", breaks(error))
    assert run_sweep(plan, RunOptions()) == 75
    out = capsys.readouterr().out
    assert f"{stopping.MAKE_ROOM} ({os.strerror(error.errno)}: {error.filename})" in out


def test_an_error_of_another_place_is_not_taken_for_it(make_plan, monkeypatch):
    error = OSError(errno.EIO, "in trouble", "/elsewhere")
    monkeypatch.setattr(Driver, "run", breaks(error))
    with pytest.raises(OSError, match="in trouble"):
        run_sweep(make_plan(), RunOptions())


class Guided:
    """Proposes these trials, one after the other."""

    def __init__(self, trials):
        self._trials = list(trials)

    @property
    def remaining(self):
        return len(self._trials)

    def ask(self):
        return (self._trials.pop(0),) if self._trials else ()


def test_what_is_proposed_belongs_to_the_plan_from_then_on(
    run, make_plan, make_trial, tiny_config, started, monkeypatch
):
    proposed = [make_trial(tiny_config(seed=seed)) for seed in (8, 9)]
    plan, plans = make_plan(Guided(proposed), resources=Resources(gpus=0)), []
    plan.record()

    def train(queue, *_):
        while queue.next() is not None:
            plans.append(read_planned(plan.folder))

    monkeypatch.setattr(module, "train_trials", train)
    driver = run(plan)
    (known,) = (trial.key for trial in plan.trials)
    first, second = (trial.key for trial in proposed)
    assert plans == [{known}, {known, first}, {known, first, second}]
    assert driver.proposed == proposed


def test_a_ray_that_is_not_up_in_time_leaves_the_trials_open_and_a_job_begins_again(
    make_plan, tmp_path, monkeypatch, capsys
):
    @contextlib.contextmanager
    def late(*_, **__):
        raise RayNotUpError("Ray did not start in time")
        yield

    monkeypatch.setattr(module, "cluster", late)
    monkeypatch.setattr(module, "_compile_kernels", lambda training: None)
    run_sweep(make_plan(), RunOptions(rendezvous=Rendezvous(tmp_path, 1)))
    assert (tmp_path / "lost").exists()
    out = capsys.readouterr().out
    assert "RAY       Ray did not start in time" in out
    assert "1 of 1 trial not finished: run the same command again" in out
