"""One sweep on real nodes through one fault after the other, in the order of this file.

At the end its tables equal those of a sweep that nothing disturbed.
"""

import re
import signal
from contextlib import contextmanager

import pytest
from jobs import write_project, write_sweep

from ser_ray.results import SweepFolder, read_table
from ser_ray.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slurm

EPOCHS, RATES = 600, (1e-3, 2e-3, 3e-3, 4e-3)
"""So much that the sweep outlasts all for which SLURM takes its time, also on a machine that nothing else slows."""
EPOCH = r"epoch     \w+  \d+/"
TRIAL = r"^ray::"
VOLATILE = {"train_seconds", "search_seconds", "evaluate_seconds", "seconds", "samples_per_second", "peak_memory_bytes"}
VOLATILE |= {"restarts", "started_at", "ended_at", "host", "job_id", "cpus"}


class Storm:
    """A sweep that runs as one job after the other."""

    def __init__(self, site, project, file, results):
        self.site, self.project, self.file, self.results = site, project, file, results
        self.folder = SweepFolder(project / results / "storm")
        self.job, self.read = "", 0

    def submit(self, *options):
        self.job, self.read = (
            self.site.sbatch(*options, "slurm/launch.sh", self.file, "--results", self.results, cwd=self.project),
            0,
        )
        return self.job

    def read_until(self, pattern, seconds=300, times=1):
        """Wait for so many matches in what of the job's log was not read yet."""
        for _ in range(times):
            found = self.site.wait_until(
                lambda: re.search(pattern, self.site.log(self.job)[self.read :]), seconds, pattern
            )
            self.read += found.end()

    @contextmanager
    def standing_still(self, *nodes):
        """Hold the trials of these nodes, so that they do not come to their end while SLURM takes its time."""
        for node in nodes:
            self.site.kill(node, TRIAL, signal.SIGSTOP, job=self.job)
        yield
        for node in nodes:
            self.site.kill(node, TRIAL, signal.SIGCONT, job=self.job)

    def epochs(self):
        """Return how many epochs of all trials are in their checkpoints."""
        checkpoints = (self.folder.path / "checkpoints").glob("*/last.pt")
        return sum(len(load_checkpoint(path)["epochs"]) for path in checkpoints)

    def hosts(self):
        """Return on which nodes trials have been begun."""
        logs = [path.read_text() for path in (self.folder.path / "logs").glob("*.log")]
        return {host for log in logs for host in re.findall(r"\((n\d), process \d+\)", log)}


@pytest.fixture(scope="module")
def storm(slurm, tiny_corpus, tmp_path_factory):
    project = write_project(tmp_path_factory.mktemp("storm") / "project")
    file = write_sweep(project, tiny_corpus.path, name="storm", epochs=EPOCHS, rates=RATES)
    return Storm(slurm, project, file, "results")


@pytest.fixture(scope="module")
def calm(storm):
    """The same sweep, which nothing disturbs."""
    return Storm(storm.site, storm.project, storm.file, "calm")


