"""One attempt at a trial in this process, or in one that may die of it."""

import dataclasses
import errno
import json
import os
import re
import subprocess
import sys
import textwrap

import pytest
import torch
from ruamel.yaml import YAML

from ser_ray.corpus import Corpus
from ser_ray.results import read_table
from ser_ray.sweep.running.worker import DeviceFaultError, WorkerOptions, one_line, run_trial, was_hung
from ser_ray.training.checkpoint import load_checkpoint
from ser_ray.trial.log import starts

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def options(tmp_path):
    go = tmp_path / "go"
    go.touch()
    return WorkerOptions(go_file=go, silence_s=600.0, save_every_s=600.0)


@pytest.fixture
def trial(make_trial, tiny_config):
    return make_trial(tiny_config())


def row_of(trial):
    (row,) = read_table(trial.folder, "trials", keys=[trial.key]).to_pylist()
    return row


class TroubledCorpus(Corpus):
    """A corpus whose recordings are not to be had at once: to ask for them raises an error, as often as it is told."""

    def __init__(self, corpus, error, times=10**9):
        super().__init__(corpus.path, corpus.manifest, None)
        self.error, self.times, self.asked = error, times, 0

    def recordings(self, partition):
        self.asked += 1
        if self.asked <= self.times:
            raise self.error
        return super().recordings(partition)


@pytest.fixture
def troubled(make_trial, tiny_config, tiny_corpus):
    """Returns a trial whose training raises an error as often as it is told."""

    def make(error, times=10**9):
        return make_trial(tiny_config(), TroubledCorpus(tiny_corpus, error, times))

    return make


def test_a_trial_that_trains_leaves_its_predictions_and_a_log(trial, options):
    epochs = []
    assert run_trial(trial, 0.0, options, lambda report: epochs.append(report.epoch)) is None
    assert epochs == [1, 2, 3]
    assert trial.folder.part("predictions", trial.key).exists()
    (start,) = starts(trial.folder.log(trial.key))
    assert re.match(rf"trial {trial.key} on cpu \(\S+, process {os.getpid()}\)\n  model:\n", start)


def test_what_a_trial_raises_is_its_own_failure(troubled, options):
    trial = troubled(ZeroDivisionError("no\nframes"))
    assert run_trial(trial, 0.0, options, print) is None
    row = row_of(trial)
    assert (row["status"], row["error"], row["restarts"]) == ("failed", "ZeroDivisionError: no frames", 0)
    assert "Traceback" in trial.folder.log(trial.key).read_text()


def test_a_trials_log_tells_its_configuration_as_yaml_and_a_line_per_epoch(trial, options):
    assert run_trial(trial, 0.0, options, lambda report: None) is None
    opened, *lines = trial.folder.log(trial.key).read_text().splitlines()
    assert opened.startswith(f"trial {trial.key} on cpu (")
    told = YAML(typ="safe").load("\n".join(line for line in lines if line.startswith("  ")))
    config = json.loads(json.dumps(dataclasses.asdict(trial.config)))
    assert {section: told[section] for section in ("model", "training")} == {
        section: config[section] for section in ("model", "training")
    }
    epochs = [line for line in lines if not line.startswith("  ")]
    assert len(epochs) == trial.config.training.epochs
    assert all(
        re.fullmatch(
            rf"\S+ \S+ UTC  epoch {n}/{len(epochs)}  loss \S+  devel CCC arousal \S+, valence \S+, mean \S+( \(best so "
            r"far\))?  \S+ s",
            line,
        )
        for n, line in enumerate(epochs, start=1)
    )


def test_every_start_is_counted(troubled, options):
    trial = troubled(ZeroDivisionError("no"))
    for _ in range(3):
        run_trial(trial, 0.0, options, print)
    assert row_of(trial)["restarts"] == 2


def test_a_full_disk_is_no_failure_of_the_trial(troubled, options):
    trial = troubled(NO_SPACE)
    assert run_trial(trial, 0.0, options, print) == f"No space left on device ({trial.folder.path})"
    assert not trial.folder.part("trials", trial.key).exists()


def test_a_disk_that_fills_up_while_a_failure_is_written_is_told_as_well(troubled, options, monkeypatch):
    trial = troubled(ZeroDivisionError("no"))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(NO_SPACE))
    assert "No space left" in run_trial(trial, 0.0, options, print)
    assert not trial.folder.part("trials", trial.key).exists()


def test_a_log_on_a_full_disk_does_not_hide_that_it_is_full(trial, options):
    log = trial.folder.log(trial.key)
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    assert "No space left" in run_trial(trial, 0.0, options, print)


def test_what_cannot_be_read_elsewhere_is_the_trials_own_trouble(troubled, options):
    trial = troubled(PermissionError(errno.EACCES, "Permission denied", "/corpora/shards/0.arrow"))
    assert run_trial(trial, 0.0, options, print) is None
    assert "Permission denied" in row_of(trial)["error"]
    ours = PermissionError(errno.EACCES, "Permission denied", str(trial.folder.path / "epochs"))
    assert "Permission denied" in run_trial(troubled(ours), 0.0, options, print)


def error_of_allocating(gigabytes):
    with pytest.raises(RuntimeError) as raised:
        torch.empty(gigabytes * 2**30, dtype=torch.uint8)
    return raised.value


