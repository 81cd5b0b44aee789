"""A SLURM site of its own for tests: a real controller with nodes on one machine, in Linux namespaces.

The controller and each node have their own network, host name, processes, shared memory and /tmp; they share the
other folders, as over a network's file system. Nothing leaves the machine, and nothing stays: all of it ends with
the process that made it, however that ends.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import namespaces
from namespaces import tail
from records import record
from slurm_conf import NETWORK, Site, write_conf

ENDS = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"}
ENDS |= {"OUT_OF_MEMORY"}
POLL = 0.2  # seconds


class Sandbox:
    """A site that runs."""

    def __init__(self, site: Site, folder: Path, group: Path | None, shared: Iterable[Path]):
        self.site, self.folder = site, folder
        self.nodes = site.names()
        self._group = group
        self._running: dict[str, tuple[subprocess.Popen[str], int]] = {}
        for name in ("log", "state"):
            (folder / name).mkdir(parents=True)
        (folder / "shared").write_text("".join(f"{path}\n" for path in own_tmp_holds([folder, *shared])))
        write_conf(site, folder, freezer=group is not None)

    def start(self) -> None:
        """Start the controller and all nodes, and wait until they serve."""
        groups = [str(self._group)] if self._group else []
        command = ["bash", self._file("keeper.sh"), str(self.folder), NETWORK, str(self.site.gpus), *groups]
        self._running["ctl"] = namespaces.start(command, self.folder / "log/controller.log")
        for node in self.nodes:
            self.power_on(node)
        self.idle()

    def stop(self) -> None:
        """End all of it, and wait until nothing is left."""
        for _, (process, _) in sorted(self._running.items(), key=lambda item: item[0] != "ctl"):
            assert process.stdin
            process.stdin.close()
            process.wait()
        self._running.clear()

    def run(
        self,
        *command: str | Path,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the controller, which is also the login node.

        Args:
            command: and its arguments.
            cwd: a shared folder; the site's own unless given.
            env: variables on top of those of this process, of which SLURM's are left out.
            timeout: seconds.
            check: whether a command that fails raises AssertionError.
        """
        return self._in("ctl", [str(word) for word in command], cwd, env, timeout, check)

    def run_on(
        self,
        node: str,
        *command: str | Path,
        cwd: Path | str | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a node as its administrator would, outside of any job."""
        return self._in(node, [str(word) for word in command], cwd, None, timeout, check)

    def sbatch(self, *arguments: str | Path, cwd: Path | str, env: Mapping[str, str] | None = None) -> str:
        """Submit a job from a folder and return its id."""
        return self.run("sbatch", "--parsable", *arguments, cwd=cwd, env=env).stdout.strip().partition(";")[0]

    def job(self, job_id: str) -> dict[str, str]:
        """Return what SLURM knows of a job, or of an array's task by "4711_3"."""
        return record(self.run("scontrol", "show", "job", job_id).stdout)

    def wait_for(self, job_id: str, *states: str, seconds: float = 60, restarts: int = 0) -> dict[str, str]:
        """Wait until a job is in one of these states, started again at least so often, and return its record.

        Args:
            job_id: of a job or of an array's task.
            states: as SLURM names them.
            seconds: when to give up.
            restarts: how often SLURM has put it back into the queue, at least.

        Raises:
            AssertionError: the time is over, or the job ended otherwise; with its record and the end of its log.
        """
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(job_id)
            if job["JobState"] in states and int(job["Restarts"]) >= restarts:
                return job
            ended = job["JobState"] in ENDS
            if ended or time.monotonic() > deadline:
                wanted = " or ".join(states) + (f" after {restarts} restarts" if restarts else "")
                facts = "\n".join(f"{key}={value}" for key, value in job.items())
                why = "ended" if ended else f"is, after {seconds} s,"
                log = tail(Path(job.get("StdOut", "")))
                raise AssertionError(f"job {job_id} {why} {job['JobState']}, not {wanted}\n{facts}\n--- log\n{log}")
            time.sleep(POLL)

    def wait_until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Return what a condition answers as soon as it holds; AssertionError names it when the time is over."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(POLL)
        return answer

    def log(self, job_id: str) -> str:
        """Return what a job has written to its standard output so far."""
        path = Path(self.job(job_id)["StdOut"])
        return path.read_text(errors="replace") if path.is_file() else ""

    def logs(self, lines: int = 30) -> str:
        """Return the ends of what the controller and the nodes have logged."""
        return "\n".join(f"--- {log.name}\n{tail(log, lines)}" for log in sorted((self.folder / "log").iterdir()))

    def processes(self, node: str) -> dict[int, str]:
        """Return what runs on a node but for SLURM's own: number as seen from here -> command line."""
        return {pid: line for pid, line in self._all(node).items() if not _of_slurm(line)}

    def kill(self, node: str, pattern: str, number: int = signal.SIGKILL, *, job: str = "") -> list[int]:
        """Send a signal to those processes of a node whose command line has a match, at least one.

        Args:
            node: where they run.
            pattern: of a regular expression.
            number: of the signal.
            job: its processes only; jobs share nodes.
        """
        pids = [pid for pid, line in self.processes(node).items() if re.search(pattern, line)]
        pids = [pid for pid in pids if not job or namespaces.job_of(pid) == job]
        assert pids, f"nothing on {node} has {pattern}: {self.processes(node)}"
        for pid in pids:
            with suppress(ProcessLookupError):  # its parent may have taken it along
                os.kill(pid, number)
        return pids

    def path(self, node: str, path: str) -> Path:
        """Return where a node's path is seen from here, such as its own /tmp; as long as the node runs."""
        return Path(f"/proc/{self._running[node][1]}/root{path}")

    def power_off(self, node: str) -> None:
        """End a node as when its power fails: its processes, /tmp and shared memory are gone, and nobody is told."""
        self.run("ip", "link", "delete", f"node{self._number(node)}")  # first, or connections would be closed in order
        process, pid = self._running.pop(node)
        os.kill(pid, signal.SIGKILL)
        if self._group:
            namespaces.thaw(self._group / node)
        process.wait()
        assert process.stdin
        process.stdin.close()
        if self._group:
            namespaces.remove_groups(self._group / node)

    def power_on(self, node: str) -> None:
        """Boot a node, with slurmd."""
        number = str(self._number(node))
        group = str(self._group / node) if self._group else ""
        new = ["unshare", *namespaces.KINDS, "--fork", "--kill-child", "--", "bash", self._file("node.sh")]
        command = namespaces.enter(self._running["ctl"][1]) + new + [str(self.folder), node, number, NETWORK, group]
        self._running[node] = namespaces.start(command, self.folder / f"log/{node}.log")
        self.start_slurmd(node)

    def kill_slurmd(self, node: str) -> None:
        """End a node's slurmd as by a fault; its jobs go on."""
        for pid in self._slurmd(node):
            os.kill(pid, signal.SIGKILL)
        self.wait_until(lambda: not self._slurmd(node), 10, f"slurmd of {node} has ended")

    def start_slurmd(self, node: str) -> None:
        """Start a node's slurmd."""
        self.run_on(node, "slurmd", "-N", node)

    def node_state(self, node: str) -> str:
        """Return how the controller sees a node: idle, allocated, mixed, completing, down*."""
        return self._states()[node]

    def idle(self, seconds: float = 30) -> None:
        """Wait until no node has a job and all serve."""
        try:
            self.wait_until(lambda: set(self._states().values()) == {"idle"}, seconds, "all nodes are idle")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._states()}\n{self.logs()}") from None

    def reset(self) -> None:
        """Cancel all jobs, bring back what a test ended, and wait until the site is as it was in the beginning."""
        for node in self.nodes:
            if node not in self._running:
                self.power_on(node)
            elif not self._slurmd(node):
                self.start_slurmd(node)
        self.run("scancel", "--user=root")
        self.idle(60)

    def _in(
        self,
        place: str,
        command: list[str],
        cwd: Path | str | None,
        env: Mapping[str, str] | None,
        timeout: float,
        check: bool,
    ) -> subprocess.CompletedProcess[str]:
        variables = namespaces.environment() | {"SLURM_CONF": str(self.folder / "slurm.conf")} | dict(env or {})
        entered = namespaces.enter(self._running[place][1]) + command
        done = namespaces.run(entered, cwd or self.folder, variables, timeout)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        done.args = command
        return done

    def _all(self, node: str) -> dict[int, str]:
        return namespaces.processes(self._running[node][1]) if node in self._running else {}

    def _slurmd(self, node: str) -> list[int]:
        return [pid for pid, line in self._all(node).items() if Path(line.split(maxsplit=1)[0]).name == "slurmd"]

    def _states(self) -> dict[str, str]:
        listed = self.run("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %T").stdout
        return dict(line.split() for line in listed.splitlines())

    def _number(self, node: str) -> int:
        return self.nodes.index(node) + 1

    @staticmethod
    def _file(name: str) -> str:
        return str(namespaces.SHELL_FILES / name)


