"""Check Python, the packages, and folders that precede them on the import path."""

import json
import os
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from ser_ray import allocation, kernel_cache
from ser_ray.doctor.file_systems import nearest_existing
from ser_ray.doctor.finding import Finding, fail, ok, warn
from ser_ray.gpus.run_python import PythonOutput
from ser_ray.shadows import modules_in, shadowed_names

OLDEST, NEWEST = (3, 11), (3, 13)
SLOW_IMPORT_S = 30.0
"""On GPUs, each trial's process imports PyTorch again, which takes 1 to 3 s from a local disk."""
CUDA_12_PAIR = {"torch": "2.9.1", "torchaudio": "2.9.1"}
"""Newest pair on PyPI built for CUDA 12, for drivers that are too old for the locked pair."""
CUDA_12_INSTALL = f".venv/bin/uv pip install {' '.join(f'{name}=={version}' for name, version in CUDA_12_PAIR.items())}"
INSTALL = "`make env` in the project's folder brings the environment up to date"
KERNELS = Path(__file__).parents[1] / "models" / "kernels.py"


def findings(torch: PythonOutput, ray: PythonOutput, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield the findings on the software here, given the output of the GPU probe and of a process that imports Ray."""
    yield check_python(sys.version_info[:3], sys.executable)
    wanted = _requirements()
    yield check_packages(wanted, _installed)
    yield check_import("pytorch", *_torch(torch))
    yield check_import("ray", f"Ray {ray.lines[0]}" if ray.lines else "Ray", ray.seconds, _failure(ray))
    yield from check_shadows(_before(environment), [name for name, _ in map(_split, wanted or ())])
    yield from check_variables(environment, nodes=allocation.nodes(environment), in_job="SLURM_JOB_ID" in environment)
    yield check_kernel_cache(_kernel_caches(environment))


def check_python(found: Sequence[int], executable: str) -> Finding:
    """Judge the version of Python."""
    text = f"{'.'.join(map(str, found))}, {executable}"
    if OLDEST <= tuple(found[:2]) <= NEWEST:
        return ok("python", text)
    needed = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    return fail("python", f"{text}, but ser_ray needs {needed}", "PYTHON=python3.12 make env, in the project's folder")


def check_packages(wanted: Sequence[str] | None, installed: Callable[[str], str | None]) -> Finding:
    """Judge the versions of the packages that ser_ray requires.

    Args:
        wanted: the requirements, such as "ray[tune]==2.60.*"; None if ser_ray itself is not installed.
        installed: function that returns the version of a package, or None if it is not installed.
    """
    if wanted is None:
        return warn("packages", "ser_ray itself is not installed here, so no versions were checked", INSTALL)
    absent, others = [], []
    for_cuda_12 = all(_release(installed(name)) == version for name, version in CUDA_12_PAIR.items())
    for requirement in wanted:
        name, specifier = _split(requirement)
        there = installed(name)
        if for_cuda_12 and name in CUDA_12_PAIR:
            continue
        if there is None:
            absent.append(name)
        elif not _satisfies(there, specifier):
            others.append(f"{name} {there} (needs {specifier})")
    if absent or others:
        parts = [f"{', '.join(absent)} missing"] if absent else []
        return fail("packages", "; ".join([*parts, *others]), INSTALL)
    if for_cuda_12:
        pair = " and ".join(f"{name} {version}" for name, version in CUDA_12_PAIR.items())
        return warn(
            "packages",
            f"{pair} replace the locked ones, for drivers of CUDA 12: figures may differ from those of the locked "
            "ones, and bfloat16 does not train on every CPU",
            "if the driver is 580 or newer: rm .venv/.installed; make env",
        )
    named = [f"{name} {there}" for name in ("ser-ray", "ray", "torch", "numpy") if (there := installed(name))]
    return ok("packages", f"{', '.join(named)}; all {len(wanted)} required packages are installed")


def check_import(name: str, what: str, seconds: float, failure: str | None) -> Finding:
    """Judge the import of a package, given its duration and the reason of its failure, or None."""
    if failure is not None:
        others = "; if that does not help, unset LD_LIBRARY_PATH and PYTHONPATH, which environment modules may have set"
        return fail(name, f"{what} cannot be imported ({failure})", INSTALL + others)
    text = f"{what} imported in {seconds:.1f} s"
    if seconds > SLOW_IMPORT_S:
        faster = "put the environment on a faster disk, or in a container image (one file)"
        return warn(name, f"{text}: each process that imports it waits as long", faster)
    return ok(name, text)


def _torch(probe: PythonOutput) -> tuple[str, float, str | None]:
    """Return the imported packages, the duration in seconds, and the reason of a failure, or None."""
    if not probe.lines:
        return "PyTorch with torchaudio", probe.seconds, _failure(probe)
    found = json.loads(probe.lines[0])
    return f"PyTorch {found['torch']} with torchaudio {found['torchaudio']}", found["seconds"], None


def _failure(answer: PythonOutput) -> str | None:
    return None if answer.lines else answer.error or "nothing was printed"


def check_shadows(before: Iterable[Path], names: Sequence[str]) -> Iterator[Finding]:
    """Yield a warning for each folder that Python searches before the environment and that shadows its modules."""
    for folder in before:
        whole = [name for name in names if (folder / name.replace("-", "_")).is_dir()]
        single = shadowed_names(modules_in(str(folder))) - {name.replace("-", "_") for name in whole}
        own = [*whole, *sorted(single)]
        if own:
            yield warn(
                "variables",
                f"{folder} comes before the environment on Python's path and has its own {', '.join(own)}",
                "rename your own files; in slurm/site.env, unset PYTHONPATH, export PYTHONNOUSERSITE=1, and load no "
                "environment modules with Python packages",
            )


def check_variables(environment: Mapping[str, str], *, nodes: int, in_job: bool) -> Iterator[Finding]:
    """Yield warnings about variables that mislead a sweep; with several nodes, the job's script sets RAY_ADDRESS."""
    if environment.get("PYTHONHOME"):
        home = environment["PYTHONHOME"]
        yield warn("variables", f"PYTHONHOME={home} makes Python use another standard library", "unset PYTHONHOME")
    if environment.get("RAY_ADDRESS") and not (in_job and nodes > 1):
        address = environment["RAY_ADDRESS"]
        yield warn(
            "variables",
            f"RAY_ADDRESS={address}: a sweep would join that cluster rather than use this machine",
            "unset RAY_ADDRESS, unless you want that",
        )


def check_kernel_cache(folders: Sequence[Path]) -> Finding:
    """Judge whether compiled code can be cached, given the folders that Numba tries, in order."""
    for folder in folders:
        if os.access(nearest_existing(folder), os.W_OK):
            return ok("kernels", f"compiled code is cached in {folder}")
    own = kernel_cache.make_private_folder()
    elsewhere = f"compiled code cannot be cached in {' or '.join(map(str, folders))}"
    if own is not None:
        return ok("kernels", f"{elsewhere}: it is cached in {own}, compiled once on each node")
    return warn(
        "kernels",
        f"{elsewhere}, nor in {kernel_cache.private_folder()}: each process compiles for about 9 s",
        "export NUMBA_CACHE_DIR=DIR in slurm/site.env, a writable folder",
    )


def _release(there: str | None) -> str | None:
    """Remove the build from a version, such as 2.9.1+cu128 -> 2.9.1."""
    return None if there is None else there.partition("+")[0]


def _split(requirement: str) -> tuple[str, str]:
    """Split a requirement into name and version specifier."""
    match = re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*([^;]*)", requirement)
    return (match[1], match[2].strip()) if match else (requirement, "")


def _satisfies(there: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet  # Ray needs it

    return SpecifierSet(specifier).contains(there, prereleases=True)


def _requirements() -> list[str] | None:
    """Return the requirements of ser_ray without those of its extras."""
    try:
        return [requirement for requirement in requires("ser-ray") or [] if "extra ==" not in requirement]
    except PackageNotFoundError:
        return None


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _before(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders that Python searches before its environment."""
    named = [Path(entry) for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    user = [Path(site.getusersitepackages())] if site.ENABLE_USER_SITE else []
    own = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    here = [Path.cwd()]  # where `python -m ser_ray.sweep` looks first
    return [folder for folder in (*here, *named, *user) if folder.resolve() not in own]


def _kernel_caches(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders in which Numba caches compiled code, in the order in which it tries them."""
    named = environment.get("NUMBA_CACHE_DIR")
    wide = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"
    return [*([Path(named)] if named else []), KERNELS.parent / "__pycache__", wide]
