"""One sweep on real nodes through one fault after the other, in the order of this file.

At the end its tables equal those of a sweep that nothing disturbed.
"""

import re

import pytest
from jobs import write_project, write_sweep

from ser_ray.results import SweepFolder, read_table
from ser_ray.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slurm

EPOCHS, RATES = 400, (1e-3, 2e-3, 3e-3, 4e-3)
VOLATILE = {"train_seconds", "search_seconds", "evaluate_seconds", "seconds", "samples_per_second", "peak_memory_bytes"}
VOLATILE |= {"restarts", "started_at", "ended_at", "host", "job_id", "cpus"}


class Storm:
    """A sweep that runs as one job after the other."""

    def __init__(self, site, project, file, results):
        self.site, self.project, self.file, self.results = site, project, file, results
        self.folder = SweepFolder(project / results / "storm")
        self.job = ""

    def submit(self, *options):
        self.job = self.site.sbatch(
            "--nodes=2", *options, "slurm/launch.sh", self.file, "--results", self.results, cwd=self.project
        )
        return self.job

    @property
    def log(self):
        return self.site.log(self.job)

    def wait_for_line(self, pattern, seconds=60, times=1):
        """Wait until the job's log has so many lines more with a match than it has now."""
        wanted = len(re.findall(pattern, self.log)) + times
        self.site.wait_until(lambda: len(re.findall(pattern, self.log)) >= wanted, seconds, f"{pattern}\n{self.log}")

    def epochs(self):
        """Return how many epochs of each trial are in its checkpoint."""
        return {
            path.name: len(load_checkpoint(path / "last.pt")["epochs"])
            for path in (self.folder.path / "checkpoints").glob("*")
            if (path / "last.pt").exists()
        }

    def hosts(self):
        """Return on which node each trial was last begun."""
        logs = {path.stem: path.read_text() for path in (self.folder.path / "logs").glob("*.log")}
        return {key: re.findall(r"\((n\d), process \d+\)", log)[-1] for key, log in logs.items()}


@pytest.fixture(scope="module")
def storm(slurm, tiny_corpus, tmp_path_factory):
    project = write_project(tmp_path_factory.mktemp("storm") / "project")
    file = write_sweep(project, tiny_corpus.path, name="storm", epochs=EPOCHS, rates=RATES)
    return Storm(slurm, project, file, "results")


EPOCH = r"epoch     \w+  \d+/"


def test_a_node_whose_raylet_dies_joins_again_and_its_trial_goes_on(storm, slurm):
    storm.submit("--time=10")
    storm.wait_for_line(EPOCH, 90, times=6)
    assert set(storm.hosts().values()) == {"n1", "n2"}
    slurm.kill("n2", "raylet/raylet")
    storm.wait_for_line("n2  Ray ended by itself")
    storm.wait_for_line("n2  starts Ray at", 30)
    storm.wait_for_line(EPOCH, 60, times=10)
    assert slurm.job(storm.job)["JobState"] == "RUNNING"


def test_when_the_power_of_a_node_fails_its_trials_go_on_elsewhere(storm, slurm):
    slurm.power_off("n2")
    slurm.wait_until(lambda: "down" in slurm.node_state("n2"), 40, "n2 is down")
    assert slurm.job(storm.job)["JobState"] == "RUNNING"
    storm.wait_for_line(EPOCH, 60, times=10)
    assert slurm.job(storm.job)["Restarts"] == "0"


def test_before_the_time_limit_all_is_saved_and_the_job_goes_on_by_itself(storm, slurm):
    before = storm.epochs()
    slurm.power_on("n2")
    # SLURM itself sends its signal, as soon as it sees how little time is left
    slurm.run("scontrol", "update", f"JobId={storm.job}", "TimeLimit=3")
    storm.wait_for_line("ending    asked to end by SIGUSR1: trials save what they have", 150)
    storm.wait_for_line("launch.sh  put back into the queue, to go on from what was saved", 40)
    assert sum(storm.epochs().values()) > sum(before.values())
    slurm.run("scontrol", "update", f"JobId={storm.job}", "TimeLimit=30")
    slurm.wait_for(storm.job, "RUNNING", seconds=60, restarts=1)
    storm.wait_for_line("launch.sh  job .* started again 1 times", 30)
    storm.wait_for_line(EPOCH, 90, times=6)
    assert "Ray has 2 CPUs, 0 GPUs, 2 nodes" in storm.log


def test_a_job_that_is_preempted_saves_and_comes_back(storm, slurm):
    important = slurm.sbatch("--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 3", cwd=storm.project)
    storm.wait_for_line("saves what it has", 30)
    slurm.wait_for(important, "COMPLETED", seconds=60)
    slurm.wait_for(storm.job, "RUNNING", seconds=60, restarts=2)
    assert all(0 < epochs <= EPOCHS for epochs in storm.epochs().values())
    storm.wait_for_line(EPOCH, 90, times=6)


def test_a_lost_head_is_started_again_within_the_job(storm, slurm):
    slurm.kill("n1", "gcs/gcs_server")
    storm.wait_for_line("launch.sh  Ray was lost: beginning again in this job", 60)
    storm.wait_for_line(EPOCH, 90, times=6)


def test_a_cancelled_job_has_saved_and_leaves_no_process(storm, slurm):
    before = storm.epochs()
    slurm.run("scancel", storm.job)
    slurm.wait_for(storm.job, "CANCELLED", seconds=30)
    slurm.idle(30)
    for node in slurm.nodes:
        slurm.wait_until(lambda node=node: not slurm.processes(node), 20, f"{node}: {slurm.processes(node)}")
    assert "saved after epoch" in storm.log
    assert "put back into the queue" not in storm.log.split("beginning again")[-1]
    assert sum(storm.epochs().values()) > sum(before.values())


def test_a_node_whose_slurmd_dies_costs_no_result_and_in_the_end_all_is_as_if_undisturbed(storm, slurm):
    storm.submit("--time=10")
    storm.wait_for_line(EPOCH, 90, times=2)
    slurm.kill_slurmd("n2")
    slurm.wait_for(storm.job, "COMPLETED", seconds=240)
    slurm.start_slurmd("n2")
    slurm.idle(60)
    calm = Storm(slurm, storm.project, storm.file, "calm")
    slurm.wait_for(calm.submit("--cpus-per-task=2"), "COMPLETED", seconds=240)
    for table in ("trials", "epochs", "postprocessing", "predictions"):
        one, other = (
            read_table(sweep.folder, table, keys=sweep.folder.keys("trials")).to_pylist() for sweep in (storm, calm)
        )
        assert len(one) == len(other) > 0
        for mine, theirs in zip(one, other, strict=True):
            assert {c: v for c, v in mine.items() if c not in VOLATILE} == {
                c: v for c, v in theirs.items() if c not in VOLATILE
            }
    restarts = [row["restarts"] for row in read_table(storm.folder, "trials").to_pylist()]
    assert max(restarts) >= 4, restarts
