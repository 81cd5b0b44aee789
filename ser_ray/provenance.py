"""Provenance of results: commit, uncommitted changes, package versions, host, device."""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import tempfile
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("ser-ray", "ray", "torch", "torchaudio", "numpy", "scipy", "numba", "pyarrow")

MOST_CHANGES_BYTES = 5_000_000
"""Longer uncommitted changes are cut: code is never this long, only a data file that was added by mistake."""

_REPOSITORY_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
_CODE = (".", ":(top)pyproject.toml")
"""Paths in the repository that results can depend on, relative to the package's folder."""


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit of this package's code, with "+" if it has uncommitted changes; None outside git.

    Also None if git does not track the folder, as in an environment inside another project.
    """
    try:
        if not _git(folder, "ls-files", "--", "."):
            return None
        commit = _git(folder, "rev-parse", "HEAD").decode().strip()
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if dirty else "")


def git_changes(folder: Path = Path(__file__).parent) -> str | None:
    """Return the uncommitted changes of the package's tracked files as a patch for `git apply`; None if there are none.

    Staged changes and binary files are included; bytes that are not UTF-8 become surrogates. A patch above
    MOST_CHANGES_BYTES is cut; its last line then says so and gives the SHA-256 of the whole.
    """
    try:
        if not _git(folder, "ls-files", "--", "."):
            return None
        patch = _patch(folder)
    except (OSError, subprocess.SubprocessError):
        return None
    if len(patch) > MOST_CHANGES_BYTES:
        note = f"cut after {MOST_CHANGES_BYTES} of {len(patch)} bytes; SHA-256 of all: {sha256(patch).hexdigest()}"
        patch = patch[:MOST_CHANGES_BYTES] + f"\n# {note}\n".encode()
    return patch.decode(errors="surrogateescape") or None


def changes_name(changes: str | None) -> str | None:
    """Return the name of stored changes, 12 hexadecimal digits of their SHA-256; None if there are none."""
    return None if changes is None else sha256(changes.encode(errors="surrogateescape")).hexdigest()[:12]


def _patch(folder: Path) -> bytes:
    # overrides the user's settings: colours, other prefixes or external programs would not give a patch
    plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/")
    index = folder / os.fsdecode(_git(folder, "rev-parse", "--git-path", "index").rstrip(b"\n"))
    with tempfile.TemporaryDirectory() as scratch:
        # A copy, since `git diff` stores the times of files in the index despite GIT_OPTIONAL_LOCKS. The copy keeps the
        # index's own time: git reads files again that changed in the second in which the index was written. With a
        # later time it would take them for unchanged.
        copied = shutil.copy2(index, Path(scratch) / "index")
        return _git(folder, "diff", "HEAD", "--binary", *plain, "--", *_CODE, GIT_INDEX_FILE=str(copied))


def _git(folder: Path, *arguments: str, **variables: str) -> bytes:
    # Optional locks off: reading must not write into a repository that others use at the same time. Variables set by
    # a git hook are removed, since they name the hook's own repository.
    others = {name: value for name, value in os.environ.items() if name not in _REPOSITORY_VARIABLES}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        timeout=30,
        check=True,
        env={**others, "GIT_OPTIONAL_LOCKS": "0", **variables},
    )
    return done.stdout


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
    """Return the id of the scheduler's job that runs this process, such as "4711" or "4711_3"; None outside a job."""
    job, array, task = (os.environ.get(f"SLURM_{name}") for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID"))
    return f"{array}_{task}" if array and task else job or None


def host_name() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def gpu_driver(file: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Read the version of NVIDIA's driver from its file in /proc; None if there is no driver."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", text)
    return match[1] if match else "unknown"


def cpu_name() -> str:
    """Return the processor's model name, or its architecture if the name is not known."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
