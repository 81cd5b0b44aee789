"""The Ray cluster that a sweep runs on: one embedded on this machine, or the one at a given address."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from ser_ray.training.allocator import ENVIRONMENT

OBJECT_STORE_BYTES = 200 * 2**20
"""Enough: what travels between our processes are keys and configurations, the data lies in files."""


@dataclass(frozen=True)
class Cluster:
    """What a cluster has.

    Args:
        cpus: CPU cores, all nodes together.
        gpus: GPUs, all nodes together.
        nodes: live nodes.
        embedded: whether it was started here and ends with this process.
    """

    cpus: float
    gpus: float
    nodes: int
    embedded: bool


@contextlib.contextmanager
def cluster(address: str | None = None) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or start one on this machine, for as long as the context lasts.

    Args:
        address: host:port of a running cluster; None starts one here, with the cores this process may use and the
            GPUs that are visible.

    Yields:
        What the cluster has.
    """
    # What Ray reads from the environment when it starts: no statistics sent home, no warning scrolls.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": ENVIRONMENT},
    }
    # Sockets lie in this folder and their paths may have 107 bytes, so it must be short; and it is ours alone, since
    # the default is shared by all users of a machine.
    folder = tempfile.mkdtemp(prefix="ser_ray_", dir="/tmp") if address is None else None
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=len(os.sched_getaffinity(0)),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=folder,
                **common,
            )
        else:
            ray.init(address=address, **common)
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())  # type: ignore[no-untyped-call]
        yield Cluster(resources.get("CPU", 0.0), resources.get("GPU", 0.0), nodes, embedded=address is None)
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
