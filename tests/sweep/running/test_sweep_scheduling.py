"""Which trial is next, and what is made of its end, without Ray."""

import pytest

from ser_ray.results import make_table, read_table, write_part
from ser_ray.sweep.nodes.stop import StopRequest
from ser_ray.sweep.nodes.trial_resources import TrialResources
from ser_ray.sweep.running.queue import TrialQueue
from ser_ray.sweep.running.scheduling import Scheduling
from ser_ray.sweep.running.trainable import ALTERED, FAULT, PLACE, UNWRITABLE
from ser_ray.sweep.running.worker import DeviceFault
from ser_ray.trial import write_unfinished
from ser_ray.trial.place import NOWHERE, Place


class Events:
    """Notes what happens to trials."""

    def __init__(self):
        self.seen, self.places = [], {}

    def __getattr__(self, name):
        return lambda *arguments: self.seen.append((name, *arguments))

    def place(self, key):
        return Place(host="n1", gpus=0.25)

    def of(self, name):
        return [rest for kind, *rest in self.seen if kind == name]


@pytest.fixture
def begin(make_trial, tiny_config, tmp_path):
    """Returns the scheduling of eleven trials, and its parts."""

    def make(gpus=0.25, nodes=((8, 1),)):
        trials = [make_trial(tiny_config(seed=seed)) for seed in range(1, 12)]
        events, stop = Events(), StopRequest(tmp_path / "go")
        resources = TrialResources(1.0, gpus)
        made = Scheduling(TrialQueue(trials), events, stop, resources, lambda: nodes, verify_corpus=True)
        return made, trials, events, stop

    return make


@pytest.fixture
def fault(begin):
    """Returns what has the next trial on one GPU meet a fault, and the parts of the scheduling."""
    scheduling, trials, events, stop = begin()

    def meet(set_aside=None):
        trial = scheduling.next("slot")["trial"]
        scheduling.reported(trial.key, {FAULT: vars(DeviceFault("CUDA error: ECC", "n1", "0", set_aside))})
        scheduling.ended(trial.key, "slot")
        return trial

    return meet, scheduling, trials, events, stop


def test_a_trial_whose_gpu_was_at_fault_is_handed_out_again_and_fails_with_the_third(fault):
    meet, scheduling, trials, events, stop = fault
    trial = meet()
    assert trial == trials[0]
    assert meet() == trial
    assert not trial.folder.part("trials", trial.key).exists()
    assert meet() == trial
    assert scheduling.next("slot")["trial"] == trials[1], "it is not handed out a fourth time"
    assert events.of("failed") == [[trial.key, "GPU faults ended it 3 times (n1/0, n1/0, n1/0): CUDA error: ECC"]]
    (row,) = read_table(trial.folder, "trials", keys=[trial.key]).to_pylist()
    assert (row["host"], row["gpus"], row["device"]) == ("n1", 0.25, None)
    assert not stop.requested


def test_the_places_of_faults_are_avoided_the_next_time(fault):
    meet, scheduling, trials, _, _ = fault
    meet()
    again = scheduling.next("slot")
    assert (again["trial"], again["avoid"]) == (trials[0], ("n1/0",))


def test_many_faults_in_a_row_end_the_run_and_leave_the_trials_open(begin):
    scheduling, _, events, stop = begin(nodes=((16, 11),))
    given = [scheduling.next(str(number))["trial"] for number in range(11)]
    for number, trial in enumerate(given):
        assert stop.requested == (number >= 10)
        scheduling.reported(trial.key, {FAULT: vars(DeviceFault("CUDA error: ECC", "n1", "0"))})
        scheduling.ended(trial.key, str(number))
    assert stop.reason == "10 GPU faults in a row, the last on n1/0: CUDA error: ECC"
    assert events.of("left") == [[given[10].key]]
    assert not events.of("failed")


def test_an_epoch_between_faults_is_no_row_of_them(begin):
    scheduling, _, events, stop = begin(nodes=((16, 11),))
    given = [scheduling.next(str(number))["trial"] for number in range(11)]
    for number, trial in enumerate(given):
        scheduling.reported(trial.key, {"epoch": 1})
        scheduling.reported(trial.key, {FAULT: vars(DeviceFault("CUDA error: ECC", "n1", "0"))})
        scheduling.ended(trial.key, str(number))
    assert not stop.requested
    assert len(events.of("epoch")) == 11


def test_without_a_gpu_that_works_the_run_ends(fault):
    meet, scheduling, _, events, stop = fault
    trial = meet("2 faults in a row; ECC")
    assert stop.reason == "no working GPU is left: check them with ser-ray doctor"
    assert events.of("left") == [[trial.key]]
    assert scheduling.exhausted


def test_what_a_worker_reports_goes_to_its_event(begin):
    scheduling, _, events, _ = begin(gpus=0.0, nodes=((8, 0),))
    key = scheduling.next("slot")["trial"].key
    place = Place(host="n7", cpus=1.0)
    scheduling.started(key, print)
    for report in ({PLACE: vars(place)}, {UNWRITABLE: "full"}, {ALTERED: "shard a"}, {"epoch": 1}):
        scheduling.reported(key, report)
    assert events.seen == [
        ("started", key, print),
        ("unwritable", key, "full"),
        ("altered", key, "shard a"),
        ("epoch", key, {"epoch": 1}),
    ]
    assert events.places == {key: place}
    assert scheduling.running == {key}


def test_the_end_of_a_trial_is_known_by_what_it_left(begin):
    scheduling, _, events, _ = begin(gpus=0.0, nodes=((8, 0),))
    failed, stopped, trained, left = (scheduling.next(slot)["trial"] for slot in "abcd")
    write_unfinished(failed, "failed", "why", NOWHERE)
    scheduling.stopped.add(stopped.key)
    write_part(trained.folder, "predictions", trained.key, make_table("predictions", []))
    for slot, trial in zip("abcd", (failed, stopped, trained, left), strict=True):
        scheduling.started(trial.key, print)
        scheduling.ended(trial.key, slot)
    ends = [event for event in events.seen if event[0] != "started"]
    assert ends == [
        ("failed", failed.key, "why"),
        ("stopped", stopped.key),
        ("trained", trained.key),
        ("left", left.key),
    ]
    (row,) = read_table(stopped.folder, "trials", keys=[stopped.key]).to_pylist()
    assert (row["status"], row["host"], row["corpus_verified"]) == ("stopped", "n1", True)
    assert not scheduling.running


def test_a_trial_that_is_lost_fails_unless_its_row_cannot_be_written(begin, monkeypatch):
    scheduling, _, events, _ = begin(gpus=0.0, nodes=((8, 0),))
    first, second = (scheduling.next(slot)["trial"] for slot in "ab")
    scheduling.ended(first.key, "a", lost="its process died")
    assert events.seen == [("failed", first.key, "its process died")]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ser_ray.sweep.running.scheduling.write_unfinished", full)
    scheduling.ended(second.key, "b", lost="its process died")
    assert events.seen[1:] == [
        ("unwritable", second.key, f"No space left on device ({second.folder.path})"),
        ("left", second.key),
    ]


def test_nothing_is_handed_out_while_no_share_is_free_and_a_share_comes_back_with_its_trial(begin):
    scheduling, trials, _, _ = begin(gpus=1.0)
    assert scheduling.next("a")["trial"] == trials[0]
    assert scheduling.next("b") is None
    assert not scheduling.exhausted
    scheduling.ended(trials[0].key, "a", lost="lost")
    assert scheduling.next("b")["trial"] == trials[1]
