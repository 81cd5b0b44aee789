"""Linux namespaces seen from outside: who is in them, and how to run something there."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

KINDS = ("--mount", "--uts", "--ipc", "--net", "--pid")
SHELL_FILES = Path(__file__).parent
FREEZER = Path("/sys/fs/cgroup/freezer")

_PACKAGES = {
    "slurm-wlm": ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo"),
    "munge": ("munged",),
    "iproute2": ("ip",),
    "util-linux": ("unshare", "nsenter", "mount"),
    "hostname": ("hostname",),
}
_PROBE = "hostname probe && mount -t tmpfs tmpfs /run && mknod /run/gpu c 1 3 && ip link add name br0 type bridge"
_PROBE += " && ip link add name one type veth peer name two"


def path() -> str:
    """Return PATH with the folders of system commands, which a user's may lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def missing() -> str | None:
    """Return why no SLURM site can be set up on this machine, in words, or None."""
    if os.geteuid() != 0:
        return "a SLURM site in namespaces needs root"
    packages = [
        package for package, names in _PACKAGES.items() if not all(shutil.which(name, path=path()) for name in names)
    ]
    if packages:
        return f"commands of SLURM's site are missing: apt-get install {' '.join(packages)}"
    probe = subprocess.run(
        ["unshare", *KINDS, "--fork", "--mount-proc", "sh", "-c", _PROBE],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": path()},
    )
    return f"no namespaces can be made here: {probe.stderr.strip()}" if probe.returncode else None


def freezer_group() -> Path | None:
    """Make a control group of version 1 in which processes can be frozen; None where there are none."""
    try:
        return Path(tempfile.mkdtemp(prefix=f"ser_ray_{os.getpid()}_", dir=FREEZER))
    except OSError:
        return None


def thaw(group: Path) -> None:
    """Let what is frozen in a control group go on; without that it could not even die."""
    for state in group.rglob("freezer.state"):
        state.write_text("THAWED")


def remove_groups(group: Path) -> None:
    """Remove a control group and those in it, whose processes have ended."""
    for folder, _, _ in os.walk(group, topdown=False):
        os.rmdir(folder)


def start(command: Sequence[str], log: Path) -> tuple[subprocess.Popen[str], int]:
    """Start the PID 1 of new namespaces.

    Args:
        command: prints a line once they are set up, and ends them when its input ends.
        log: where it says what went wrong.

    Returns:
        the process that was started, and the PID 1's number here.
    """
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is not for it
            env=environment(),
        )
    assert process.stdin
    assert process.stdout
    with process.stdout:
        up = process.stdout.readline()
    if not up:
        process.stdin.close()
        process.wait()
        raise RuntimeError(f"{' '.join(command)} did not come up:\n{tail(log)}")
    return process, next(pid for pid in descendants(process.pid) if _innermost(pid) == 1)


def environment() -> dict[str, str]:
    """Return this process's environment without what a job of SLURM or a run of pytest put there."""
    foreign = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "PYTEST_")
    return {key: value for key, value in os.environ.items() if not key.startswith(foreign)} | {"PATH": path()}


def enter(pid: int, kinds: Sequence[str] = KINDS) -> list[str]:
    """Return what stands before a command that runs in a process's namespaces."""
    return ["nsenter", "--target", str(pid), *kinds, "--"]


def run(
    command: Sequence[str], cwd: Path | str, variables: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; when the time is over, it and what it started in its process group end.

    Args:
        command: with what brings it into other namespaces.
        cwd: where it runs, as seen there.
        variables: its environment.
        timeout: seconds.
    """
    split = command.index("--") + 1
    process = subprocess.Popen(
        [*command[:split], "env", "--chdir", str(cwd), *command[split:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=dict(variables),
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


def processes(first: int) -> dict[int, str]:
    """Return what runs in the PID namespace of a process, itself left out: number here -> command line."""
    try:
        namespace = os.stat(f"/proc/{first}/ns/pid").st_ino
    except OSError:
        return {}  # it has ended, and all others with it
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == first:
            continue
        try:
            if os.stat(entry / "ns/pid").st_ino == namespace:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue  # it has just ended
    return {pid: line for pid, line in found.items() if line}  # one that has ended and was not waited for has none


def job_of(pid: int) -> str:
    """Return the SLURM job that a process belongs to; "" if it has ended or belongs to none.

    A process that renames itself, as Ray's workers do, overwrites its environment: its parent's tells then.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        parent = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
        texts = [Path(f"/proc/{one}/environ").read_bytes() for one in (pid, parent)]
    except OSError:
        return ""
    words = [word for text in texts for word in text.split(b"\0") if word.startswith(b"SLURM_JOB_ID=")]
    return words[0].partition(b"=")[2].decode() if words else ""


def tail(log: Path, lines: int = 40) -> str:
    """Return the end of a text file, or that there is none."""
    if not log.is_file():
        return f"({log} is not there)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def descendants(pid: int) -> Iterator[int]:
    """Yield the children of a process, their children and so on."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)
        yield from descendants(int(child))


def _innermost(pid: int) -> int:
    """Return a process's number in its own PID namespace."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


if __name__ == "__main__":
    sys.exit(missing())
