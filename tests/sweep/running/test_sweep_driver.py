"""What a run makes of what it is told, without Ray's processes."""

import contextlib
import errno
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from ser_ray import provenance
from ser_ray.errors import InputError
from ser_ray.gpus.usable import UsableGpus
from ser_ray.results import read_planned
from ser_ray.sweep.nodes import stop as ending
from ser_ray.sweep.nodes.cluster import Cluster, RayNotUpError
from ser_ray.sweep.nodes.ray_thread import RayThread
from ser_ray.sweep.nodes.rendezvous import Meeting
from ser_ray.sweep.nodes.stop import told
from ser_ray.sweep.planning.plan import Plan
from ser_ray.sweep.planning.states import TrialStates
from ser_ray.sweep.running import driver as works
from ser_ray.sweep.running.driver import SAVING, Driver
from ser_ray.sweep.running.options import RunOptions
from ser_ray.sweep.running.run import run_sweep
from ser_ray.sweep.spec.config import Resources, Schedule, SweepConfig


@pytest.fixture
def begin(folder, make_trial, tiny_config, tiny_corpus):
    """Returns the driver of a plan of one trial, with resources and schedule as given."""

    made = []

    def make(options=None, **sections):
        trial = make_trial(tiny_config())
        config = SweepConfig(name="tiny", **sections)
        plan = Plan(config=config, corpus=tiny_corpus, folder=folder, trials=(trial,), configurations=1)
        made.append(Driver(plan, [trial], TrialStates(to_train=(trial,)), options or RunOptions()))
        return made[-1]

    yield make
    for driver in made:
        driver._progress.__exit__()


def machines(*nodes):
    return Cluster(sum(c for c, _ in nodes), sum(g for _, g in nodes), tuple(nodes))


@pytest.fixture
def meet(begin, tmp_path):
    """Returns the driver of a job of three nodes, and what it says."""
    said = []
    meeting = Meeting(tmp_path, 3)
    driver = begin(RunOptions(meeting=meeting))
    driver._progress.say = said.append
    return driver, meeting, said


def test_the_cluster_is_where_the_head_of_the_job_tells(meet, monkeypatch):
    driver, meeting, _ = meet
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    monkeypatch.setattr(works, "LOOK_S", 0.01)
    threading.Timer(0.1, lambda: meeting.announce("10.0.0.1:20001")).start()
    assert driver._address() == "10.0.0.1:20001"


