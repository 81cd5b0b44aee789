"""What a run makes of what its trials come to."""

import errno
import io
from types import SimpleNamespace

import pytest
import torch

from ser_ray.provenance import host_name
from ser_ray.results import make_table, read_table, write_part
from ser_ray.sweep.nodes.stop import StopRequest
from ser_ray.sweep.running.events import TrialEvents
from ser_ray.sweep.running.progress import Progress
from ser_ray.sweep.running.tensorboard import TensorBoard
from ser_ray.sweep.running.worker import DeviceFault
from ser_ray.sweep.spec.config import Schedule
from ser_ray.trial import train_trial, write_unfinished
from ser_ray.trial.place import NOWHERE, Place, place_here

FIGURES = {"epoch": 1, "train_loss": 0.5, "ccc_devel_mean": 0.1, "seconds": 300.0, "gpus": 0.25}


class Queue:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def ended(self, *told):
        self.told.append(told)


@pytest.fixture
def trial(make_trial, tiny_config):
    return make_trial(tiny_config())


@pytest.fixture
def begin(folder, trial):
    """Returns events of a run of one trial, and everything that they tell."""
    made = []

    def make(board=None, **schedule):
        plan = SimpleNamespace(folder=folder, config=SimpleNamespace(schedule=Schedule(**schedule)))
        out, submitted, queue = io.StringIO(), [], Queue()
        progress = Progress({trial.key: "it, seed 1"}, {trial.key: 3}, 0, folder.path / "sweep.log", out)
        made.append(progress.__enter__())
        stop = StopRequest(folder.tmp / "go")
        events = TrialEvents(plan, queue, stop, progress, submitted.append, board)
        return events, SimpleNamespace(stop=stop, out=out, submitted=submitted, queue=queue)

    yield make
    for progress in made:
        progress.__exit__()


def test_a_corpus_that_was_altered_ends_the_run_by_the_first_reason(begin, trial):
    events, told = begin()
    for reason in ("shard a was altered", "shard b was altered"):
        events.altered(trial.key, reason)
    assert events.corpus_altered == "shard a was altered"
    assert told.stop.reason == "the corpus does not match its manifest"
    assert f"CORPUS    {trial.key}  shard b was altered" in told.out.getvalue()


def test_a_row_that_the_driver_writes_says_where_the_trial_ran(begin, trial):
    place = Place(host="n7", device="H100", cpus=8.0, gpus=0.25, gpu_driver="580.65.06", cuda_version="13.0")
    events, told = begin()
    events.places[trial.key] = place
    events.searched(trial, ValueError("a poisoned trial"))
    (row,) = read_table(trial.folder, "trials").to_pylist()
    assert (row["status"], Place.of_row(row)) == ("failed", place)
    assert told.queue.told == [(trial.key, "failed", None)]


def test_where_a_trial_ran_in_an_earlier_run_is_kept_by_its_predictions(begin, trial):
    events, _ = begin()
    assert events.place(trial.key) == NOWHERE
    train_trial(trial, torch.device("cpu"))
    assert events.place(trial.key) == place_here(torch.device("cpu"))
    assert events.place(trial.key).host == host_name()


def test_a_budget_of_gpu_hours_counts_what_was_spent_before(begin, folder, trial):
    rows = [{"key": "a", "epoch": e, "train_seconds": 1500.0, "evaluate_seconds": 300.0, "gpus": 0.5} for e in (1, 2)]
    write_part(folder, "epochs", "a", make_table("epochs", [*rows, {"key": "a", "epoch": 3}]))
    events, told = begin(max_gpu_hours=0.6)
    for number in range(1, 5):  # 0.5 GPU hours before, and 75 GPU seconds an epoch now
        events.epoch(trial.key, FIGURES | {"epoch": number})
        assert not told.stop.requested
    events.epoch(trial.key, FIGURES | {"epoch": 5})
    assert told.stop.reason == "schedule.max_gpu_hours (0.6) is reached (0.604 GPU hours used); raise it to continue"


def test_without_a_budget_nothing_is_spent(begin, trial):
    events, told = begin()
    events.epoch(trial.key, FIGURES | {"seconds": 1e9, "gpus": 8.0})
    assert not told.stop.requested


def test_a_trained_trial_is_searched_and_its_end_is_told(begin, folder, trial):
    events, told = begin()
    events.trained(trial.key)
    assert told.submitted == [trial.key]
    write_part(folder, "trials", trial.key, make_table("trials", [{"key": trial.key, "ccc_devel_mean": 0.25}]))
    events.searched(trial, None)
    assert told.queue.told == [(trial.key, "finished", 0.25)]
    assert "done      " in told.out.getvalue()