def test_a_trial_that_is_out_of_memory_says_batch_and_device_and_what_to_change(troubled, options):
    trial = troubled(error_of_allocating(2**25))
    assert run_trial(trial, 0.0, options, print) is None
    error = row_of(trial)["error"]
    assert error.startswith("out of memory on this host's CPU, with batches of 3 x 0.08 s and ")
    assert "try a smaller training.batch_size or training.sequence_s, or fewer trials at once" in error
    assert trial.corpus.asked == 2
    assert "retrying once from the last checkpoint" in trial.folder.log(trial.key).read_text()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA"),
        OSError(errno.ENOMEM, "no memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_memory_that_is_there_the_second_time_is_no_failure(troubled, options, error):
    trial = troubled(error, times=1)
    assert run_trial(trial, 0.0, options, lambda report: None) is None
    assert trial.folder.part("predictions", trial.key).exists()
    assert not trial.folder.part("trials", trial.key).exists()


@pytest.mark.parametrize(("gpus", "held"), [(0.25, [(0.25, "cuda:0")]), (1.0, []), (0.0, [])])
def test_a_trial_that_shares_a_gpu_is_held_to_its_share_of_the_memory(troubled, options, monkeypatch, gpus, held):
    fractions = []
    monkeypatch.setattr(
        "torch.cuda.set_per_process_memory_fraction", lambda share, device: fractions.append((share, str(device)))
    )
    trial = troubled(ZeroDivisionError("it trained"))
    run_trial(trial, gpus, options, print)
    assert (fractions, trial.corpus.asked) == (held, 1)


def test_memory_that_is_short_for_cuda_itself_is_said_as_any_other(trial, options, monkeypatch):
    def no_context(*_):
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", no_context)
    monkeypatch.setattr("torch.cuda.get_device_name", no_context)
    assert run_trial(trial, 0.25, options, print) is None
    assert row_of(trial)["error"].startswith(
        "out of memory on the GPU, of which this trial may use 0.25, with batches of 3 x "
    )


def test_a_fault_of_the_gpu_is_no_failure_of_the_trial(troubled, options):
    trial = troubled(RuntimeError("CUDA error: an illegal memory access was encountered\nadvice"))
    with pytest.raises(DeviceFaultError, match="illegal memory access was encountered advice"):
        run_trial(trial, 1.0, options, print)
    assert not trial.folder.part("trials", trial.key).exists()
    assert "Traceback" in trial.folder.log(trial.key).read_text()
    assert run_trial(trial, 0.0, options, print) is None  # on a CPU there is no such fault
    assert row_of(trial)["status"] == "failed"


def test_a_trial_ends_when_its_run_is_to_end_and_goes_on_later(trial, options, make_trial, tiny_config, tmp_path):
    long = make_trial(tiny_config(epochs=400))
    attempts_made = []

    def stop_soon(report):
        attempts_made.append(report.epoch)
        if report.epoch == 2:
            options.go_file.unlink()

    assert run_trial(long, 0.0, options, stop_soon) is None
    assert 2 <= attempts_made[-1] < 400
    assert not long.folder.part("trials", long.key).exists()
    assert "stop requested: saved in epoch" in long.folder.log(long.key).read_text()
    saved = load_checkpoint(long.folder.checkpoints(long.key) / "last.pt")
    assert len(saved["epochs"]) == attempts_made[-1]


def test_a_trial_whose_run_has_ended_does_not_begin(trial, options):
    options.go_file.unlink()
    assert run_trial(trial, 0.0, options, print) is None
    assert not trial.folder.checkpoints(trial.key).exists()


HANGING = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from types import SimpleNamespace
from ser_ray.sweep.running import worker
from ser_ray.sweep.running.worker import WorkerOptions
from ser_ray.results import SweepFolder
from ser_ray.trial import TrialConfig

def train(trial, device, report, supervision=None, **options):
    for _ in range(3):
        time.sleep(1.1)
        supervision.alive()
    print("now it hangs", flush=True)
    def stuck():
        {stuck}
    stuck()

import ser_ray.trial.train
ser_ray.trial.train.train_trial = train
trial = SimpleNamespace(key="k", config=TrialConfig(), corpus=None, folder=SweepFolder(Path({folder!r})))
options = WorkerOptions(go_file=Path(__file__), silence_s=2.0, save_every_s=60.0)
worker.run_trial(trial, 0.0, options, print)
"""


@pytest.mark.parametrize(
    "stuck",
    ["time.sleep(60)", "import ctypes; ctypes.PyDLL(None).sleep(60)"],
    ids=["in Python", "in C with Python locked"],
)
def test_a_trial_that_hangs_says_where_and_ends(tmp_path, stuck):
    script = tmp_path / "hanging.py"
    script.write_text(textwrap.dedent(HANGING.format(path=sys.path, folder=str(tmp_path), stuck=stuck)))
    done = subprocess.run([sys.executable, str(script)], timeout=60, check=False)
    assert done.returncode == 1
    log = tmp_path / "logs" / "k.log"
    text = log.read_text()
    assert "now it hangs" in text  # not before, while it gave signs of life
    assert "in stuck" in text
    assert was_hung(log)
    with log.open("a") as file:
        file.write("trial k on cpu: started again\n")
    assert not was_hung(log)
    assert not was_hung(tmp_path / "no.log")


def test_an_error_is_one_line_and_its_kind_unless_it_speaks_for_itself():
    from ser_ray.errors import InputError

    assert one_line(InputError("a.yaml:\n  wrong")) == "a.yaml: wrong"
    assert one_line(ValueError("a\nb")) == "ValueError: a b"


def test_a_file_system_in_trouble_is_no_wish_to_end(trial, options):
    """A loop of links cannot be opened either, and is there all the same."""
    options.go_file.unlink()
    options.go_file.symlink_to(options.go_file.name)
    assert run_trial(trial, 0.0, options, lambda report: None) is None
    assert trial.folder.part("predictions", trial.key).exists()
