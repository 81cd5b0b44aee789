"""Findings on Python, packages and variables."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from ser_ray.doctor import software
from ser_ray.doctor.software import (
    check_import,
    check_kernel_cache,
    check_packages,
    check_python,
    check_shadows,
    check_variables,
)
from ser_ray.gpus.run_python import PythonOutput


@pytest.mark.parametrize(
    ("found", "level"),
    [((3, 10, 9), "FAIL"), ((3, 11, 0), "ok"), ((3, 13, 2), "ok"), ((3, 14, 0), "FAIL"), ((4, 12, 0), "FAIL")],
)
def test_versions_of_python(found, level):
    finding = check_python(found, "/bin/python")
    assert finding.level == level
    assert finding.text.startswith(".".join(map(str, found)) + ", /bin/python")
    assert level == "ok" or "3.11 to 3.13" in finding.text


def test_the_versions_of_python_are_those_of_the_project():
    wanted = importlib.metadata.metadata("ser-ray")["Requires-Python"]
    oldest, (major, minor) = software.OLDEST, software.NEWEST
    assert set(wanted.split(",")) == {f">={oldest[0]}.{oldest[1]}", f"<{major}.{minor + 1}"}


WANTED = ["ray[tune]==2.60.*", "torch==2.11.*", "numpy>=2.1"]


@pytest.mark.parametrize(
    ("installed", "level", "text"),
    [
        ({"ray": "2.60.1", "torch": "2.11.0+cu130", "numpy": "2.4.6"}, "ok", "all 3 required packages"),
        ({"ray": "2.60.1", "torch": "2.11.0+cu130"}, "FAIL", "numpy missing"),
        ({"ray": "2.61.0", "torch": "2.11.0", "numpy": "2.4.6"}, "FAIL", "ray 2.61.0 (needs ==2.60.*)"),
        ({"ray": "2.60.0", "torch": "2.11.0", "numpy": "2.0.9"}, "FAIL", "numpy 2.0.9 (needs >=2.1)"),
        ({"torch": "2.10.0", "numpy": "2.1"}, "FAIL", "ray missing; torch 2.10.0 (needs ==2.11.*)"),
        ({"ray": "2.60.0", "torch": "2.11.0", "numpy": "2.5.0rc1"}, "ok", "numpy 2.5.0rc1"),
    ],
)
def test_packages(installed, level, text):
    finding = check_packages(WANTED, installed.get)
    assert finding.level == level
    assert text in finding.text
    assert level == "ok" or "make env" in finding.fix


@pytest.mark.parametrize(
    ("torch", "torchaudio", "level"),
    [("2.9.1", "2.9.1", "warn"), ("2.9.1+cu128", "2.9.1+cu128", "warn"), ("2.9.1", "2.11.0", "FAIL")],
)
def test_the_pair_for_older_drivers_stands_in_for_the_locked_one(torch, torchaudio, level):
    wanted = [*WANTED, "torchaudio==2.11.*"]
    there = {"ray": "2.60.1", "numpy": "2.4.6", "torch": torch, "torchaudio": torchaudio}
    finding = check_packages(wanted, there.get)
    assert finding.level == level
    assert level == "FAIL" or "torch 2.9.1 and torchaudio 2.9.1 replace" in finding.text
    assert check_packages(wanted, {**there, "numpy": "2.0.9"}.get).level == "FAIL"


def test_versions_cannot_be_checked_where_ser_ray_is_not_installed():
    assert check_packages(None, {}.get).level == "warn"


def test_imports():
    assert check_import("ray", "Ray 2.60.0", 1.24, None).line() == "ok    ray         Ray 2.60.0 imported in 1.2 s"
    slow = check_import("ray", "Ray 2.60.0", 60.0, None)
    assert (slow.level, "image" in slow.fix) == ("warn", True)
    broken = check_import("pytorch", "PyTorch", 1.0, "OSError: libcudart.so.12: cannot open")
    assert (broken.level, broken.text) == ("FAIL", "PyTorch cannot be imported (OSError: libcudart.so.12: cannot open)")
    assert "LD_LIBRARY_PATH" in broken.fix


def test_a_package_before_the_environment(tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "ruamel_yaml").mkdir()
    (found,) = check_shadows([tmp_path, tmp_path / "none"], ["ray", "numpy", "ruamel-yaml"])
    assert found.level == "warn"
    assert found.text == f"{tmp_path} comes before the environment on Python's path and has its own numpy, ruamel-yaml"
    assert "PYTHONPATH" in found.fix


def test_single_files_that_shadow_pythons_library_or_what_packages_need(tmp_path):
    for name in ("random.py", "_cffi_backend.cpython-311-x86_64-linux-gnu.so", "mine.py", "numpy.txt", "yaml.old.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "scipy").mkdir()  # without a module in it, it stands in the place of nothing
    (found,) = check_shadows([tmp_path], ["ray"])
    assert (found.level, found.text) == (
        "warn",
        f"{tmp_path} comes before the environment on Python's path and has its own _cffi_backend, random",
    )


def test_folders_before_the_environment_are_found_in_a_process(tmp_path, monkeypatch):
    (tmp_path / "scipy").mkdir()
    own = importlib.metadata.distribution("numpy").locate_file("")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{own}")
    code = (
        "from ser_ray.doctor import software as s\nfrom ser_ray.gpus.run_python import PythonOutput\n"
        "a = PythonOutput(('{}',), None, 1)\n"
        "s._torch = lambda probe: ('PyTorch', 1.0, None)\n"
        "print(*[f.text for f in s.findings(a, a) if f.name == 'variables'], sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{tmp_path} comes before the environment on Python's path and has its own scipy"
    ]


def test_variables_that_lead_elsewhere():
    assert not list(check_variables({}, nodes=1, in_job=False))
    (home,) = check_variables({"PYTHONHOME": "/opt"}, nodes=1, in_job=False)
    assert (home.level, home.fix) == ("warn", "unset PYTHONHOME")
    address = {"RAY_ADDRESS": "1.2.3.4:6379"}
    for nodes, in_job in ((1, False), (1, True)):
        (found,) = check_variables(address, nodes=nodes, in_job=in_job)
        assert found.level == "warn"
        assert found.text.startswith("RAY_ADDRESS=1.2.3.4:6379: ")
    assert not list(check_variables(address, nodes=2, in_job=True))


def test_where_compiled_code_is_kept(tmp_path, monkeypatch):
    assert check_kernel_cache([tmp_path / "new" / "folder"]).level == "ok"
    monkeypatch.setattr(software.os, "access", lambda path, _: path == tmp_path)  # root may write anywhere
    found = check_kernel_cache(["/proc" / tmp_path.relative_to("/"), tmp_path / "x"])
    assert (found.level, found.text) == ("ok", f"compiled code is cached in {tmp_path / 'x'}")
    monkeypatch.setattr(software.os, "access", lambda *_: False)
    monkeypatch.setenv("SER_RAY_TMP", str(tmp_path))
    own = tmp_path / f"ser_ray_kernels_{os.getuid()}"
    found = check_kernel_cache([tmp_path])
    assert (found.level, found.text.endswith(f"it is cached in {own}, compiled once on each node")) == ("ok", True)
    own.chmod(0o777)  # others could put code there
    found = check_kernel_cache([tmp_path])
    assert (found.level, "NUMBA_CACHE_DIR" in found.fix) == ("warn", True)


def test_numba_keeps_code_in_the_first_of_these_folders(tmp_path, monkeypatch):
    from ser_ray.models import kernels

    own = software._kernel_caches({"XDG_CACHE_HOME": str(tmp_path)})
    assert str(own[0]) == kernels.draw.stats.cache_path
    assert own[1] == tmp_path / "numba"
    assert software._kernel_caches({"NUMBA_CACHE_DIR": str(tmp_path)})[0] == tmp_path


def test_this_environment_has_no_problems():
    probe = PythonOutput(('{"torch": "2.11.0", "torchaudio": "2.11.0", "cuda": null, "seconds": 1.0}',), None, 2.0)
    found = list(software.findings(probe, PythonOutput(("2.60.0",), None, 1.0), {}))
    assert {finding.name for finding in found} >= {"python", "packages", "pytorch", "ray", "kernels"}
    assert {finding.level for finding in found} == {"ok"}
    assert "PyTorch 2.11.0 with torchaudio 2.11.0 imported in 1.0 s" in [finding.text for finding in found]


def test_a_process_that_imported_nothing_fails():
    crash = PythonOutput((), "ended by SIGILL", 1.0)
    failed = [f for f in software.findings(crash, PythonOutput((), None, 1.0), {}) if f.level == "FAIL"]
    assert [(f.name, f.text) for f in failed] == [
        ("pytorch", "PyTorch with torchaudio cannot be imported (ended by SIGILL)"),
        ("ray", "Ray cannot be imported (nothing was printed)"),
    ]
