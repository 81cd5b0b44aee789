"""What a run makes of what it is told, without Ray's processes."""

import contextlib
import dataclasses
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
from ser_ray.sweep import ending
from ser_ray.sweep import work as works
from ser_ray.sweep.cluster import Cluster, RayNotUpError
from ser_ray.sweep.config import Resources, Schedule
from ser_ray.sweep.ending import told
from ser_ray.sweep.meeting import Meeting
from ser_ray.sweep.ray_thread import RayThread
from ser_ray.sweep.run import SweepRun
from ser_ray.sweep.standing import Standing
from ser_ray.sweep.trial_resources import with_resources
from ser_ray.sweep.work import SAVING, Work


@pytest.fixture
def begin(folder, make_trial, tiny_config):
    """Returns the work of a run of one trial, with resources and schedule as given."""

    made = []

    def make(**sections):
        trial = make_trial(tiny_config())
        config = SimpleNamespace(resources=Resources(), schedule=Schedule(), replicates=1)
        vars(config).update(sections)
        run = SweepRun(
            config=config, resolved="", folder=folder, trials=(trial,), labels={trial.key: "it, seed 1"}, template=trial
        )
        made.append(Work(run, Standing(frozenset(), frozenset(), {}, (), (trial,))))
        return made[-1]

    yield make
    for work in made:
        work._progress.__exit__()


def machines(*nodes):
    return Cluster(sum(c for c, _ in nodes), sum(g for _, g in nodes), tuple(nodes))


@pytest.mark.parametrize(
    ("nodes", "asked", "given"),
    [
        ([(8, 0)], {"cpus": 4, "gpus": 0.25}, (1.0, 0.0)),
        ([(8, 0), (8, 2)], {"cpus": 4, "gpus": 0.25}, (4.0, 0.25)),
        ([(8, 2)], {"cpus": 4, "gpus": 0.0}, (1.0, 0.0)),
    ],
)
def test_a_trial_takes_its_share_of_a_gpu_or_one_core_without(begin, nodes, asked, given):
    shared = with_resources(begin()._run.template, Resources(**asked), machines(*nodes), print)
    assert (shared.cpus, shared.gpus) == given


@pytest.mark.parametrize("asked", [{"cpus": 9, "gpus": 1.0}, {"cpus": 1, "gpus": 3.0}])
def test_a_trial_larger_than_any_node_is_refused_and_does_not_wait_for_ever(begin, asked):
    with pytest.raises(InputError, match=r"no node has as much \(nodes have 8 CPUs and 2 GPUs\)"):
        with_resources(begin()._run.template, Resources(**asked), machines((8, 2), (8, 2)), print)


@pytest.fixture
def meet(begin, tmp_path):
    """Returns the work of a job of three nodes, and what it says."""
    said = []
    work = begin()
    work._run = dataclasses.replace(work._run, meeting=Meeting(tmp_path, 3))
    work._progress.say = said.append
    return work, work._run.meeting, said


def test_the_cluster_is_where_the_head_of_the_job_tells(meet, monkeypatch):
    work, meeting, _ = meet
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    monkeypatch.setattr(works, "LOOK_S", 0.01)
    threading.Timer(0.1, lambda: meeting.announce("10.0.0.1:20001")).start()
    assert work._address() == "10.0.0.1:20001"


def test_a_job_of_one_node_starts_its_own(meet, monkeypatch):
    work, meeting, _ = meet
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    work._run = dataclasses.replace(work._run, meeting=dataclasses.replace(meeting, nodes=1))
    assert work._address() is None


def test_where_no_node_is_fit_the_reasons_are_told(meet):
    work, meeting, _ = meet
    for number in range(3):
        meeting.refuse(f"n{number}", f"reason {number}")
    with pytest.raises(InputError, match=r"no head .* on the 3 nodes of this job\n  n0: reason 0\n  n1: reason 1"):
        work._address()


def test_where_all_steps_are_over_sruns_words_are_told_at_once(meet):
    work, meeting, _ = meet
    for number in range(3):
        (meeting.folder / f"ended-n{number}").write_text("srun: error: Unable to create step for job 7")
    with pytest.raises(
        InputError, match=r"all steps were over .* on the 3 nodes of this job\n  n0: srun: error: Unable"
    ):
        work._address()


def test_what_a_node_says_itself_is_told_rather_than_that_its_step_is_over(meet):
    work, meeting, _ = meet
    for number in range(3):
        (meeting.folder / f"ended-n{number}").write_text("srun: error: task 0: Exited with exit code 1")
        meeting.refuse(f"n{number}.cluster", "no disk")
    with pytest.raises(
        InputError, match=r"no head .* on the 3 nodes of this job\n  n0.cluster: no disk\n  n1"
    ) as raised:
        work._address()
    assert "srun" not in str(raised.value)


def test_without_the_first_node_the_others_are_not_waited_for(meet):
    work, meeting, _ = meet
    meeting.refuse(provenance.host_name(), "no disk")
    with pytest.raises(InputError, match=r"no head .* on the 3 nodes of this job\n  .*: no disk$"):
        work._address()


def test_on_several_nodes_mps_is_the_sites_to_say(meet, monkeypatch):
    work, _, _ = meet
    monkeypatch.delenv("SER_RAY_MPS", raising=False)
    work._config.resources = Resources(mps=True)
    with pytest.raises(InputError, match=r"resources.mps is true, but on several nodes .* SER_RAY_MPS=1"):
        work._on_cluster(None)


