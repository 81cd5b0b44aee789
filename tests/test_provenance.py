"""Where a number comes from: the commit of the code, its uncommitted changes, and the packages it ran with."""

import hashlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
from pathlib import Path

import numba
import numpy
import pytest
import scipy

from ser_ray import __version__, provenance

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in a repository of its own, with one commit."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "code.py").write_text("x = 1\n")
    (folder.parent / "notes.txt").write_text("notes\n")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "-m", "first")
    return folder


@needs_git
def test_the_commit_of_a_clean_tree(package):
    assert provenance.git_commit(package) == git(package, "rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", provenance.git_commit(package))


@needs_git
def test_a_plus_where_the_code_was_changed(package):
    commit = provenance.git_commit(package)
    (package / "code.py").write_text("x = 2\n")
    assert provenance.git_commit(package) == commit + "+"
    git(package, "add", "code.py")
    assert provenance.git_commit(package) == commit + "+"
    git(package, "commit", "--quiet", "-m", "second")
    assert provenance.git_commit(package) not in (commit, commit + "+")
    assert provenance.git_commit(package) == git(package, "rev-parse", "HEAD")


@needs_git
def test_what_is_not_the_packages_code_is_no_change(package):
    commit = provenance.git_commit(package)
    (package.parent / "notes.txt").write_text("more notes\n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "code.pyc").write_text("")
    assert provenance.git_commit(package) == commit


def changes_applied(package, tmp_path, patch):
    """The package as it is after its last commit and a patch."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(package.parent), str(clone))
    (tmp_path / "p.diff").write_bytes(patch.encode(errors="surrogateescape"))
    git(clone, "apply", str(tmp_path / "p.diff"))
    return {path.name: path.read_bytes() for path in (clone / "package").iterdir()}


@needs_git
def test_changes_are_a_patch_that_makes_the_same_code(package, tmp_path):
    os.utime(package / "code.py", (1e9, 1e9))
    assert provenance.git_changes(package) is None, "touched is not changed"
    contents = {
        "code.py": "x = 2\n\ndef f():\n    return 'ä'  \n".encode() + b"# latin: \xe9\n",
        "dos.py": b"y = 1\r\ny = 2\r\n",
        "weights.bin": bytes(range(256)) * 4,
    }
    for name, content in contents.items():
        (package / name).write_bytes(content)
    git(package, "add", "dos.py", "weights.bin")
    (package / "untracked.py").write_text("no part of it\n")
    git(package, "config", "color.ui", "always")
    git(package, "config", "diff.noprefix", "true")
    git(package, "config", "diff.relative", "true")
    (package.parent / "notes.txt").write_text("more notes\n")
    patch = provenance.git_changes(package)
    assert "notes" not in patch
    assert provenance.git_changes(package) == patch
    assert changes_applied(package, tmp_path, patch) == contents


@needs_git
def test_requirements_are_changes_too(package):
    file = package.parent / "pyproject.toml"
    file.write_text("a = 1\n")
    git(package.parent, "add", "pyproject.toml")
    git(package.parent, "commit", "--quiet", "-m", "second")
    assert provenance.git_changes(package) is None
    file.write_text("a = 2\n")
    assert "+a = 2\n" in provenance.git_changes(package)
    assert provenance.git_commit(package).endswith("+")


@needs_git
def test_a_change_of_the_second_in_which_the_index_was_written_is_one(package):
    # of the same length and with the same times, so that only the time of the index makes git read the file
    file, index = package.parent / "pyproject.toml", package.parent / ".git" / "index"
    git(package.parent, "config", "core.trustctime", "false")
    file.write_text("a = 1\n")
    os.utime(file, (1e9, 1e9))
    git(package.parent, "add", "pyproject.toml")
    git(package.parent, "commit", "--quiet", "-m", "second")
    file.write_text("a = 2\n")
    for path in (file, index):
        os.utime(path, (1e9, 1e9))
    assert "+a = 2\n" in provenance.git_changes(package)
    assert provenance.git_commit(package).endswith("+")


@needs_git
def test_changes_without_end_are_cut_and_say_so(package):
    file, most = package / "code.py", provenance.MOST_CHANGES_BYTES
    body = "x = 12345\n" * ((most - 1000) // len("+x = 12345\n"))
    file.write_text(f"{body}y = 1\n")
    lacking = most - len(provenance.git_changes(package))
    file.write_text(f"{body}y = 1{'1' * lacking}\n")
    whole = git(package, "diff", "HEAD") + "\n"
    assert len(whole) == most
    assert provenance.git_changes(package) == whole
    file.write_text(file.read_text()[:-1] + "1\n")
    longer = git(package, "diff", "HEAD") + "\n"
    cut = provenance.git_changes(package)
    assert cut[:most] == longer[:most]
    assert cut[most:] == (
        f"\n# cut after {most} of {most + 1} bytes; SHA-256 of all: {hashlib.sha256(longer.encode()).hexdigest()}\n"
    )


@needs_git
def test_no_changes_outside_git(tmp_path, monkeypatch, package):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert provenance.git_changes(tmp_path) is None
    installed = package.parent / ".venv" / "package"
    installed.mkdir(parents=True)
    (package / "code.py").write_text("x = 2\n")
    assert provenance.git_changes(installed) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_changes(package) is None


@needs_git
def test_asking_writes_nothing_into_the_repository(package):
    for moment in (1e9, 2e9):  # git looks anew at a file whose time is another, and would note that time
        os.utime(package / "code.py", (moment, moment))
        if moment == 1e9:
            git(package, "status")
    index = package.parent / ".git" / "index"
    before = index.read_bytes()
    provenance.git_commit(package)
    provenance.git_changes(package)
    assert index.read_bytes() == before


@needs_git
def test_none_outside_git_and_before_the_first_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert provenance.git_commit(tmp_path) is None
    assert provenance.git_commit(tmp_path / "absent") is None
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    assert provenance.git_commit(tmp_path) is None


@needs_git
def test_none_for_code_installed_within_somebody_elses_repository(package):
    installed = package.parent / ".venv" / "site-packages" / "package"
    installed.mkdir(parents=True)
    (installed / "code.py").write_text("x = 1\n")
    assert provenance.git_commit(installed) is None


@needs_git
def test_the_repository_is_the_codes_own_even_within_a_hook_of_another(package, tmp_path, monkeypatch):
    commit = provenance.git_commit(package)
    git(tmp_path, "init", "--quiet", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert provenance.git_commit(package) == commit


def test_none_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_commit() is None


def test_versions_are_those_that_run():
    found = json.loads(provenance.versions())
    assert set(found) >= {"python", "ray", "torch", "torchaudio", "numpy", "scipy", "numba", "pyarrow"}
    assert found["python"] == platform.python_version()
    for package in (numpy, scipy, numba):
        assert found[package.__name__] == package.__version__
    assert found.get("ser-ray", __version__) == __version__
    assert list(found) == sorted(found)


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package-anywhere"))
    assert set(json.loads(provenance.versions())) == {"python", "numpy"}


def test_host_and_processor_have_names(monkeypatch):
    assert provenance.host_name() == socket.gethostname()
    assert provenance.cpu_name().strip() == provenance.cpu_name() != ""
    if Path("/proc/cpuinfo").is_file() and "model name" in Path("/proc/cpuinfo").read_text():
        assert provenance.cpu_name() in Path("/proc/cpuinfo").read_text()
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    assert provenance.cpu_name() in (platform.processor(), platform.machine())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC ...",
            "550.54.14",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (x)", "580.65.06"),
        ("something else", "unknown"),
    ],
)
def test_the_driver_of_gpus_is_read_from_its_own_words(tmp_path, text, version):
    (tmp_path / "version").write_text(text)
    assert provenance.gpu_driver(tmp_path / "version") == version
    assert provenance.gpu_driver(tmp_path / "none") is None
