"""slurm/launch.sh with stand-ins for SLURM's programs and Python: what it refuses, and what it starts and how."""

import os
import shutil
import subprocess
from itertools import takewhile

import pytest
from launch_stand_ins import SCRIPT, UNTIL_OVER, array

from ser_ray.slurm.request import LEAST_S


def test_bash_and_shellcheck_have_nothing_to_say():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck")
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_ends_nobody_elses_ray():
    text = SCRIPT.read_text()
    assert "ray stop" not in text.replace("no ray stop", "")
    assert "symmetric" not in text


def test_what_every_job_has_stands_above_the_first_command():
    head = takewhile(lambda line: line.startswith("#"), SCRIPT.read_text().splitlines())  # sbatch reads no further
    options = [line.removeprefix("#SBATCH --") for line in head if line.startswith("#SBATCH ")]
    given = dict(option.partition("=")[::2] for option in options)
    assert {"requeue", "no-kill", "open-mode", "ntasks-per-node"} <= given.keys()
    assert not {"partition", "account", "time"} & given.keys(), "which are the site's"
    to, _, seconds = given["signal"].partition("@")
    assert (to, int(seconds) + 60 < LEAST_S) == ("B:USR1", True), "it comes up to a minute early"


# --- what it refuses --------------------------------------------------------------------------------------------------


def test_outside_of_a_job_the_error_names_how_to_submit_one(job):
    code, out = job.run(SLURM_JOB_ID=None)
    assert code == 2
    assert "error: this is no SLURM job: sbatch slurm/launch.sh" in out
    assert job.calls == []


def test_a_folder_that_the_node_does_not_see_is_named(job):
    code, out = job.run(SLURM_SUBMIT_DIR="/none/such")
    assert code == 2
    assert "error: the folder /none/such is not there on " in out


def test_without_an_environment_the_error_names_the_fix(job):
    (job.project / "slurm" / "site.env").unlink()
    code, out = job.run()
    assert code == 2
    assert f"error: there is no {job.project}/.venv/bin/python: submit from the project's folder, after make env" in out
    assert job.calls == []


def test_a_site_file_that_fails_ends_the_job(job):
    job.site("return 3")
    code, out = job.run()
    assert code == 2
    assert "error: slurm/site.env ended with 3" in out


def test_a_mistake_in_the_sweep_file_starts_nothing(job):
    job.does(print="echo 'error: x.yaml:3: epoch is no key' >&2; exit 2")
    job.say(nodes="n1\nn2")
    code, out = job.run("sweeps/x.yaml")
    assert code == 2
    assert "error: x.yaml:3: epoch is no key" in out
    assert job.order == ["print"]
    assert job.given("srun") == []
    assert not job.folder.exists()


def test_results_that_cannot_be_written_end_the_job(job):
    (job.here / "results").write_text("a file where a folder should be")
    code, out = job.run()
    assert code == 2
    assert f"error: {job.folder} cannot be written: choose another folder with --results DIR" in out
    assert job.order == ["print"]


# --- what it passes on ------------------------------------------------------------------------------------------------


def test_the_projects_environment_is_taken_where_the_site_names_none(job):
    (job.project / "slurm" / "site.env").unlink()
    (job.project / ".venv" / "bin").mkdir(parents=True)
    (job.project / ".venv" / "bin" / "python").symlink_to(job.python)
    assert job.run()[0] == 0
    assert job.order == ["print", "doctor", "driver"]


def test_python_may_be_several_words(job):
    job.program("container", 'note container "$@"; shift 2; exec "$@"')
    job.site(f"SER_RAY_PYTHON=(container exec 'an image #1.sif' '{job.python}')")
    code, _ = job.run()
    assert code == 0
    assert all(words[:2] == ["exec", "an image #1.sif"] for words in job.given("container"))
    assert job.order == ["print", "doctor", "driver"]


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ([], ["sweeps/overlap.yaml"]),
        (["--corpus", "shards"], ["sweeps/overlap.yaml", "--corpus", "shards"]),
        (["sweeps/x.yaml"], ["sweeps/x.yaml"]),
        (
            [
                "my sweeps/x #2.yaml",
                "--set",
                "training.epochs = 3",
                "--results",
                "the #results",
                "--set",
                "a='b'*$HOME",
            ],
            [
                "my sweeps/x #2.yaml",
                "--set",
                "training.epochs = 3",
                "--results",
                "the #results",
                "--set",
                "a='b'*$HOME",
            ],
        ),
    ],
)
def test_file_and_options_are_passed_on_word_by_word(job, given, passed):
    code, out = job.run(*given)
    assert code == 0
    assert job.given("print") == [["-m", "ser_ray.sweep", *passed, "--print-folder"]]
    assert job.given("driver") == [["-m", "ser_ray.sweep", *passed, "--meeting", str(job.meeting()), "--nodes", "1"]]
    assert f"job 4711 on n1, started again 0 times: {' '.join(passed)}" in out


