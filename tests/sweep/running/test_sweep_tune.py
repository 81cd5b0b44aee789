"""What Tune is told, and what is made of what it tells, without a cluster."""

import threading
from types import SimpleNamespace

import pytest
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayTaskError
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from ser_ray.sweep.nodes.stop import StopRequest
from ser_ray.sweep.nodes.trial_resources import TrialResources
from ser_ray.sweep.running import tune
from ser_ray.sweep.running.queue import TrialQueue
from ser_ray.sweep.running.scheduling import Scheduling
from ser_ray.sweep.running.trainable import UNWRITABLE
from ser_ray.sweep.spec.config import Schedule


@pytest.fixture
def scheduling(make_trial, tiny_config, tmp_path):
    """Of two trials without GPUs, one of 10 and one of 20 epochs, that have been handed out."""
    queue = TrialQueue([make_trial(tiny_config(epochs=epochs)) for epochs in (10, 20)])
    made = Scheduling(
        queue, None, StopRequest(tmp_path / "go"), TrialResources(1.0, 0.0), lambda: [(2, 0)], verify_corpus=True
    )
    for slot in "ab":
        made.next(slot)
    return made


def test_a_trial_is_not_stopped_after_its_last_epoch_or_for_what_is_no_figure(scheduling, monkeypatch):
    monkeypatch.setattr(ASHAScheduler, "on_trial_result", lambda *_: TrialScheduler.STOP)
    decide = tune._scheduler(Schedule(early_stopping="asha"), 20, scheduling).on_trial_result
    short, long = (SimpleNamespace(config={"trial": trial}) for trial in scheduling.queue.given.values())
    assert decide(None, short, {"epoch": 10}) == TrialScheduler.CONTINUE
    assert decide(None, long, {"epoch": 0, UNWRITABLE: "full"}) == TrialScheduler.CONTINUE
    assert not scheduling.stopped
    assert decide(None, long, {"epoch": 10}) == TrialScheduler.STOP
    assert scheduling.stopped == {long.config["trial"].key}


def test_the_reason_of_a_lost_trial_says_what_is_known_of_it(make_trial, tiny_config):
    trial = make_trial(tiny_config())
    raised = RayTaskError("train", "traceback", NotADirectoryError("logs is a file"))
    assert tune._reason_of_loss(trial, raised) == "NotADirectoryError: logs is a file (3 times)"
    batch = "its batches are 3 x 0.08 s"
    assert tune._reason_of_loss(trial, None) == f"its process died (3 times; killed, or out of memory? {batch})"
    low = OutOfMemoryError("Task was killed due to the node running low on memory.")
    assert tune._reason_of_loss(trial, low) == (
        f"its node ran out of memory and Ray killed its process (3 times; {batch}: use smaller ones)"
    )
    log = trial.folder.log(trial.key)
    log.parent.mkdir(parents=True)
    log.write_text(f"trial {trial.key} on cpu: ...\nTimeout (0:30:00)!\nThread 0x1 (most recent call first):\n")
    assert "reported no progress for schedule.silence_minutes (3 times" in tune._reason_of_loss(trial, None)
    with log.open("a") as file:
        file.write(f"trial {trial.key} on cpu: ...\n")
    assert "its process died" in tune._reason_of_loss(trial, None)


@pytest.mark.parametrize(
    ("early_stopping", "kind", "grace"),
    [("none", FIFOScheduler, None), ("asha", ASHAScheduler, 3), ("median", MedianStoppingRule, 3)],
)
def test_early_stopping_is_what_the_schedule_says_with_its_grace(scheduling, early_stopping, kind, grace):
    scheduler = tune._scheduler(Schedule(early_stopping=early_stopping, grace_epochs=3), 10, scheduling)
    assert type(scheduler) is kind
    if kind is ASHAScheduler:
        assert scheduler._brackets[0]._rungs[-1][0] == grace
    if kind is MedianStoppingRule:
        assert scheduler._grace_period == grace


@pytest.mark.parametrize("early_stopping", ["none", "asha", "median"])
def test_tune_can_save_its_own_state_without_ours(scheduling, early_stopping):
    scheduling.events = SimpleNamespace(lock=threading.RLock())  # which cannot be saved, as progress has
    schedule = Schedule(early_stopping=early_stopping)
    saved = [tune._QueueSearcher(scheduling), tune._RequestStopper(scheduling), tune._Reporter(scheduling)]
    assert len(cloudpickle.dumps([*saved, tune._scheduler(schedule, 10, scheduling)])) < 20_000


def test_the_searcher_is_finished_when_no_trial_is_left_or_a_proposal_cannot_be_recorded(scheduling, monkeypatch):
    searcher = tune._QueueSearcher(scheduling)
    trial = next(iter(scheduling.queue.given.values()))
    assert searcher.suggest("c") == Searcher.FINISHED
    scheduling.queue.again(trial.key)
    assert searcher.suggest("c") == {"trial": trial, "gpus": 0.0, "avoid": ()}

    def full():
        raise OSError(28, "No space left on device", "suggested.jsonl")

    scheduling.queue.again(trial.key)
    monkeypatch.setattr(scheduling.queue, "next", full)
    assert searcher.suggest("d") == Searcher.FINISHED
    assert scheduling.stop.reason.endswith("(No space left on device: suggested.jsonl)")
