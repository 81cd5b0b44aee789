"""sbatch slurm/launch.sh on a real controller: nodes, exit codes, arrays, neighbours, and odd sites."""

import shutil

import pytest
from jobs import write_project, write_sweep

from ser_ray.results import SweepFolder, read_drivers, read_table

pytestmark = pytest.mark.slurm


def rows(project, name="tiny", results="results"):
    return read_table(SweepFolder(project / results / name), "trials").to_pylist()


def scores(project, name="tiny", results="results"):
    return {row["key"]: (row["status"], row["ccc_devel_mean"]) for row in rows(project, name, results)}


@pytest.fixture(scope="module")
def shared(tiny_corpus, tmp_path_factory):
    """A project, and in it a sweep that several tests run."""
    project = write_project(tmp_path_factory.mktemp("shared") / "project")
    # so long that no node is done with all trials before the process of the other one is up
    file = write_sweep(project, tiny_corpus.path, epochs=200, rates=(1e-3, 2e-3, 3e-3, 4e-3))
    return project, file


def test_two_jobs_share_two_nodes_and_nothing_of_them_stays(slurm, shared):
    project, file = shared
    on_cpus = ("--set", "resources.gpus=0")  # the site's GPUs compute nothing
    options = ("--nodes=2", "--gpus-per-node=1", "slurm/launch.sh", file, *on_cpus, "--results")
    jobs = {name: slurm.sbatch(*options, name, cwd=project) for name in ("results", "others")}
    slurm.wait_until(
        lambda: sum("raylet/raylet" in line for line in slurm.processes("n2").values()) == 2, 500, "both are on n2"
    )
    for name, job in jobs.items():
        assert slurm.wait_for(job, "COMPLETED", seconds=700)["ExitCode"] == "0:0"
        log = slurm.log(job)
        found = rows(project, results=name)
        assert {row["status"] for row in found} == {"finished"}, log
        assert {row["host"] for row in found} == {"n1", "n2"}, log
        assert {row["job_id"] for row in found} == {job}
        assert "Ray has 2 CPUs, 0 GPUs, 2 nodes; a trial gets 1 CPU" in log
        for node in slurm.nodes:  # its GPUs are given, and cannot compute
            assert f"{node}  warn  gpu         SLURM gave 1, but PyTorch sees none" in log
            assert f"{node} is fit to run sweeps" in log
        assert "srun: " not in log
        assert "Traceback" not in log
    assert scores(project) == scores(project, results="others")
    for node in slurm.nodes:
        slurm.wait_until(lambda node=node: not slurm.processes(node), 20, f"{node} is empty")
        assert not list(slurm.path(node, "/tmp").glob("ser_ray*"))
        assert not list(slurm.path(node, "/dev/shm").iterdir())


def test_gpus_that_cannot_be_used_are_not_spent_on_the_cpu(slurm, shared):
    project, file = shared
    job = slurm.sbatch("--gpus-per-node=1", "slurm/launch.sh", file, "--results", "none", cwd=project)
    assert slurm.wait_for(job, "FAILED", seconds=240)["ExitCode"] == "2:0"
    log = slurm.log(job)
    assert "this job was given 1 GPU, but PyTorch can use none" in log
    assert "--set resources.gpus=0" in log
    assert "Traceback" not in log
    assert not rows(project, results="none")


def test_one_node_needs_no_cluster_and_a_failed_trial_is_a_failed_job(slurm, tmp_path, tiny_sweep):
    site = tmp_path / "site #7 of ours"  # a mark of comments, and spaces
    site.mkdir()
    project = write_project(site / "a project")
    file = tiny_sweep(project, rates=(1e-3, 1e38))
    results = site / "the #results"
    job = slurm.sbatch("slurm/launch.sh", file, "--results", results, cwd=project)
    assert slurm.wait_for(job, "FAILED", seconds=240)["ExitCode"] == "1:0"
    log = slurm.log(job)
    assert "starts Ray at" not in log
    assert "Ray has 1 CPU, 0 GPUs, 1 node" in log  # of the four of the node, those that the job has
    assert "1 of 2 trials failed" in log
    assert {row["status"] for row in rows(site, results="the #results")} == {"finished", "failed"}
    assert "launch.sh  ends with 1" in log


