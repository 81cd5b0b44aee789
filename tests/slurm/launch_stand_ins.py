"""Stand-ins for SLURM's programs and for Python, which note how slurm/launch.sh calls them."""

import os
import subprocess
import time
from pathlib import Path

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
*) what=driver meeting=${*: -3:1}; trap 'rm "$meeting/running"' EXIT ;;
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
WITHOUT_A_WORD = "trap - EXIT; "
"""What a driver begins with that does not tell that it ends as it means to."""
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


def array(task, first, last, count):
    names = {"JOB_ID": 900, "TASK_ID": task, "TASK_MIN": first, "TASK_MAX": last, "TASK_COUNT": count}
    return {f"SLURM_ARRAY_{name}": str(value) for name, value in names.items()}
