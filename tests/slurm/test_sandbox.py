"""That the made-up site behaves as the other tests here take for granted, and leaves nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import namespaces
import pytest
from jobs import write_project
from records import record
from sandbox import own_tmp_holds

pytestmark = pytest.mark.slurm

HOLDER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from sandbox import sandbox
with sandbox(Path({folder!r}) / "site", shared=[Path({folder!r})]) as site:
    job = site.sbatch("--nodes=2", "--wrap=setsid sleep 1000 & srun sleep 1000", cwd={folder!r})
    site.wait_for(job, "RUNNING")
    site.wait_until(lambda: all("sleep 1000" in str(site.processes(node)) for node in site.nodes), 20, "all run")
    print("up", flush=True)
    sys.stdin.read()
    sys.exit(3)
"""


def namespaces_of(pid):
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "pid", "mnt", "ipc", "uts")}


def in_use():
    """Return the namespaces of all processes."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            found |= namespaces_of(entry.name) if entry.name.isdecimal() else set()
        except OSError:
            continue
    return found


def groups_of(pid):
    return sorted(namespaces.FREEZER.glob(f"ser_ray_{pid}_*"))


def reaches(site, node, host, port):
    """Return whether a connection comes about, which slurmd takes at 6818."""
    command = ["timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}"]
    return site.run_on(node, *command, check=False).returncode == 0


def test_nodes_are_machines_of_their_own_that_share_a_folder(slurm, tmp_path):
    out = slurm.run(
        *("srun", "--nodes=2", "bash", "-c"),
        'echo "$(hostname) $(hostname -i) $(ls -A /dev/shm | wc -l)"; touch "/tmp/of_$(hostname)" "$(hostname).txt"',
        cwd=tmp_path,
    ).stdout
    assert sorted(out.splitlines()) == ["n1 10.77.0.11 0", "n2 10.77.0.12 0"]
    assert {path.name for path in tmp_path.iterdir()} == {"n1.txt", "n2.txt"}
    for node, other in (("n1", "n2"), ("n2", "n1")):
        assert slurm.path(node, f"/tmp/of_{node}").exists()
        assert not slurm.path(node, f"/tmp/of_{other}").exists()
        assert not Path(f"/tmp/of_{node}").exists()
    assert reaches(slurm, "n1", "n2", 6818)
    assert not reaches(slurm, "n1", "1.1.1.1", 53)


def test_a_job_has_its_devices_and_nothing_of_the_job_that_runs_the_tests(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "9")
    monkeypatch.setenv("SBATCH_PARTITION", "none such")
    text = "echo $SLURM_GPUS_ON_NODE,$CUDA_VISIBLE_DEVICES,$SLURM_RESTART_COUNT,$MINE"
    job = slurm.sbatch("--gres=gpu:2", f"--wrap={text}", cwd=tmp_path, env={"MINE": "a b"})
    assert slurm.wait_for(job, "COMPLETED")["Partition"] == "low"
    assert slurm.log(job) == "2,0,1,,a b\n"


def test_a_failing_job_fails_with_its_code_wherever_it_lies(slurm, tmp_path):
    folder = tmp_path / "a #b  c"
    folder.mkdir()
    job = slurm.sbatch("--job-name=x y=z", "--output=o #%j.txt", "--wrap=echo oh; exit 7", cwd=folder)
    found = slurm.wait_for(job, "FAILED")
    assert (found["ExitCode"], found["JobName"], found["WorkDir"]) == ("7:0", "x y=z", str(folder))
    assert slurm.log(job) == "oh\n"
    with pytest.raises(AssertionError, match=rf"job {job} ended FAILED, not COMPLETED\n(.*\n)*--- log\noh"):
        slurm.wait_for(job, "COMPLETED")


def test_tasks_of_an_array_are_jobs(slurm, tmp_path):
    job = slurm.sbatch("--array=0-2", "--wrap=echo $SLURM_ARRAY_TASK_ID; exit $SLURM_ARRAY_TASK_ID", cwd=tmp_path)
    assert slurm.wait_for(f"{job}_0", "COMPLETED")["ExitCode"] == "0:0"
    assert slurm.wait_for(f"{job}_2", "FAILED")["ExitCode"] == "2:0"
    assert slurm.log(f"{job}_2") == "2\n"


def test_a_cancelled_job_leaves_no_process(slurm, tmp_path):
    job = slurm.sbatch("--nodes=2", "--wrap=sleep 1000 & srun bash -c 'sleep 1001 & sleep 1002'", cwd=tmp_path)
    expected = {"n1": {"sleep 1000", "sleep 1001", "sleep 1002"}, "n2": {"sleep 1001", "sleep 1002"}}
    for node, lines in expected.items():
        slurm.wait_until(lambda node=node, lines=lines: lines <= set(slurm.processes(node).values()), 20, "all run")
    assert not any("slurm" in line.split()[0] for node in slurm.nodes for line in slurm.processes(node).values())
    with pytest.raises(AssertionError, match=rf"job {job} is, after 0 s, RUNNING, not COMPLETED"):
        slurm.wait_for(job, "COMPLETED", seconds=0)
    slurm.kill("n1", "sleep 1000")
    slurm.run("scancel", job)
    slurm.wait_for(job, "CANCELLED")
    assert [slurm.processes(node) for node in slurm.nodes] == [{}, {}]
    with pytest.raises(AssertionError, match="nothing on n1 has sleep"):
        slurm.kill("n1", "sleep")


def test_a_signal_reaches_one_of_two_jobs_on_a_node(slurm, tmp_path):
    renamed = "--wrap=env -i /bin/sleep 1000; true"  # without an environment of its own
    jobs = [slurm.sbatch("--nodelist=n1", renamed, cwd=tmp_path) for _ in range(2)]
    slurm.wait_until(lambda: list(slurm.processes("n1").values()).count("/bin/sleep 1000") == 2, 20, "both run")
    assert len(slurm.kill("n1", r"^/bin/sleep 1000", job=jobs[1])) == 1
    slurm.wait_for(jobs[1], "COMPLETED", "FAILED")
    assert slurm.job(jobs[0])["JobState"] == "RUNNING"
    slurm.run("scancel", jobs[0])
    slurm.idle()


def test_a_job_outlives_its_nodes_slurmd(slurm, tmp_path):
    job = slurm.sbatch("--nodelist=n2", "--wrap=sleep 5; echo end", cwd=tmp_path)
    slurm.wait_for(job, "RUNNING")
    slurm.wait_until(lambda: slurm.processes("n2"), 20, "its slurmd has begun it")
    slurm.kill_slurmd("n2")
    assert slurm.processes("n2")
    slurm.start_slurmd("n2")
    slurm.wait_for(job, "COMPLETED")
    assert slurm.log(job) == "end\n"
    slurm.idle()


def test_a_job_of_a_node_without_power_is_requeued(slurm, tmp_path):
    text = 'echo $SLURM_RESTART_COUNT; test "$SLURM_RESTART_COUNT" || sleep 1000'
    job = slurm.sbatch("--nodes=2", "--open-mode=append", f"--wrap={text}", cwd=tmp_path)
    slurm.wait_for(job, "RUNNING")
    slurm.path("n2", "/tmp/trace").write_text("")
    slurm.power_off("n2")
    assert slurm.processes("n2") == {}
    assert not reaches(slurm, "n1", "n2", 6818)
    slurm.wait_until(lambda: slurm.node_state("n2") == "down*", 40, "n2 is down")
    slurm.power_on("n2")
    assert not slurm.path("n2", "/tmp/trace").exists()
    assert slurm.wait_for(job, "COMPLETED", seconds=90, restarts=1)["Restarts"] == "1"
    assert re.fullmatch(r"\nslurmstepd.*NODE FAILURE.*\n1\n", slurm.log(job))


def test_a_project_is_a_checkout_to_a_job_wherever_it_lies(slurm, tiny_sweep, tmp_path):
    folder = write_project(tmp_path / "a #b  c")
    file = tiny_sweep(folder, name="some", rates=(1e-3, 1e-2, 2e-2))
    out = slurm.run_on("n2", ".venv/bin/python", "-m", "ser_ray.sweep", file, "--dry-run", cwd=folder).stdout
    assert "sweep some: 3 trials" in out
    assert (folder / "slurm/launch.sh").exists()


def test_sites_run_beside_each_other_and_one_may_have_no_gpus(slurm, sites, tmp_path):
    with sites(nodes=1, cpus=2, gpus=0, kill_on_bad_exit=1, wait_time=5) as other:
        assert other.nodes == slurm.nodes[:1]
        config = other.run("scontrol", "show", "config").stdout
        assert re.search(r"KillOnBadExit += 1\n", config)
        assert re.search(r"WaitTime += 5 sec\n", config)
        assert other.run("sbatch", "--gres=gpu:1", "--wrap=true", cwd=tmp_path, check=False).returncode != 0
        jobs = [(site, site.sbatch("--nodelist=n1", "--wrap=sleep 1000", cwd=tmp_path)) for site in (slurm, other)]
        for site, job in jobs:
            site.wait_for(job, "RUNNING")
        other.run("scancel", jobs[1][1])
        other.wait_for(jobs[1][1], "CANCELLED")
        assert slurm.job(jobs[0][1])["JobState"] == "RUNNING"
    assert "sleep 1000" in slurm.processes("n1").values()
    assert slurm.node_state("n1") == "mixed"
    slurm.reset()
    assert slurm.processes("n1") == {}


@pytest.mark.parametrize("end", ["SIGKILL", "exit"])
def test_nothing_is_left_of_a_site_whose_holder_ends(tmp_path, end):
    links = os.listdir("/sys/class/net")
    text = HOLDER.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    command = [sys.executable, "-c", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "up\n"
        made = set().union(*map(namespaces_of, namespaces.descendants(holder.pid))) - namespaces_of("self")
        assert len(made) == 3 * 5  # of the controller and of two nodes
        if end == "SIGKILL":
            holder.kill()
    assert holder.returncode == (-signal.SIGKILL if end == "SIGKILL" else 3)
    deadline = time.monotonic() + (10 if end == "SIGKILL" else 0)
    while left := made & in_use() or groups_of(holder.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert os.listdir("/sys/class/net") == links


def test_a_command_that_takes_too_long_ends_with_what_it_started(slurm):
    with pytest.raises(subprocess.TimeoutExpired):
        slurm.run("bash", "-c", "sleep 1003 & sleep 1003", timeout=0.5)
    assert "1003" not in slurm.run("ps", "-eo", "args").stdout


def test_what_is_missing_is_reported(monkeypatch):
    monkeypatch.setattr(namespaces, "path", lambda: "")
    assert namespaces.missing() == (
        "commands of SLURM's site are missing: apt-get install slurm-wlm munge iproute2 util-linux hostname"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert namespaces.missing() == "a SLURM site in namespaces needs root"


def test_each_shared_folder_below_tmp_is_shown_once():
    found = own_tmp_holds([Path("/tmp"), Path("/usr"), Path("/tmp/none")])
    assert found == [Path("/tmp")]


def test_a_record_ends_with_its_job():
    assert record("JobId=1 JobName=a=b c\n   UserId=root(0) TRES=cpu=1,mem=2\n   StdOut=/x y=1/z\n\nJobId=2\n") == {
        "JobId": "1",
        "JobName": "a=b c",
        "UserId": "root(0)",
        "TRES": "cpu=1,mem=2",
        "StdOut": "/x y=1/z",
    }