@contextmanager
def sandbox(folder: Path, *, shared: Iterable[Path] = (), **site: Any) -> Iterator[Sandbox]:
    """Run a SLURM site for as long as the context lasts.

    Args:
        folder: is made and gets its configuration, state and logs.
        shared: folders below /tmp that all nodes see; what lies elsewhere they see anyhow, but for /run, /dev/shm and
            /var/spool.
        site: fields of slurm_conf.Site.

    Yields:
        the site, with all nodes idle.

    Raises:
        RuntimeError: it did not come up; namespaces.missing() may say why.
    """
    made = Sandbox(Site(**site), folder.resolve(), namespaces.freezer_group(), shared)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def own_tmp_holds(shared: Iterable[Path]) -> list[Path]:
    """Return which folders each node's own /tmp must show: the shared ones below it, and where Python and the code are.

    A folder within another one of them is left out.
    """
    python = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).parent, Path(__file__).parents[2]]
    real = {path.resolve() for path in [*shared, *python] if path.exists()}
    below = sorted(path for path in real if path.is_relative_to("/tmp"))
    return [path for path in below if not any(path != other and path.is_relative_to(other) for other in below)]


def _of_slurm(line: str) -> bool:
    return Path(line.split(maxsplit=1)[0].rstrip(":")).name in {"slurmd", "slurmstepd"}
