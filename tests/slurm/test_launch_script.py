"""slurm/launch.sh with stand-ins for SLURM's programs and Python: what it starts, in which order, and how it ends."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "slurm" / "launch.sh"
NOTE = """#!/bin/bash
here={here}
note() {{ # what was called, with which arguments, as one file
    local file=$here/calls/$EPOCHREALTIME.$1.$$
    shift
    printf '%s\\0' $$ "$@" >"$here/note.$$"
    mv "$here/note.$$" "$file"
}}
"""
PYTHON = """
case " $* " in
*" --print-folder "*) what=print ;;
*" ser_ray.doctor "*) what=doctor ;;
*" ser_ray.slurm.node "*) what=node meeting=$3 ;;
*) what=driver meeting=${*: -3:1} ;;
esac
folder=$(<"$here/folder")
note $what "$@"
env >"$here/environment.$what"
save() { # a result, at a time that the file system tells from the job's beginning
    /bin/sleep 0.02
    mkdir -p "$folder/trials"
    : >"$folder/trials/$$.parquet"
}
pause() { /bin/sleep 0.01; }
. "$here/does.$what"
"""
SCONTROL = """
note "scontrol-$1-${2%%[0-9]*}" "$@"
case "$1 $2" in
"show hostnames") cat "$here/nodes" ;;
"show config") cat "$here/config" ;;
"show job") cat "$here/job" ;;
requeue*) exit "$(<"$here/requeue")" ;;
esac
"""
SRUN = """
note srun "$@"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SLEEP = """
[[ $1 != 60 ]] || { note sleep "$@"; exit 0; }
[[ $1 != 0.1 ]] || exec /bin/sleep 0.002
exec /bin/sleep "$@"
"""
BEGIN = 'ulimit -Sn 256; echo $$ >"$0"; exec bash "$@"'
ENDS_WELL = "exit 0"
UNTIL_OVER = 'while [[ -e $meeting/go ]]; do pause; done; : >"$here/over.$$"'
SAVES = 'trap "save; exit 75" USR1 TERM; : >"$here/up"; while :; do pause; done'
"""A driver that saves when it is asked to end, and says when it can be asked."""