@pytest.mark.parametrize(
    ("task", "first", "last", "count", "share"),
    [(0, 0, 7, 8, "1/8"), (7, 0, 7, 8, "8/8"), (6, 4, 7, 4, "3/4"), (1, 1, 3, 3, "1/3"), (5, 5, 5, 1, "1/1")],
)
def test_a_job_of_an_array_runs_its_share(job, task, first, last, count, share):
    code, _ = job.run("x.yaml", "--quick", **array(task, first, last, count))
    assert code == 0
    for what in ("print", "driver"):
        assert job.given(what)[0][:6] == ["-m", "ser_ray.sweep", "x.yaml", "--quick", "--share", share]


@pytest.mark.parametrize(("first", "last", "count"), [(0, 6, 4), (1, 8, 2)])
def test_an_array_with_gaps_would_leave_shares_out(job, first, last, count):
    code, out = job.run("x.yaml", **array(first, first, last, count))
    assert code == 2
    assert "error: --array must be a range such as 0-7; for one of eight shares alone: --share 3/8" in out
    assert job.calls == []


@pytest.mark.parametrize("option", [["--share", "3/8"], ["--share=3/8"]])
def test_a_share_that_the_user_names_is_kept(job, option):
    code, _ = job.run("x.yaml", *option, **array(0, 0, 6, 4))
    assert code == 0
    assert job.given("print") == [["-m", "ser_ray.sweep", "x.yaml", *option, "--print-folder"]]


# --- one node ---------------------------------------------------------------------------------------------------------


def test_on_one_node_the_doctor_comes_first_and_no_cluster_is_started(job):
    assert job.run()[0] == 0
    assert job.order == ["print", "doctor", "driver"]
    assert job.given("doctor") == [["-m", "ser_ray.doctor", "--results", str(job.folder)]]
    assert job.given("srun") == []


def test_on_a_node_that_is_not_fit_nothing_is_run(job):
    job.does(doctor="echo no PyTorch; exit 1")
    code, out = job.run()
    assert code == 1
    assert "no PyTorch" in out
    assert "launch.sh  ends with 1" in out
    assert job.order == ["print", "doctor"]


@pytest.mark.parametrize("code", [0, 1, 2, 75, 143])
def test_the_job_ends_as_the_sweep_does(job, code):
    job.does(driver=f"save; exit {code}")
    ended, out = job.run()
    assert ended == code
    assert f"launch.sh  ends with {code}" in out
    assert job.order == ["print", "doctor", "driver"]


