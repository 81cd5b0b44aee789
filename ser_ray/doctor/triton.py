"""What the fused operation needs on a GPU: a C compiler with Python's headers, and a cache on the node's own disk."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ser_ray import triton_host
from ser_ray.doctor.file_systems import SHARED, Mount, mount_here, nearest
from ser_ray.doctor.finding import Finding, ok, warn


def findings(gpus: int, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield what there is to say of Triton's needs, where a GPU is used.

    Args:
        gpus: that work.
        environment: of this process.
    """
    if not gpus:
        return
    folder = triton_host.cache_folder(environment)
    yield check_launchers(triton_host.missing_for_launchers())
    yield check_cache(folder, mount_here(nearest(folder)))


def check_launchers(missing: str | None) -> Finding:
    """Judge whether Triton can compile its launchers.

    Args:
        missing: what it lacks; None for nothing.
    """
    if missing is None:
        return ok("triton", "a C compiler and Python.h are here: resources.backend may be fused")
    without = "resources.backend fused is refused here, auto takes plain PyTorch"
    return warn("triton", f"{missing}: {without}", triton_host.FIX)


def check_cache(folder: Path, mount: Mount | None) -> Finding:
    """Judge where Triton keeps what it compiles.

    Args:
        folder: that one; it need not exist.
        mount: the file system that it lies on; None where that is not known.
    """
    text = f"what it compiles is kept in {folder}" + (f", {mount.kind}" if mount else "")
    if mount and mount.kind in SHARED:
        return warn(
            "triton",
            f"{text}: not this node's own disk, where many small files are slow",
            "unset TRITON_CACHE_DIR and TRITON_HOME, or SER_RAY_TMP=DIR in slurm/site.env, on the node's own disk",
        )
    return ok("triton", text)