def test_a_mistake_ends_the_job_before_anything_starts(slurm, project, tiny_sweep):
    file = tiny_sweep(more="replicats: 3")
    job = slurm.sbatch("--nodes=2", "slurm/launch.sh", file, cwd=project)
    assert slurm.wait_for(job, "FAILED", seconds=30)["ExitCode"] == "2:0"
    assert "did you mean replicates?" in slurm.log(job)
    assert "starts Ray" not in slurm.log(job)
    assert not (project / "results").exists()


def test_an_array_splits_the_plan_and_its_tasks_share_a_node(slurm, shared):
    project, file = shared
    job = slurm.sbatch("--array=4-5", "--nodelist=n1", "slurm/launch.sh", file, "--results", "split", cwd=project)
    for number, task in enumerate((f"{job}_4", f"{job}_5"), start=1):
        slurm.wait_for(task, "COMPLETED", seconds=700)
        assert f"share {number}/2: 2 of 4 trials" in slurm.log(task)
    first, second = read_drivers(SweepFolder(project / "split" / "tiny"))
    assert first.started_at < second.seen_at
    assert second.started_at < first.seen_at, "they did not run at once"
    assert {row["job_id"] for row in rows(project, results="split")} == {f"{job}_4", f"{job}_5"}
    assert scores(project, results="split") == scores(project)  # of the jobs above, which ran it whole
    assert len(scores(project)) == 4


def test_a_site_without_gpus_and_with_a_file_of_its_own(sites, project, tiny_sweep):
    with sites(gpus=0, prefix="c", cpus=1) as site:
        elsewhere = project / "elsewhere"
        elsewhere.mkdir()
        shutil.move(project / ".venv", elsewhere / "env")
        (project / "slurm" / "site.env").write_text(
            f"SER_RAY_PYTHON=('{elsewhere}/env/bin/python')\nexport SER_RAY_INTERFACE=eth0\n"
        )
        job = site.sbatch("--nodes=2", "slurm/launch.sh", tiny_sweep(), cwd=project)
        site.wait_for(job, "COMPLETED", seconds=700)
        assert "Ray has 2 CPUs, 0 GPUs, 2 nodes" in site.log(job)
        assert "gpu         the job has none" in site.log(job)
        assert {row["status"] for row in rows(project)} == {"finished"}


IMPATIENT = """#!/bin/bash
# the environment's Python, but for how long nodes wait for the first one to answer again
python='{python}'
[[ $* == *ser_ray.slurm.node* ]] || exec "$python" "$@"
shift 2
code='import sys; from ser_ray.slurm import node; node.GONE_S = 10.0; sys.exit(node.main(sys.argv[1:]))'
exec "$python" -c "$code" "$@"
"""


def test_when_the_first_node_is_lost_the_others_put_the_job_back(slurm, project, tiny_sweep):
    wrapper = project / "impatient"
    wrapper.write_text(IMPATIENT.format(python=project / ".venv" / "bin" / "python"))
    wrapper.chmod(0o755)
    (project / "slurm" / "site.env").write_text(f"SER_RAY_PYTHON=('{wrapper}')\n")
    job = slurm.sbatch("--nodes=2", "slurm/launch.sh", tiny_sweep(epochs=200), cwd=project)
    slurm.wait_until(lambda: "  9/200  " in slurm.log(job), 300, "nine epochs")
    slurm.power_off("n1")  # and with it the batch script, without which SLURM lets the job go on
    slurm.wait_for(job, "PENDING", "RUNNING", seconds=120, restarts=1)
    slurm.power_on("n1")
    slurm.wait_for(job, "COMPLETED", seconds=700)
    assert {row["status"] for row in rows(project)} == {"finished"}
    assert min(row["restarts"] for row in rows(project)) >= 1