def test_ray_is_alone_with_the_job(job):
    job.say(nodes="n1\nn2")
    assert job.run(RAY_ADDRESS="10.0.0.9:6379", RAY_AUTH_TOKEN="another's")[0] == 0
    driver, node = job.environment("driver"), job.environment("node")
    token = driver["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    assert int(token, 16)
    assert node["RAY_AUTH_TOKEN"] == token
    for environment in (driver, node):
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
        assert "RAY_ADDRESS" not in environment
    assert job.run()[0] == 0
    assert job.environment("driver")["RAY_AUTH_TOKEN"] != token


def test_ray_may_open_as_many_files_as_the_site_allows(job):
    job.does(driver="echo open files: $(ulimit -Sn) $(ulimit -Hn)")
    _, out = job.run()
    soft, hard = out.split("open files: ")[1].split()[:2]
    assert soft == hard != "256"


# --- several nodes ----------------------------------------------------------------------------------------------------


def test_on_several_nodes_each_has_a_step_and_the_first_the_driver(job):
    job.say(nodes="n1\nn2\nn3", config="TaskPlugin = task/affinity")
    job.does(driver="until [[ $(ls -d $here/calls/*.node.* | wc -l) == 3 ]]; do pause; done; [[ -e $meeting/go ]]")
    code, out = job.run("x.yaml")
    assert code == 0, out
    assert job.given("doctor") == []
    roles = {
        "n1": ["--head", "--peer", "n2", "--peer", "n3"],
        "n2": ["--peer", "n1", "--peer", "n3"],
        "n3": ["--peer", "n1", "--peer", "n2"],
    }
    node = [str(job.python), "-m", "ser_ray.slurm.node", str(job.meeting()), "--results", str(job.folder)]
    options = ["--overlap", "--cpu-bind=none", "--export=ALL", "--no-kill", "--kill-on-bad-exit=0", "--input=none"]
    options.append("--mpi=none")
    steps = job.given("srun")
    assert {tuple(step[10:12]) for step in steps} == {("bash", "-c")}
    assert sorted([*step[:10], *step[14:]] for step in steps) == sorted(
        ["--nodes=1", "--ntasks=1", f"--nodelist={name}", *options, *node, *role] for name, role in roles.items()
    )
    assert job.given("driver") == [["-m", "ser_ray.sweep", "x.yaml", "--meeting", str(job.meeting()), "--nodes", "3"]]
    assert not (job.meeting() / "go").exists()
    assert len(list(job.here.glob("over.*"))) == 3, "it waits until they have ended"


DETAIL = """JobId=4711 JobName=ser_ray
   NumNodes=3 NumCPUs=6 NumTasks=3 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   JOB_GRES={all}
     Nodes=n[1-2] CPU_IDs=0-1 Mem=0 GRES={first}
     Nodes=n3 CPU_IDs=0,3 Mem=1000 GRES={last}
   MinCPUsNode=1 MinMemoryNode=0 MinTmpDiskNode=0
"""


SCONTROL_OF_THREE = """
case "$1 $2 $3" in
"show hostnames n[1-2]") printf 'n1\\nn2\\n' ;;
"show hostnames n3") echo n3 ;;
"show hostnames "*) cat "$here/nodes" ;;
"show config "*) cat "$here/config" ;;
"show job "*) cat "$here/job" ;;
esac
"""


@pytest.mark.parametrize(
    ("first", "last", "counts"),
    [
        ("gpu:2(IDX:0-1)", "gpu:1(IDX:0)", (2, 1)),
        ("gpu:a100:2(IDX:0,3)", "gpu:a100:4(IDX:0-3)", (2, 4)),
        ("gpu:a100:1(IDX:0),gpu:v100:1(IDX:1)", "gpu:a100:1(IDX:0),gpu:v100:0(IDX:)", (2, 1)),
        ("craynetwork:1,gpu:1g.5gb:3(IDX:0,2,4),shard:7(0/8,7/8)", "gpu:1", (3, 1)),
    ],
    ids=["plain", "typed", "two-types", "slices"],
)
def test_a_step_asks_for_the_gpus_of_its_own_node_and_not_for_those_of_the_job(job, first, last, counts):
    job.say(nodes="n1\nn2\nn3", job=DETAIL.format(all="gpu:5", first=first, last=last))
    job.program("scontrol", SCONTROL_OF_THREE)
    asked = {"SLURM_GPUS": "5", "SLURM_GPUS_PER_NODE": "a100:2", "SLURM_GPUS_PER_TASK": "1", "SLURM_GPUS_ON_NODE": "2"}
    code, out = job.run(**asked)
    assert code == 0, out
    gpus = {words[2]: [word for word in words if word.startswith("--gpus")] for words in job.given("srun")}
    one, other = ([f"--gpus={count}"] for count in counts)
    assert gpus == {"--nodelist=n1": one, "--nodelist=n2": one, "--nodelist=n3": other}
    of_the_job = {"SLURM_GPUS", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK"}
    assert not of_the_job & job.environment("node").keys()
    assert of_the_job <= job.environment("driver").keys()
    assert job.environment("node")["SLURM_GPUS_ON_NODE"] == "2", "which srun says anew"


@pytest.mark.parametrize("asked", [{}, {"SLURM_GPUS_PER_NODE": "2"}, {"SLURM_GPUS": "2"}], ids=str)
def test_a_step_is_not_given_options_that_it_takes_by_itself(job, asked):
    job.say(nodes="n1\nn2")  # nor what SLURM does not tell
    assert job.run(**asked)[0] == 0
    assert not any(word.startswith("--gpus") for words in job.given("srun") for word in words)
    assert asked.items() <= job.environment("node").items()


def test_of_steps_that_cannot_start_the_log_and_the_sweep_have_sruns_own_words(job):
    job.say(nodes="n1\nn2")
    why = "srun: error: Unable to create step for job 4711: Invalid generic resource (gres) specification"
    job.program("srun", f"echo '{why}' >&2; exit 1")
    job.does(driver="until [[ -e $meeting/ended-n1 && -e $meeting/ended-n2 ]]; do pause; done; save; exit 2")
    code, out = job.run()
    assert code == 2
    for node in ("n1", "n2"):
        assert f"launch.sh  the step of node {node} is over: {why}\n" in out
        assert (job.meeting() / f"ended-{node}").read_text() == why


def test_both_streams_of_a_node_are_in_the_log(job):
    job.say(nodes="n1\nn2")
    job.does(node="echo a warning >&2; echo a line", driver="pause")
    _, out = job.run()
    assert out.count("\na warning\n") == out.count("\na line\n") == 2


@pytest.mark.parametrize("code", [0, 1, 75])
def test_how_the_nodes_end_is_not_how_the_sweep_ends(job, code):
    job.say(nodes="n1\nn2")
    job.does(node="exit 1", driver=f"pause; exit {code}")
    assert job.run()[0] == code


def test_steps_that_do_not_end_are_killed(job):
    job.say(nodes="n1\nn2")
    # it ends with its step's shell, as SLURM sees to
    job.does(node="trap '' TERM USR1; while kill -0 $PPID 2>/dev/null; do pause; done", driver="pause; exit 1")
    assert job.run()[0] == 1
    assert len(job.pids("srun")) == 2
    for pid in job.pids("srun"):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


CONFIG = """
JobAcctGatherType       = jobacct_gather/cgroup
ProctrackType           = proctrack/cgroup
TaskPlugin              = {plugin}
TaskPluginParam         = (null type)
TopologyPlugin          = topology/cgroup
"""


@pytest.mark.parametrize(
    ("plugin", "unbound"),
    [
        ("task/affinity", True),
        ("task/cgroup,task/affinity", True),
        ("task/cgroup", True),
        ("task/none", False),
        ("", False),
    ],
)
def test_tasks_are_unbound_only_where_slurm_binds_them(job, plugin, unbound):
    job.say(nodes="n1\nn2", config=CONFIG.format(plugin=plugin))
    assert job.run()[0] == 0
    assert [("--cpu-bind=none" in words) for words in job.given("srun")] == [unbound] * 2


def test_a_site_file_may_use_variables_that_are_not_set(job):
    job.site(f"SER_RAY_PYTHON=('{job.python}')\nactivate() {{ : \"$NOT_SET_YET\"; }}\nactivate")
    assert job.run()[0] == 0


def test_what_a_container_prints_first_is_not_the_folder(job):
    job.does(print=f"echo 'INFO: image loaded'; echo '{job.folder}'")
    assert job.run()[0] == 0
    assert job.given("doctor") == [["-m", "ser_ray.doctor", "--results", str(job.folder)]]


def test_a_job_whose_nodes_are_not_named_is_refused(job):
    job.program("scontrol", "exit 1")
    code, out = job.run()
    assert code == 2
    assert "scontrol names no nodes of this job (n[1-9])" in out


@pytest.mark.parametrize(
    ("code", "task", "asked"),
    [
        (76, {}, [["requeue", "4711"]]),
        (76, {"SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": "3"}, [["requeue", "4700_3"]]),
        (1, {}, []),
        (0, {}, []),
    ],
    ids=["gone", "array", "unfit", "over"],
)
def test_a_node_that_has_lost_the_first_one_puts_the_job_back(job, code, task, asked):
    job.say(nodes="n1\nn2")
    job.does(
        node=f'[[ " $* " == *" --head "* ]] || {{ : >$here/left; exit {code}; }}; {UNTIL_OVER}',
        driver="until [[ -e $here/left ]]; do pause; done; /bin/sleep 0.2",
    )
    array = {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_COUNT": "1"} if task else {}
    assert job.run(**task, **array)[0] == 0
    assert job.given("scontrol-requeue-") == asked
