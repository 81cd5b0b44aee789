"""What Triton needs of its host, with compilers, headers and folders that are there or not."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ser_ray import triton_host


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def headers(tmp_path):
    folder = tmp_path / "include"
    folder.mkdir()
    (folder / "Python.h").touch()
    return folder


def test_it_agrees_with_triton_itself(tmp_path):
    """Triton's own build of C code with Python's headers, in a process that has the same compiler or none."""
    code = (
        "from triton.runtime.build import compile_module_from_src as build\n"
        "from ser_ray import triton_host\n"
        "src = '#include <Python.h>\\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, \"x\"};'\n"
        "src += 'PyMODINIT_FUNC PyInit_x(void) { return PyModule_Create(&d); }'\n"
        "try:\n    build(src, 'x')\n    works = True\nexcept Exception:\n    works = False\n"
        "print(works, triton_host.missing_for_launchers() is None)\n"
    )
    for path in (os.environ["PATH"], str(tmp_path)):
        environment = {**os.environ, "PATH": path, "TRITON_CACHE_DIR": str(tmp_path / f"cache{len(path)}")}
        environment.pop("CC", None)
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        works, found = done.stdout.split()
        assert works == found
    assert found == "False", "there is no compiler in an empty folder"


def test_no_compiler(tmp_path, headers):
    said = triton_host.missing({"PATH": str(tmp_path)}, headers)
    assert said == "there is no C compiler (no gcc or clang on PATH, CC is not set)"


def test_a_compiler_that_is_named_and_not_there(tmp_path, headers):
    program(tmp_path / "gcc", "exit 0")
    assert triton_host.missing({"PATH": str(tmp_path), "CC": "icx"}, headers) == "CC is 'icx', which is no program here"


def test_headers_that_are_missing(tmp_path):
    program(tmp_path / "clang", "exit 0")
    assert triton_host.missing({"PATH": str(tmp_path)}, tmp_path) == f"{tmp_path}/Python.h is missing"


def test_a_compiler_without_the_c_library_is_found_out(tmp_path, headers):
    program(tmp_path / "gcc", 'echo "x.c:2:10: fatal error: dlfcn.h: No such file or directory" >&2; exit 1')
    said = triton_host.missing({"PATH": f"{tmp_path}:/usr/bin:/bin"}, headers)
    assert said == (
        f"{tmp_path}/gcc compiles nothing with Python.h (x.c:2:10: fatal error: dlfcn.h: No such file or directory)"
    )


def test_a_compiler_that_works_is_called_as_triton_calls_it(tmp_path, headers):
    calls = tmp_path / "calls"
    program(tmp_path / "gcc", f'echo "$@" > {calls}')
    assert triton_host.missing({"PATH": f"{tmp_path}:/usr/bin:/bin"}, headers) is None
    assert f"-I{headers}" in calls.read_text().split()
    assert "-shared" in calls.read_text().split()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TRITON_CACHE_DIR": "/mine"}, "/mine"),
        ({"TRITON_HOME": "/mine"}, "/mine/.triton/cache"),
        ({"TRITON_HOME": "/mine", "TRITON_CACHE_DIR": "/other"}, "/other"),
    ],
)
def test_a_cache_that_the_user_sets_is_kept(environment, expected):
    kept = dict(environment)
    triton_host.keep_cache_on_node(kept)
    assert kept == environment
    assert triton_host.cache_folder(environment) == Path(expected)


def test_the_cache_is_in_a_private_folder_of_the_node(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_RAY_TMP", str(tmp_path))
    environment = {}
    triton_host.keep_cache_on_node(environment)
    folder = tmp_path / f"ser_ray_kernels_{os.getuid()}"
    assert environment == {"TRITON_CACHE_DIR": str(folder / "triton")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_in_which_others_could_put_code_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_RAY_TMP", str(tmp_path))
    (tmp_path / f"ser_ray_kernels_{os.getuid()}").mkdir()
    (tmp_path / f"ser_ray_kernels_{os.getuid()}").chmod(0o777)
    environment = {}
    triton_host.keep_cache_on_node(environment)
    assert environment == {}


def test_triton_uses_the_cache_that_the_back_end_sets_as_soon_as_it_is_imported(tmp_path):
    code = "from ser_ray.models.conv_pool import cuda; import triton; print(triton.knobs.cache.dir)"
    environment = {**os.environ, "SER_RAY_TMP": str(tmp_path), "HOME": "/proc/none"}
    for name in ("TRITON_CACHE_DIR", "TRITON_HOME"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{tmp_path}/ser_ray_kernels_{os.getuid()}/triton"
