"""Sweeps as processes: started by the command that users run, watched by what they print, and their descendants."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

STARTED = []
"""Every process that was started; whoever uses them ends those that a failed test left."""


COMMAND = ("-m", "ser_ray.sweep")


def start(file, results, *options, command=COMMAND, **environment):
    """Start a sweep in a process group of its own, as a shell or a scheduler does."""
    process = subprocess.Popen(
        [sys.executable, *command, str(file), "--results", str(results), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
    )
    STARTED.append(process)
    return process


def run_until(process, pattern, times=1):
    """Return the output up to the line in which a pattern has been seen so often."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        times -= bool(re.search(pattern, line))
        if not times:
            return "".join(seen)
    raise AssertionError(f"{pattern} did not come:\n{''.join(seen)}")


def end(process, seconds=420):
    """Return the exit code and the rest of the output."""
    out, _ = process.communicate(timeout=seconds)
    return process.returncode, out


def end_what_is_left():
    """End the processes that no test waited for."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.wait()


def runs(pid):
    """Return whether there is such a process that has not ended."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pids, seconds=30):
    """Wait until no such process is there."""
    deadline = time.monotonic() + seconds
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < deadline, "processes stay behind"
        time.sleep(0.1)


def descendants(pid, name):
    """Return the descendants of a process whose command contains a name: process id -> command."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    parents, commands = {}, {}
    for line in listed.splitlines():
        child, parent, command = line.split(None, 2)
        parents[int(child)], commands[int(child)] = int(parent), command

    def descends(one):
        while one in parents:
            one = parents[one]
            if one == pid:
                return True
        return False

    return {one: command for one, command in commands.items() if name in command and descends(one)}
