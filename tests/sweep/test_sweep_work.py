"""What a run makes of what it is told, without Ray's processes."""

import threading
import time
from types import SimpleNamespace

import pytest

from ser_ray.errors import InputError
from ser_ray.sweep import work as works
from ser_ray.sweep.cluster import Cluster
from ser_ray.sweep.config import Resources, Schedule
from ser_ray.sweep.run import SweepRun
from ser_ray.sweep.standing import Standing
from ser_ray.sweep.work import Work, _InThread


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
    shared = begin(resources=Resources(**asked))._share(machines(*nodes))
    assert (shared.cpus, shared.gpus) == given


@pytest.mark.parametrize("asked", [{"cpus": 9, "gpus": 1.0}, {"cpus": 1, "gpus": 3.0}])
def test_a_trial_larger_than_any_node_is_refused_and_does_not_wait_for_ever(begin, asked):
    with pytest.raises(InputError, match=r"no node has as much \(nodes have 8 CPUs and 2 GPUs\)"):
        begin(resources=Resources(**asked))._share(machines((8, 2), (8, 2)))


class Stuck:
    """A training that ends when it is told."""

    def __init__(self, monkeypatch):
        self.over = threading.Event()
        monkeypatch.setattr(works, "LOOK_S", 0.01)
        self.thread = _InThread(self.over.wait)
        self.thread.start()


def test_hours_that_are_over_end_the_run_and_it_waits_for_what_is_saved(begin, monkeypatch, capsys):
    work, stuck = begin(schedule=Schedule(max_hours=1e-9)), Stuck(monkeypatch)
    threading.Timer(0.2, stuck.over.set).start()
    work._attend(stuck.thread)
    assert work._ending.reason == "schedule.max_hours (1e-09) is over"
    assert not work._ending.now
    assert "trials save what they have" in capsys.readouterr().out


def test_what_does_not_save_in_time_is_left(begin, monkeypatch):
    monkeypatch.setattr(works, "SAVE_S", 0.05)
    monkeypatch.setattr(works, "LEAVE_S", 0.05)
    work, stuck = begin(schedule=Schedule(max_hours=1e-9)), Stuck(monkeypatch)
    begun = time.monotonic()
    work._attend(stuck.thread)
    assert work._ending.now
    assert time.monotonic() - begun < 5
    stuck.over.set()


def test_what_the_training_raised_is_raised(begin):
    def fail():
        raise ZeroDivisionError("in the thread")

    training = _InThread(fail)
    training.start()
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        begin()._attend(training)