def test_a_stopped_trial_counts_with_what_it_had_reached(begin, folder, trial):
    events, told = begin()
    write_part(folder, "trials", trial.key, make_table("trials", [{"key": trial.key, "ccc_devel_mean": 0.125}]))
    events.stopped(trial.key)
    assert told.queue.told == [(trial.key, "stopped", 0.125)]


def test_a_failed_trial_has_no_score(begin, trial):
    events, told = begin()
    write_unfinished(trial, "failed", "why")
    events.failed(trial.key, "why")
    assert told.queue.told == [(trial.key, "failed", None)]


def test_results_that_cannot_be_written_end_the_run(begin):
    events, told = begin()
    events.unwritable("k", "No space left on device (/results)")
    assert "free disk space or get write permission, and run the same command again" in told.stop.reason
    assert not told.stop.now


def test_a_search_that_cannot_be_written_leaves_its_trial_open(begin, folder, trial):
    events, told = begin()
    events.searched(trial, OSError(28, "No space left on device"))
    assert told.stop.requested
    assert not folder.part("trials", trial.key).exists()
    assert told.queue.told == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no frames"), "ValueError: no frames"),
        (FileNotFoundError(errno.ENOENT, "gone", "p.parquet"), "FileNotFoundError: [Errno 2] gone: 'p.parquet'"),
    ],
)
def test_a_search_that_fails_is_the_failure_of_its_trial(begin, folder, trial, error, reason):
    events, told = begin()
    events.searched(trial, error)
    assert not told.stop.requested
    (row,) = read_table(folder, "trials").to_pylist()
    assert row["error"] == f"post-processing search: {reason}"
    assert told.queue.told == [(trial.key, "failed", None)]


def test_a_search_for_lost_chains_that_fails_leaves_the_row(begin, folder, trial):
    write_part(folder, "trials", trial.key, make_table("trials", [{"key": trial.key, "status": "finished"}]))
    events, told = begin()
    events.searched(trial, ValueError("no frames"))
    assert not told.stop.requested
    (row,) = read_table(folder, "trials").to_pylist()
    assert (row["status"], row["error"]) == ("finished", None)
    assert "ValueError: no frames; its row is unchanged" in told.out.getvalue()
    assert told.queue.told == []


def test_a_failed_search_on_a_full_disk_leaves_its_trial_open(begin, folder, trial, monkeypatch):
    events, told = begin()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ser_ray.sweep.running.events.write_unfinished", full)
    events.searched(trial, ValueError("no frames"))
    assert told.stop.requested
    assert told.queue.told == []
    assert "left      " in told.out.getvalue()


def test_a_trial_that_hangs_is_ended_and_said(begin, folder, trial, monkeypatch):
    events, told = begin(silence_minutes=1e-9)
    killed = []
    events.started(trial.key, lambda: killed.append(1))
    events.maintain()
    assert killed == [1]
    assert f"HUNG      {trial.key}" in told.out.getvalue()


def test_a_trial_that_has_come_to_something_is_not_taken_for_hung(begin, trial, folder):
    events, _ = begin(silence_minutes=1e-9)
    write_unfinished(trial, "failed", "why")
    for happened in (events.left, lambda key: events.failed(key, "why"), events.stopped, events.trained):
        events.started(trial.key, lambda: pytest.fail("ended"))
        happened(trial.key)
        events.maintain()


def test_a_full_disk_ends_the_files_for_tensorboard_and_not_the_run(begin, folder, trial, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    events, told = begin(TensorBoard(folder.path / "tensorboard"))
    monkeypatch.setattr(TensorBoard, "epoch", full)
    events.epoch(trial.key, FIGURES)
    events.epoch(trial.key, FIGURES | {"epoch": 2})
    assert told.out.getvalue().count("no more TensorBoard files are written: No space left on device") == 1
    assert not told.stop.requested
    events.close()


def test_a_trial_that_gets_its_turn_when_the_run_is_ending_is_not_spoken_of(begin, trial):
    events, told = begin()
    told.stop.request("asked to end")
    events.started(trial.key, lambda: None)
    events.left(trial.key)
    assert told.out.getvalue() == ""


def test_a_fault_of_a_gpu_is_told_with_its_place_and_the_trial_stays_open(begin, folder, trial):
    events, told = begin()
    events.faulted(trial.key, DeviceFault("CUDA error: ECC", "n1", "2"))
    events.faulted(trial.key, DeviceFault("CUDA error: ECC", "n1", "2", "2 faults in a row; a convolution is off"))
    said = told.out.getvalue()
    assert said.count(f"{trial.key}  hit a fault of GPU 2 on n1: CUDA error: ECC") == 2
    assert said.count("GPU 2 on n1 is no longer used: 2 faults in a row; a convolution is off") == 1
    assert not folder.part("trials", trial.key).exists()
    assert told.queue.told == []
