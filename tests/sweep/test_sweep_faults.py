"""One sweep through one fault after the other, in the order of this file, by real signals to real processes.

At the end its tables equal those of a sweep that nothing disturbed.
"""

import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from sweep_processes import descendants, end, end_what_is_left, run_until, start, wait_until_gone

from ser_ray.results import SweepFolder, read_table
from ser_ray.training.checkpoint import load_checkpoint
from ser_ray.trial.log import starts

pytestmark = pytest.mark.slow  # its tests go on from one another

EPOCHS = 400
SWEEP = """
name: storm
corpus: {corpus}
trial:
  model: {{channels: [3, 4], hidden: 5, kernels: [4, 6], pools: [8, 8]}}
  training: {{epochs: {epochs}, sequence_s: 0.08, batch_size: 3, patience: {epochs}}}
explore:
  - training.learning_rate: [1e-3, 2e-3]
"""
VOLATILE = {"train_seconds", "search_seconds", "evaluate_seconds", "seconds", "samples_per_second", "peak_memory_bytes"}
VOLATILE |= {"restarts", "started_at", "ended_at"}


class Storm:
    """A sweep that is started again and again."""

    def __init__(self, file, results):
        self.file, self.results = file, results
        self.folder = SweepFolder(results / "storm")

    def start(self):
        return start(self.file, self.results)

    def epochs(self):
        """Return how many epochs of each trial are in its checkpoint."""
        return {
            path.name: len(load_checkpoint(path / "last.pt")["epochs"])
            for path in (self.folder.path / "checkpoints").iterdir()
        }

    def workers(self):
        """Return the process that last worked at each trial."""
        logs = (self.folder.path / "logs").glob("*.log")
        found = {log.stem: re.search(r"process (\d+)", starts(log)[-1]) for log in logs}
        return {key: int(match[1]) for key, match in found.items() if match}

    def nothing_half_made(self, *, killed=False):
        """Of a checkpoint that a killed process was writing there may be a part, which goes when its trial goes on."""
        assert killed or not list(self.folder.path.glob("**/.*.pt.*"))
        for table in ("trials", "epochs", "predictions", "postprocessing"):
            read_table(self.folder, table)  # raises for what is not whole


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    end_what_is_left()


@pytest.fixture(scope="module")
def storm(tiny_corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("storm")
    file = folder / "storm.yaml"
    file.write_text(SWEEP.format(corpus=tiny_corpus.path, epochs=EPOCHS))
    return Storm(file, folder / "results")


@pytest.fixture(scope="module")
def calm(storm, tmp_path_factory):
    """The same sweep, undisturbed."""
    calm = Storm(storm.file, tmp_path_factory.mktemp("calm"))
    code, out = end(calm.start())
    assert code == 0, out
    return calm


def damage(checkpoint):
    """Turn one bit of the weights: any other byte may be one of those that fill gaps between them."""
    content = bytearray(checkpoint.read_bytes())
    with zipfile.ZipFile(checkpoint) as archive:
        tensors = [archive.read(name) for name in archive.namelist() if "/data/" in name]
    content[content.index(max(tensors, key=len))] ^= 1
    checkpoint.write_bytes(content)


EPOCH = r"epoch     \w+  \d+/"


def test_a_killed_driver_takes_its_processes_along_and_leaves_nothing_half(storm):
    process = storm.start()
    run_until(process, EPOCH, 6)
    os.kill(process.pid, signal.SIGKILL)
    assert end(process)[0] == -signal.SIGKILL
    wait_until_gone(storm.workers().values())
    storm.nothing_half_made(killed=True)
    assert all(0 < epochs < EPOCHS for epochs in storm.epochs().values())


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_saves_what_there_is_and_says_how_to_go_on(storm, name):
    before = storm.epochs()
    process = storm.start()
    run_until(process, EPOCH, 4)
    if name == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all of them
    else:
        process.send_signal(getattr(signal, name))
    code, out = end(process)
    assert code == 75, out
    assert f"ending    received {name}: trials save a checkpoint" in out
    assert "saved" in out
    assert "2 of 2 trials not finished: run the same command again to continue" in out
    assert "Traceback" not in out
    storm.nothing_half_made()
    assert sum(storm.epochs().values()) > sum(before.values())
    assert not storm.folder.tmp.exists(), list(storm.folder.tmp.iterdir())
    status = subprocess.run(
        [sys.executable, "-m", "ser_ray", "status", str(storm.folder.path)], capture_output=True, text=True, check=True
    )
    assert "interrupted" in status.stdout


def test_two_signals_end_at_once(storm):
    process = storm.start()
    run_until(process, EPOCH, 2)
    workers = storm.workers().values()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # so that they cannot save
    process.send_signal(signal.SIGINT)
    run_until(process, "ending    received")
    time.sleep(1.1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out = end(process)
    assert code == 75, out
    assert time.monotonic() - begin < 30
    assert "Traceback" not in out
    wait_until_gone(workers)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(storm):
    key, epochs = max(storm.epochs().items(), key=lambda item: item[1])
    damage(storm.folder.checkpoints(key) / "last.pt")
    process = storm.start()
    run_until(process, f"epoch     {key}  ")
    process.send_signal(signal.SIGTERM)
    code, out = end(process)
    assert code == 75, out
    assert "last.pt is not a readable checkpoint" in storm.folder.log(key).read_text()
    assert storm.epochs()[key] >= epochs - 1


def test_a_lost_node_manager_ends_the_run_and_nothing_waits_for_ever(storm):
    process = storm.start()
    run_until(process, EPOCH, 2)
    (raylet,) = descendants(process.pid, "raylet/raylet")
    os.kill(raylet, signal.SIGKILL)
    code, out = end(process)
    assert code == 75, out
    assert "ending    Ray was lost: a process of its cluster was killed" in out
    assert "run the same command again" in out
    storm.nothing_half_made(killed=True)


def test_another_driver_is_refused_while_one_runs(storm):
    process = storm.start()
    run_until(process, EPOCH, 2)
    workers = storm.workers().values()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # so that they do not come to their end meanwhile
    code, out = end(storm.start())
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 75
    assert code == 2, out
    assert f"is being run by process {process.pid} on " in out


def test_a_killed_worker_is_replaced_and_in_the_end_the_tables_are_those_of_an_undisturbed_sweep(storm, calm):
    process = storm.start()
    run_until(process, EPOCH, 2)
    (key, worker), *_ = storm.workers().items()
    before = len(starts(storm.folder.log(key)))
    os.kill(worker, signal.SIGKILL)
    run_until(process, f"start     {key}")
    code, out = end(process)
    assert code == 0, out
    assert len(starts(storm.folder.log(key))) == before + 1
    for table in ("trials", "epochs", "postprocessing", "predictions"):
        one, other = (
            read_table(sweep.folder, table, keys=sweep.folder.keys("trials")).to_pylist() for sweep in (storm, calm)
        )
        assert len(one) == len(other) > 0
        for mine, theirs in zip(one, other, strict=True):
            assert {c: v for c, v in mine.items() if c not in VOLATILE} == {
                c: v for c, v in theirs.items() if c not in VOLATILE
            }
    assert [row["restarts"] for row in read_table(calm.folder, "trials").to_pylist()] == [0, 0]
    assert min(row["restarts"] for row in read_table(storm.folder, "trials").to_pylist()) >= 5
    storm.nothing_half_made()
    code, out = end(storm.start())
    assert (code, "starting Ray" in out) == (0, False)