def test_a_node_whose_raylet_dies_joins_again_and_its_trial_goes_on(storm, slurm):
    storm.submit("--nodes=2", "--time=30")
    storm.read_until(EPOCH, 500, times=6)
    slurm.wait_until(lambda: storm.hosts() == {"n1", "n2"}, 120, "trials on both nodes")
    slurm.kill("n2", "raylet/raylet")
    storm.read_until("n2  Ray ended unexpectedly")
    storm.read_until("n2  starts Ray at")
    with storm.standing_still("n1"):
        # the trial that was there begins again where there is room: on the node that has come back
        slurm.wait_until(lambda: any(re.search(TRIAL, p) for p in slurm.processes("n2").values()), 300, "a trial on n2")
    job = slurm.job(storm.job)
    assert job["JobState"] == "RUNNING"
    # SLURM signals three and a half minutes before the limit, at the next half of a minute: in one and a half at least.
    # Said here, since it does not change the limit of a job that has lost a node.
    hours, minutes, seconds = map(int, job["RunTime"].split(":"))
    limit = -(-(3600 * hours + 60 * minutes + seconds + 90 + 210) // 60)
    slurm.run("scontrol", "update", f"JobId={storm.job}", f"TimeLimit={limit}")


def test_when_the_power_of_a_node_fails_its_trials_go_on_elsewhere(storm, slurm):
    with storm.standing_still("n1"):
        slurm.power_off("n2")
        slurm.wait_until(lambda: "down" in slurm.node_state("n2"), 40, "n2 is down")
    storm.read_until(EPOCH, 300, times=4)
    job = slurm.job(storm.job)
    assert (job["JobState"], job["Restarts"]) == ("RUNNING", "0")


def test_before_the_time_limit_all_is_saved_and_the_job_goes_on_by_itself(storm, calm, slurm):
    before = storm.epochs()
    storm.read_until(EPOCH, 300, times=4)  # what a trial has begun is no whole epoch yet
    with storm.standing_still("n1"):
        slurm.power_on("n2")
        slurm.wait_until(lambda: slurm.node_state("n2") == "idle", 120, "n2 is back")
        calm.submit("--nodelist=n2", "--cpus-per-task=2")  # in the meantime
        storm.read_until("launch.sh  SLURM sent SIGUSR1", 240)
    storm.read_until("ending    received SIGUSR1: trials save a checkpoint", 20)
    storm.read_until("launch.sh  put back into the queue, to go on from what was saved", 60)
    assert storm.epochs() > before
    longer = ("scontrol", "update", f"JobId={storm.job}", "TimeLimit=30")
    # which SLURM refuses for a moment when the job's nodes have changed
    slurm.wait_until(lambda: slurm.run(*longer, check=False).returncode == 0, 300, "a longer limit")
    slurm.wait_for(storm.job, "RUNNING", seconds=300, restarts=1)
    storm.read_until("launch.sh  job .* started again 1 times", 30)
    storm.read_until("Ray has 2 CPUs, 0 GPUs, 2 nodes", 300)
    storm.read_until(EPOCH, 300, times=4)


def test_another_job_on_one_of_its_nodes_comes_to_its_end(storm, calm, slurm):
    with storm.standing_still("n1", "n2"):
        job = slurm.wait_for(calm.job, "COMPLETED", seconds=800)
    assert (job["ExitCode"], job["NodeList"]) == ("0:0", "n2")
    assert len(calm.folder.keys("trials")) == len(RATES)


def test_a_job_that_is_preempted_saves_and_comes_back(storm, slurm):
    before = storm.epochs()
    # not standing still: a trial that does cannot save, and SLURM may signal twice
    important = slurm.sbatch("--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 1", cwd=storm.project)
    storm.read_until("launch.sh  SLURM sent SIGTERM", 60)
    slurm.wait_for(important, "COMPLETED", seconds=300)
    slurm.wait_for(storm.job, "RUNNING", seconds=300, restarts=2)
    assert storm.epochs() > before
    storm.read_until("launch.sh  job .* started again 2 times", 30)
    storm.read_until(EPOCH, 300, times=4)


def test_a_lost_head_is_started_again_within_the_job(storm, slurm):
    slurm.kill("n1", "gcs/gcs_server")
    storm.read_until("launch.sh  Ray was lost: beginning again in this job", 60)
    storm.read_until(EPOCH, 300, times=4)
    assert slurm.job(storm.job)["Restarts"] == "2"


def test_a_cancelled_job_has_saved_and_leaves_no_process(storm, slurm):
    before = storm.epochs()
    slurm.run("scancel", storm.job)
    slurm.wait_for(storm.job, "CANCELLED", seconds=30)
    slurm.idle(30)
    for node in slurm.nodes:
        slurm.wait_until(lambda node=node: not slurm.processes(node), 20, f"{node}: {slurm.processes(node)}")
    storm.read_until("saved after epoch", 1)
    assert storm.epochs() > before
    assert slurm.job(storm.job)["Restarts"] == "2"


def test_a_node_whose_slurmd_dies_costs_no_result_and_in_the_end_all_is_as_if_undisturbed(storm, calm, slurm):
    storm.submit("--nodes=2", "--time=10")
    storm.read_until(EPOCH, 300, times=2)
    slurm.kill_slurmd("n2")
    slurm.wait_for(storm.job, "COMPLETED", seconds=700)
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
    assert max(restarts) >= 3, restarts