def test_a_head_is_not_waited_for_for_ever_nor_by_a_run_that_is_to_end(meet, monkeypatch):
    work, _, _ = meet
    monkeypatch.setattr(works, "LOOK_S", 0.01)
    monkeypatch.setattr(works, "HEAD_S", 0.05)
    with pytest.raises(InputError, match=r"no head of a Ray cluster came up on the 3 nodes of this job$"):
        work._address()
    work._ending.ask("asked to end")
    assert work._address() is None


def test_a_run_goes_on_with_fewer_nodes_and_says_which_and_why(meet, monkeypatch):
    work, meeting, said = meet
    meeting.refuse("n3", "no disk")
    wanted = []
    monkeypatch.setattr(works, "wait_for_nodes", lambda nodes: wanted.append(nodes()) or machines((4, 0), (4, 0)))
    assert work._all_nodes(machines((4, 0))) == machines((4, 0), (4, 0))
    assert wanted == [2]
    assert said == ["NODE      n3 takes no part: no disk", "NODE      going on with 2 of 3 nodes"]


def test_a_lost_cluster_is_told_at_the_meeting(meet):
    work, meeting, _ = meet
    work._on_lost_node()
    assert (meeting.folder / "lost").exists()
    assert work._ending.now


class Stuck:
    """A training that ends when it is told."""

    def __init__(self, monkeypatch):
        self.over = threading.Event()
        monkeypatch.setattr(works, "LOOK_S", 0.01)
        self.thread = RayThread(self.over.wait, "training")
        self.thread.start()


def test_hours_that_are_over_end_the_run_and_it_waits_for_what_is_saved(begin, monkeypatch, capsys):
    work, stuck = begin(schedule=Schedule(max_hours=1e-9)), Stuck(monkeypatch)
    threading.Timer(0.2, stuck.over.set).start()
    with told(work._ending, work._progress.say, lambda: SAVING):
        work._attend(stuck.thread)
    assert work._ending.reason == "schedule.max_hours (1e-09) is over"
    assert not work._ending.now
    assert "trials save what they have" in capsys.readouterr().out


def test_what_does_not_save_in_time_is_left(begin, monkeypatch):
    monkeypatch.setattr(ending, "SAVE_S", 0.05)
    monkeypatch.setattr(works, "LEAVE_S", 0.05)
    work, stuck = begin(schedule=Schedule(max_hours=1e-9)), Stuck(monkeypatch)
    begun = time.monotonic()
    with told(work._ending, work._progress.say, lambda: SAVING):
        work._attend(stuck.thread)
    assert work._ending.now
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


def go(work, monkeypatch):
    monkeypatch.setattr(works, "SearchPool", NoPool)
    monkeypatch.setattr(work, "_train", lambda *_: None)
    with ThreadPoolExecutor(1) as beside:
        work._on_cluster(beside)


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
    work = begin()
    trial = work._run.template
    work._standing = Standing(frozenset(), frozenset(), {}, (trial,), ())
    work.run(lambda: "interrupted")
    assert work._ending.now
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
    def run(work, outcome):
        work._progress.__exit__()
        raise error

    return run


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EACCES", "ESTALE", "EIO"])
def test_results_that_cannot_be_written_any_more_end_the_run_wherever_it_is(begin, monkeypatch, capsys, name):
    run = begin()._run
    error = OSError(getattr(errno, name), "in trouble", str(run.folder.path / "plan.json"))
    monkeypatch.setattr(Work, "run", breaks(error))
    assert run.run() == 75
    out = capsys.readouterr().out
    assert f"{ending.MAKE_ROOM} (in trouble: {error.filename})" in out


def test_an_error_of_another_place_is_not_taken_for_it(begin, monkeypatch):
    run = begin()._run
    error = OSError(errno.EIO, "in trouble", "/elsewhere")
    monkeypatch.setattr(Work, "run", breaks(error))
    with pytest.raises(OSError, match="in trouble"):
        run.run()


def test_what_is_proposed_belongs_to_the_plan_from_then_on(begin, monkeypatch):
    work = begin()
    work._run.record_plan()
    monkeypatch.setattr(
        works, "proposed_trial", lambda run, progress, planned: dataclasses.replace(run.template, key=planned.key)
    )
    (known,), plans = [trial.key for trial in work._run.trials], [read_planned(work._folder)]
    for key in ("p1", "p2"):
        work._on_proposed(SimpleNamespace(key=key))
        plans.append(read_planned(work._folder))
    assert plans == [{known}, {known, "p1"}, {known, "p1", "p2"}]


def test_a_ray_that_is_not_up_in_time_leaves_the_trials_open_and_a_job_begins_again(
    begin, tmp_path, monkeypatch, capsys
):
    @contextlib.contextmanager
    def late(*_, **__):
        raise RayNotUpError("Ray did not start in time")
        yield

    monkeypatch.setattr(works, "cluster", late)
    monkeypatch.setattr(works, "_compile_kernels", lambda training: None)
    dataclasses.replace(begin()._run, meeting=Meeting(tmp_path, 1)).run()
    assert (tmp_path / "lost").exists()
    out = capsys.readouterr().out
    assert "RAY       Ray did not start in time" in out
    assert "1 of 1 trials are open: run the same command again" in out
