"""Triton's requirements on its host: a C compiler with Python's headers, and a cache on the node's own disk.

Triton compiles a launcher in C for each kernel, on the node that runs it, even for kernels from its cache.
"""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, MutableMapping
from functools import cache
from pathlib import Path

from ser_ray import kernel_cache, provenance
from ser_ray.errors import InputError

COMPILE_S = 60.0
"""Time limit of the C compiler for these few lines, from a cold disk."""
FIX = (
    "install gcc and Python's headers (Debian: gcc, libc6-dev, python3-dev), or in slurm/site.env `module load gcc`, "
    "or export CC=/path/to/a/compiler"
)
CODE = "#include <Python.h>\n#include <dlfcn.h>\n#include <stdlib.h>\nint launcher(void) { return 0; }\n"
"""Includes the headers of Triton's launchers, except CUDA's own header, which Triton brings."""


@cache
def missing_for_launchers() -> str | None:
    """Check this host for the requirements of Triton's launchers, once per process; return what is missing, or None."""
    return missing(os.environ, Path(sysconfig.get_paths(scheme=_scheme())["include"]))


def refuse_fused() -> None:
    """Raise InputError if this host lacks a requirement of the fused back end on GPUs."""
    lacking = missing_for_launchers()
    if lacking is not None:
        raise InputError(
            f"resources.backend is 'fused', which on a GPU compiles C code, but on {provenance.host_name()} {lacking}; "
            f"take auto or reference (--set resources.backend=auto), or {FIX}"
        )


def missing(environment: Mapping[str, str], headers: Path) -> str | None:
    """Return what Triton's launchers lack with an environment and a folder of Python's headers; None if nothing."""
    named = environment.get("CC")  # Triton takes CC as it is; without it, gcc before clang
    path = environment.get("PATH")
    compiler = named if named is not None else shutil.which("gcc", path=path) or shutil.which("clang", path=path)
    if compiler is None:
        return "there is no C compiler (no gcc or clang on PATH, CC is not set)"
    if shutil.which(compiler, path=path) is None:
        return f"CC is {compiler!r}, which is no program here"
    if not (headers / "Python.h").is_file():
        return f"{headers}/Python.h is missing"
    return _compile(compiler, headers, environment)


def _compile(compiler: str, headers: Path, environment: Mapping[str, str]) -> str | None:
    """Compile a shared library as Triton compiles its launchers; return the error, or None."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "launcher.c"
            source.write_text(CODE, encoding="utf-8")
            command = [compiler, str(source), "-shared", "-fPIC", "-o", f"{folder}/launcher.so", f"-I{headers}"]
            done = subprocess.run(
                command, env=dict(environment), capture_output=True, text=True, timeout=COMPILE_S, check=False
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{compiler} cannot be run: {error}"
    if done.returncode == 0:
        return None
    said = [line.strip() for line in done.stderr.splitlines() if "error" in line] or [f"exit code {done.returncode}"]
    return f"{compiler} compiles nothing with Python.h ({said[0]})"


def _scheme() -> str:
    """Return the sysconfig scheme in which Triton looks for headers; Debian's default is for packages of users."""
    scheme = sysconfig.get_default_scheme()
    return "posix_prefix" if scheme == "posix_local" else scheme


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of Triton's cache: the one that the user sets, or else one in the node's private folder.

    Triton's own default is the home, which on clusters is a file server, slow for many small files.
    """
    if named := environment.get("TRITON_CACHE_DIR"):
        return Path(named)
    if home := environment.get("TRITON_HOME"):
        return Path(home) / ".triton" / "cache"
    return kernel_cache.private_folder() / "triton"


def keep_cache_on_node(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set Triton's cache to the node's private folder, unless the user sets another or the folder is not safe."""
    if environment.get("TRITON_CACHE_DIR") or environment.get("TRITON_HOME"):
        return
    if kernel_cache.make_private_folder() is not None:
        environment["TRITON_CACHE_DIR"] = str(cache_folder(environment))
