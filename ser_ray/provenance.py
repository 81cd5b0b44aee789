"""Where a number comes from: commit, package versions, host, device."""

import json
import os
import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("ser-ray", "ray", "torch", "torchaudio", "numpy", "scipy", "numba", "pyarrow")

_REPOSITORY_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit that this package's code stands at, with "+" if the tree has changes, or None outside git.

    Args:
        folder: of the code. Where git does not track it, as in an environment that lies within another project, that
            project's commit would say nothing about it.
    """
    try:
        if not _git(folder, "ls-files", "--", "."):
            return None
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if dirty else "")


def _git(folder: Path, *arguments: str) -> str:
    # Optional locks off: reading the state must not write into a repository that others use at the same time. And
    # where a hook of git runs us, its variables would point at that hook's repository.
    others = {name: value for name, value in os.environ.items() if name not in _REPOSITORY_VARIABLES}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**others, "GIT_OPTIONAL_LOCKS": "0"},
    )
    return done.stdout.strip()


def versions() -> str:
    """Return the versions of Python and of the packages that numbers depend on, as JSON."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return json.dumps(found, sort_keys=True)


def job_id() -> str | None:
    """Return the id of the scheduler's job that this process runs in, such as "4711" or "4711_3", or None."""
    job, array, task = (os.environ.get(f"SLURM_{name}") for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID"))
    return f"{array}_{task}" if array and task else job or None


def host_name() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def cpu_name() -> str:
    """Return the processor's model name, or its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