def test_a_job_of_one_node_starts_its_own(begin, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert begin(RunOptions(meeting=Meeting(tmp_path, 1)))._address() is None


def test_where_no_node_is_fit_the_reasons_are_told(meet):
    driver, meeting, _ = meet
    for number in range(3):
        meeting.refuse(f"n{number}", f"reason {number}")
    with pytest.raises(InputError, match=r"no head .* on the 3 nodes of this job\n  n0: reason 0\n  n1: reason 1"):
        driver._address()


def test_where_all_steps_are_over_sruns_words_are_told_at_once(meet):
    driver, meeting, _ = meet
    for number in range(3):
        (meeting.folder / f"ended-n{number}").write_text("srun: error: Unable to create step for job 7")
    with pytest.raises(
        InputError, match=r"all steps were over .* on the 3 nodes of this job\n  n0: srun: error: Unable"
    ):
        driver._address()


def test_what_a_node_says_itself_is_told_rather_than_that_its_step_is_over(meet):
    driver, meeting, _ = meet
    for number in range(3):
        (meeting.folder / f"ended-n{number}").write_text("srun: error: task 0: Exited with exit code 1")
        meeting.refuse(f"n{number}.cluster", "no disk")
    with pytest.raises(
        InputError, match=r"no head .* on the 3 nodes of this job\n  n0.cluster: no disk\n  n1"
    ) as raised:
        driver._address()
    assert "srun" not in str(raised.value)


def test_without_the_first_node_the_others_are_not_waited_for(meet):
    driver, meeting, _ = meet
    meeting.refuse(provenance.host_name(), "no disk")
    with pytest.raises(InputError, match=r"no head .* on the 3 nodes of this job\n  .*: no disk$"):
        driver._address()


def test_on_several_nodes_mps_is_the_sites_to_say(begin, tmp_path, monkeypatch):
    monkeypatch.delenv("SER_RAY_MPS", raising=False)
    driver = begin(RunOptions(meeting=Meeting(tmp_path, 3)), resources=Resources(mps=True))
    with pytest.raises(InputError, match=r"resources.mps is true, but on several nodes .* SER_RAY_MPS=1"):
        driver._on_cluster(None)


def test_a_head_is_not_waited_for_for_ever_nor_by_a_run_that_is_to_end(meet, monkeypatch):
    driver, _, _ = meet
    monkeypatch.setattr(works, "LOOK_S", 0.01)
    monkeypatch.setattr(works, "HEAD_S", 0.05)
    with pytest.raises(InputError, match=r"no head of a Ray cluster came up on the 3 nodes of this job$"):
        driver._address()
    driver._stop.ask("asked to end")
    assert driver._address() is None


def test_a_run_goes_on_with_fewer_nodes_and_says_which_and_why(meet, monkeypatch):
    driver, meeting, said = meet
    meeting.refuse("n3", "no disk")
    wanted = []
    monkeypatch.setattr(works, "wait_for_nodes", lambda nodes: wanted.append(nodes()) or machines((4, 0), (4, 0)))
    assert driver._all_nodes(machines((4, 0))) == machines((4, 0), (4, 0))
    assert wanted == [2]
    assert said == ["NODE      n3 takes no part: no disk", "NODE      going on with 2 of 3 nodes"]


def test_a_lost_cluster_is_told_at_the_meeting(meet):
    driver, meeting, _ = meet
    driver._on_lost_node()
    assert (meeting.folder / "lost").exists()
    assert driver._stop.now


class Stuck:
    """A training that ends when it is told."""

    def __init__(self, monkeypatch):
        self.over = threading.Event()
        monkeypatch.setattr(works, "LOOK_S", 0.01)
        self.thread = RayThread(self.over.wait, "training")
        self.thread.start()


def test_hours_that_are_over_end_the_run_and_it_waits_for_what_is_saved(begin, monkeypatch, capsys):
    driver, stuck = begin(schedule=Schedule(max_hours=1e-9)), Stuck(monkeypatch)
    threading.Timer(0.2, stuck.over.set).start()
    with told(driver._stop, driver._progress.say, lambda: SAVING):
        driver._attend(stuck.thread)
    assert driver._stop.reason == "schedule.max_hours (1e-09) is over"
    assert not driver._stop.now
    assert "trials save what they have" in capsys.readouterr().out


def test_what_does_not_save_in_time_is_left(begin, monkeypatch):
    monkeypatch.setattr(ending, "SAVE_S", 0.05)
    monkeypatch.setattr(works, "LEAVE_S", 0.05)
    driver, stuck = begin(schedule=Schedule(max_hours=1e-9)), Stuck(monkeypatch)
    begun = time.monotonic()
    with told(driver._stop, driver._progress.say, lambda: SAVING):
        driver._attend(stuck.thread)
    assert driver._stop.now
    assert time.monotonic() - begun < 5
    stuck.over.set()


def test_what_the_training_raised_is_raised(begin):
    def fail():
        raise ZeroDivisionError("in the thread")

    training = RayThread(fail, "training")
    training.start()
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        begin()._attend(training)


@pytest.fixture
def started(monkeypatch):
    """Has no cluster be started; notes with how many GPUs one would be, and what CUDA would see then."""
    seen = []

    @contextlib.contextmanager
    def stand_in(address, log, *, gpus):
        seen.append((gpus, os.environ.get("CUDA_VISIBLE_DEVICES")))
        yield machines((8, 0))

    monkeypatch.setattr(works, "cluster", stand_in)
    monkeypatch.setattr(works, "NodeWatch", lambda *_: contextlib.nullcontext(SimpleNamespace(tell_changes=int)))
    monkeypatch.setattr(works, "_compile_kernels", lambda training: None)
    for name in ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return seen


class NoPool:
    """Searches nothing."""

    def __init__(self, *_):
        pass

    def submit(self, key):
        raise AssertionError("nothing is trained")

    def close(self, now):
        pass


def go(driver, monkeypatch):
    monkeypatch.setattr(works, "SearchPool", NoPool)
    monkeypatch.setattr(driver, "_train", lambda *_: None)
    with ThreadPoolExecutor(1) as beside:
        driver._on_cluster(beside)


class SlowPool(NoPool):
    """Searches until the run ends; somebody asks for that meanwhile."""

    def submit(self, key):
        pass

    def close(self, now):
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 20
        while not now() and time.monotonic() < deadline:
            time.sleep(0.01)


def test_a_wish_to_end_is_said_and_kept_while_only_searches_are_left(begin, started, monkeypatch, capsys):
    monkeypatch.setattr(ending, "LOOK_S", 0.01)
    monkeypatch.setattr(ending, "SAVE_S", 0.1)
    monkeypatch.setattr(works, "SearchPool", SlowPool)
    driver = begin()
    driver._states = TrialStates(to_search=driver._plan.trials)
    driver.run(lambda: "interrupted")
    assert driver._stop.now
    out = capsys.readouterr().out
    assert "ending    asked to end by SIGTERM: what is trained is searched, for two minutes at most; once more" in out
    assert "ending    at once" in out


def test_ray_is_told_the_gpus_that_were_found_usable_and_the_others_are_said_and_hidden(
    begin, started, monkeypatch, capsys
):
    found = UsableGpus(("0", "2"), all_visible=False, unusable=("GPU 1 (H100): ECC",))
    monkeypatch.setattr(works, "usable_gpus", lambda: found)
    go(begin(), monkeypatch)
    assert started == [(2, "0,2")]
    assert "GPU       not used: GPU 1 (H100): ECC" in capsys.readouterr().out


@pytest.mark.parametrize("given", [None, "2"])
def test_who_asks_for_no_gpu_trains_on_the_cpu_and_nothing_is_probed(begin, started, monkeypatch, given):
    monkeypatch.setattr(works, "usable_gpus", lambda: pytest.fail("not needed"))
    if given:
        monkeypatch.setenv("SLURM_GPUS_ON_NODE", given)
    go(begin(resources=Resources(gpus=0)), monkeypatch)
    assert started == [(0, None)]


def test_a_cluster_without_gpus_in_a_job_that_was_given_some_is_not_used(begin, started, monkeypatch):
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(InputError, match="this job was given 2 GPUs, but PyTorch can use none"):
        go(begin(), monkeypatch)


def breaks(error):
    def run(driver, outcome):
        driver._progress.__exit__()
        raise error

    return run


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EACCES", "ESTALE", "EIO"])
def test_results_that_cannot_be_written_any_more_end_the_run_wherever_it_is(begin, monkeypatch, capsys, name):
    plan = begin()._plan
    error = OSError(getattr(errno, name), "in trouble", str(plan.folder.path / "plan.json"))
    monkeypatch.setattr(Driver, "run", breaks(error))
    assert run_sweep(plan, RunOptions()) == 75
    out = capsys.readouterr().out
    assert f"{ending.MAKE_ROOM} (in trouble: {error.filename})" in out


def test_an_error_of_another_place_is_not_taken_for_it(begin, monkeypatch):
    plan = begin()._plan
    error = OSError(errno.EIO, "in trouble", "/elsewhere")
    monkeypatch.setattr(Driver, "run", breaks(error))
    with pytest.raises(OSError, match="in trouble"):
        run_sweep(plan, RunOptions())


def test_what_is_proposed_belongs_to_the_plan_from_then_on(begin, make_trial, tiny_config):
    driver = begin()
    driver._plan.record()
    (known,), plans = [trial.key for trial in driver._plan.trials], [read_planned(driver._folder)]
    proposed = [make_trial(tiny_config(seed=seed)) for seed in (8, 9)]
    for trial in proposed:
        driver._on_proposed(trial)
        plans.append(read_planned(driver._folder))
    first, second = (trial.key for trial in proposed)
    assert plans == [{known}, {known, first}, {known, first, second}]
    assert driver.proposed == proposed


def test_a_ray_that_is_not_up_in_time_leaves_the_trials_open_and_says_so(begin, monkeypatch, capsys):
    @contextlib.contextmanager
    def late(*_, **__):
        raise RayNotUpError("Ray did not start in time")
        yield

    monkeypatch.setattr(works, "cluster", late)
    monkeypatch.setattr(works, "_compile_kernels", lambda training: None)
    run_sweep(begin()._plan, RunOptions())
    out = capsys.readouterr().out
    assert "RAY       Ray did not start in time" in out
    assert "1 of 1 trials are open: run the same command again" in out
