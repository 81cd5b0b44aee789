"""Compiled code is kept once on each node also where neither the code's folder nor the home can be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ser_ray
from ser_ray import kernel_cache

CODE = """
import numpy as np
from ser_ray import kernel_cache
from ser_ray.corpus.synthetic import speech
from ser_ray.models import kernels  # whose functions are compiled on their first call
from ser_ray.postprocess import running_median

assert speech.one_pole(np.ones(3), 0.5).tolist() == [1.0, 1.0, 1.0]
medians = running_median._kernel()
print(kernels.draw.stats.cache_path)
print(sum(sum(one.stats.cache_misses.values()) for one in (speech.one_pole, medians)))
print((kernel_cache.describe_private_folder() or "nothing").split(",")[0].replace(" ", "_"))
"""


@pytest.fixture
def read_only(tmp_path):
    """A copy of the code beside which no folder can be made, also by root."""
    code = tmp_path / "code"
    shutil.copytree(Path(ser_ray.__file__).parent, code / "ser_ray", ignore=shutil.ignore_patterns("__pycache__"))
    for room in ("corpus/synthetic", "models", "postprocess"):
        (code / "ser_ray" / room / "__pycache__").write_text("no folder")
    return code


def run(code, temporary, **variables):
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/proc/none",
        "PYTHONPATH": str(code),
        "SER_RAY_TMP": str(temporary),
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment | variables, cwd=code, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_without_a_folder_that_can_be_written_kernels_are_compiled_once_into_a_private_one(read_only, tmp_path):
    own = tmp_path / f"ser_ray_kernels_{os.getuid()}"
    kept, misses, words = run(read_only, tmp_path)
    assert (misses, words) == ("2", f"KERNELS___are_kept_in_{own}")
    assert Path(kept).is_relative_to(own)
    assert own.stat().st_mode & 0o777 == 0o700
    assert run(read_only, tmp_path) == [kept, "0", words], "which other processes find there"


def test_a_folder_that_the_user_names_comes_first(read_only, tmp_path):
    kept, _, words = run(read_only, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "mine"))
    assert words == "nothing"
    assert Path(kept).is_relative_to(tmp_path / "mine")


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file", "no room for it"])
def test_a_folder_in_which_others_could_put_code_is_not_taken(tmp_path, monkeypatch, kind):
    temporary = tmp_path / "none" if kind == "no room for it" else tmp_path
    monkeypatch.setenv("SER_RAY_TMP", str(temporary))
    folder = kernel_cache.private_folder()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if kind == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "a link":
        folder.symlink_to(elsewhere)
    elif kind == "a file":
        folder.write_text("")
    assert kernel_cache.make_private_folder() is None


def test_another_users_folder_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_RAY_TMP", str(tmp_path))
    own = kernel_cache.make_private_folder()
    assert own == kernel_cache.private_folder()
    uid = os.getuid()
    own.rename(tmp_path / f"ser_ray_kernels_{uid + 1}")
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert kernel_cache.make_private_folder() is None