class Job:
    """A run of the script."""

    def __init__(self, folder):
        self.here = folder
        self.project = folder / "my project #1"
        self.folder = folder / "results" / "x y"
        for made in (folder / "calls", folder / "bin", self.project / "slurm"):
            made.mkdir(parents=True)
        self.python = self.program("a python", PYTHON)
        for name, text in (("scontrol", SCONTROL), ("srun", SRUN), ("sleep", SLEEP)):
            self.program(name, text)
        self.site(f"SER_RAY_PYTHON=('{self.python}')")
        self.does(print=f"echo '{self.folder}'", doctor="echo it is fit", driver=ENDS_WELL, node=UNTIL_OVER)
        self.say(folder=self.folder, nodes="n1", config="TaskPlugin = task/none", job="PreemptTime=None", requeue=0)
        self.process = None

    def program(self, name, text):
        path = self.here / "bin" / name
        path.write_text(NOTE.format(here=f"'{self.here}'") + text)
        path.chmod(0o755)
        return path

    def site(self, text):
        (self.project / "slurm" / "site.env").write_text(text + "\n")

    def does(self, **scripts):
        self.say(**{f"does.{name}": text for name, text in scripts.items()})

    def say(self, **files):
        for name, text in files.items():
            (self.here / name).write_text(f"{text}\n")

    def start(self, *arguments, **variables):
        foreign = ("SLURM_", "SER_RAY_", "RAY_")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        given = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "n[1-9]", "SLURM_SUBMIT_DIR": str(self.project)}
        path = {"PATH": f"{self.here / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        chosen = {key: value for key, value in (clean | given | path | variables).items() if value is not None}
        self.process = subprocess.Popen(
            ["bash", "-c", BEGIN, str(self.here / "pid"), str(SCRIPT), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.here,
            env=chosen,
            start_new_session=True,
        )
        return self

    def end(self):
        """Return the exit code and what was printed."""
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, out

    def run(self, *arguments, **variables):
        return self.start(*arguments, **variables).end()

    def up(self):
        """Wait until the driver can be asked to end, and begin anew to wait for that."""
        deadline = time.monotonic() + 20
        while not (self.here / "up").exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (self.here / "up").unlink()
        return self

    def send(self, number):
        self.process.send_signal(number)
        return self

    @property
    def calls(self):
        """What was called, in order: (what, arguments)."""
        paths = sorted((self.here / "calls").iterdir())
        return [(path.name.split(".")[2], path.read_bytes().decode().split("\0")[1:-1]) for path in paths]

    def given(self, what):
        return [arguments for one, arguments in self.calls if one == what]

    def pids(self, what):
        paths = sorted((self.here / "calls").glob(f"*.{what}.*"))
        return [int(path.read_bytes().split(b"\0")[0]) for path in paths]

    @property
    def order(self):
        return [what for what, _ in self.calls if what in ("print", "doctor", "node", "driver", "scontrol-requeue-")]

    def environment(self, what):
        lines = (self.here / f"environment.{what}").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def meeting(self, number=0, restarts=0):
        return self.folder / "slurm" / "4711" / f"{restarts}.{number}"


@pytest.fixture
def job(tmp_path):
    made = Job(tmp_path)
    yield made
    if made.process is not None:
        if made.process.poll() is None:
            os.killpg(made.process.pid, signal.SIGKILL)
        made.process.stdout.close()
        made.process.wait()


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


# --- what it refuses --------------------------------------------------------------------------------------------------


def test_outside_of_a_job_it_says_how_to_begin_one(job):
    code, out = job.run(SLURM_JOB_ID=None)
    assert code == 2
    assert "error: this is no SLURM job: sbatch slurm/launch.sh" in out
    assert job.calls == []


def test_a_folder_that_the_node_does_not_see_is_named(job):
    code, out = job.run(SLURM_SUBMIT_DIR="/none/such")
    assert code == 2
    assert "error: the folder /none/such is not there on " in out


def test_without_an_environment_it_says_what_to_do(job):
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


def array(task, first, last, count):
    names = {"JOB_ID": 900, "TASK_ID": task, "TASK_MIN": first, "TASK_MAX": last, "TASK_COUNT": count}
    return {f"SLURM_ARRAY_{name}": str(value) for name, value in names.items()}


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
def test_a_share_that_the_user_names_stands(job, option):
    code, _ = job.run("x.yaml", *option, **array(0, 0, 6, 4))
    assert code == 0
    assert job.given("print") == [["-m", "ser_ray.sweep", "x.yaml", *option, "--print-folder"]]


# --- one node ---------------------------------------------------------------------------------------------------------


def test_on_one_node_the_look_comes_first_and_no_cluster_is_started(job):
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
    steps = job.given("srun")
    assert {tuple(step[9:11]) for step in steps} == {("bash", "-c")}
    assert sorted([*step[:9], *step[13:]] for step in steps) == sorted(
        ["--nodes=1", "--ntasks=1", f"--nodelist={name}", *options, *node, *role] for name, role in roles.items()
    )
    assert job.given("driver") == [["-m", "ser_ray.sweep", "x.yaml", "--meeting", str(job.meeting()), "--nodes", "3"]]
    assert not (job.meeting() / "go").exists()
    assert len(list(job.here.glob("over.*"))) == 3, "it waits until they have ended"


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


# --- the time limit, and preemption -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", ["n1", "n1\nn2"])
def test_before_the_time_limit_the_sweep_saves_and_the_job_is_put_back_once(job, nodes):
    job.say(nodes=nodes)
    job.does(driver=SAVES)
    code, out = job.start().up().send(signal.SIGUSR1).end()
    assert code == 75
    assert job.given("scontrol-requeue-") == [["requeue", "4711"]]
    assert job.given("sleep") == [["60"]], "SLURM ends the script meanwhile"
    assert "SLURM sent SIGUSR1: the sweep saves what it has" in out
    assert "put back into the queue, to go on from what was saved" in out
    assert not job.given("srun") or not (job.meeting() / "go").exists()


def test_the_driver_gets_the_signal_that_slurm_sent(job):
    traps = 'for name in USR1 TERM; do trap "echo driver got $name; exit 1" $name; done; '
    job.does(driver=traps + ": >$here/up; while :; do pause; done")
    for name in ("USR1", "TERM"):
        code, out = job.start().up().send(getattr(signal, f"SIG{name}")).end()
        assert code == 1
        assert f"driver got {name}" in out


def test_a_job_of_an_array_is_put_back_alone(job):
    job.does(driver=SAVES)
    job.start(**array(6, 4, 7, 4)).up().send(signal.SIGUSR1).end()
    assert job.given("scontrol-requeue-") == [["requeue", "900_6"]]


@pytest.mark.parametrize("table", ["trials", "predictions", "epochs", "checkpoints/0123"])
def test_whatever_was_saved_is_progress(job, table):
    write = f"/bin/sleep 0.02; mkdir -p '{job.folder}/{table}'; echo >'{job.folder}/{table}/x';"
    job.does(driver=SAVES.replace("save;", write))
    job.start().up().send(signal.SIGUSR1).end()
    assert job.given("scontrol-requeue-") == [["requeue", "4711"]]


def test_without_progress_a_job_is_not_put_back(job):
    (job.folder / "trials").mkdir(parents=True)
    (job.folder / "trials" / "of_before.parquet").touch()
    (job.folder / "logs").mkdir()
    job.does(driver=SAVES.replace("save;", f"/bin/sleep 0.02; echo >'{job.folder}/logs/x';"))
    time.sleep(0.02)
    code, out = job.start().up().send(signal.SIGUSR1).end()
    assert code == 75
    assert job.given("scontrol-requeue-") == []
    assert "nothing was saved since the job began: it is not started again; ask for more time (sbatch --time)" in out


@pytest.mark.parametrize(
    ("restarts", "most", "again"),
    [("19", "", True), ("20", "", False), ("3", "SER_RAY_REQUEUES=3", False), ("", "SER_RAY_REQUEUES=0", False)],
)
def test_a_job_goes_on_by_itself_only_so_often(job, restarts, most, again):
    job.site(f"SER_RAY_PYTHON=('{job.python}')\n{most}")
    job.does(driver=SAVES)
    variables = {"SLURM_RESTART_COUNT": restarts} if restarts else {}
    code, out = job.start(**variables).up().send(signal.SIGUSR1).end()
    assert code == 75
    assert len(job.given("scontrol-requeue-")) == again
    said = f"started again {restarts or 0} times already (SER_RAY_REQUEUES): submit again to go on"
    assert (said in out) is not again
    assert job.meeting(restarts=int(restarts or 0)).is_dir()


def test_where_slurm_does_not_put_it_back_it_is_said(job):
    job.say(requeue=1)
    job.does(driver=SAVES)
    code, out = job.start().up().send(signal.SIGUSR1).end()
    assert code == 75
    assert "SLURM did not put the job back into the queue: submit again to go on" in out
    assert job.given("sleep") == []


@pytest.mark.parametrize(
    ("shown", "again"),
    [("PreemptEligibleTime=2026-01-01T10:00:00 PreemptTime=2026-01-01T11:00:00", True), ("PreemptTime=None", False)],
)
def test_a_job_that_is_to_end_comes_back_only_if_it_is_preempted(job, shown, again):
    job.say(job=f"JobId=4711 JobName=ser_ray\n   {shown}\n")
    job.does(driver=SAVES)
    code, _ = job.start().up().send(signal.SIGTERM).end()
    assert code == 75
    assert len(job.given("scontrol-requeue-")) == again
    assert job.given("scontrol-show-job") == [["show", "job", "4711"]]


@pytest.mark.parametrize("order", [("SIGUSR1", "SIGTERM"), ("SIGTERM", "SIGUSR1")])
def test_the_end_of_the_time_limit_after_its_signal_changes_nothing(job, order):
    traps = "trap got=1 USR1; trap term=1 TERM; : >$here/up; "
    job.does(driver=traps + "until [[ $got$term == 11 ]]; do pause; done; save; exit 75")
    job.start().up()
    for name in order:
        job.send(getattr(signal, name))
        time.sleep(0.1)
    code, _ = job.end()
    assert code == 75
    assert job.given("scontrol-requeue-") == [["requeue", "4711"]]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_sweep_that_comes_to_its_end_all_the_same_is_not_begun_again(job, code):
    job.does(driver=SAVES.replace("75", str(code)))
    assert job.start().up().send(signal.SIGUSR1).end()[0] == code
    assert job.given("scontrol-requeue-") == []


@pytest.mark.parametrize("nodes", ["n1", "n1\nn2"])
def test_a_signal_before_the_sweep_begins_keeps_it_from_beginning(job, nodes):
    job.say(nodes=nodes)
    job.does(print=f"kill -USR1 $(<$here/pid); echo '{job.folder}'")
    code, out = job.run()
    assert code == 75, out
    assert job.given("driver") == []
    assert "nothing was saved since the job began" in out
    assert not job.given("srun") or not (job.meeting() / "go").exists()


@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_a_driver_that_a_signal_ends_before_it_can_take_it_is_no_failure(job, name):
    job.does(driver=": >$here/up; while :; do pause; done")
    code, _ = job.start().up().send(getattr(signal, f"SIG{name}")).end()
    assert code == 75


# --- a cluster that is lost -------------------------------------------------------------------------------------------

LOST = ': >"$meeting/lost"; '


def test_a_lost_cluster_is_begun_again_in_the_same_job(job):
    job.say(nodes="n1\nn2")
    job.does(driver=f'[[ ! -e $here/once ]] || exit 0; : >"$here/once"; {LOST} exit 75')
    code, out = job.run()
    assert code == 0
    assert out.count("Ray was lost: beginning again in this job, from what was saved") == 1
    assert [words[-3] for words in job.given("driver")] == [str(job.meeting(0)), str(job.meeting(1))]
    assert [words[-3] for words in job.given("srun") if words[-3] == "--head"] == ["--head", "--head"]
    assert job.given("scontrol-requeue-") == []


def test_it_is_begun_again_three_times_at_most(job):
    job.does(driver=f"{LOST} exit 75")
    code, out = job.run()
    assert code == 75
    assert out.count("beginning again in this job") == 3
    assert job.order == ["print", *["doctor", "driver"] * 4]


def test_a_driver_that_is_killed_is_begun_again_too(job):
    job.does(driver='[[ ! -e $here/once ]] || exit 1; : >"$here/once"; kill -KILL $$')
    code, out = job.run()
    assert code == 1
    assert out.count("the process of the sweep was killed: beginning again in this job, from what was saved") == 1
    job.does(driver="kill -KILL $$")
    code, out = job.run()
    assert code == 137
    assert out.count("beginning again in this job") == 3
    assert len(job.given("driver")) == 2 + 4


def test_what_ends_otherwise_is_not_begun_again(job):
    job.does(driver=f"{LOST} exit 1")
    assert job.run()[0] == 1
    job.does(driver="exit 75")
    assert job.run()[0] == 75
    assert len(job.given("driver")) == 2


def test_after_a_signal_nothing_is_begun_again(job):
    job.does(driver=SAVES.replace("save;", f"save; : >'{job.meeting()}/lost';"))
    code, out = job.start().up().send(signal.SIGTERM).end()
    assert code == 75
    assert "beginning again" not in out
    assert len(job.given("driver")) == 1


def test_what_an_earlier_run_of_the_job_left_is_not_taken_for_its_own(job):
    job.meeting().mkdir(parents=True)
    (job.meeting() / "lost").touch()
    (job.meeting() / "address").write_text("10.0.0.1:20001")
    job.does(driver="[[ ! -e $meeting/address ]] && exit 75")
    assert job.run()[0] == 75
    assert len(job.given("driver")) == 1


def test_a_site_file_may_use_variables_that_are_not_set(job):
    job.site(f"SER_RAY_PYTHON=('{job.python}')\nactivate() {{ : \"$NOT_SET_YET\"; }}\nactivate")
    assert job.run()[0] == 0


def test_what_a_container_says_first_is_not_the_folder(job):
    job.does(print=f"echo 'INFO: image loaded'; echo '{job.folder}'")
    assert job.run()[0] == 0
    assert job.given("doctor") == [["-m", "ser_ray.doctor", "--results", str(job.folder)]]


def test_a_sweep_that_ends_by_itself_is_not_put_back_for_an_earlier_preemption(job):
    job.say(job="PreemptTime=2026-01-01T11:00:00")
    job.does(driver="save; exit 75")
    assert job.run()[0] == 75
    assert job.given("scontrol-requeue-") == []


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
