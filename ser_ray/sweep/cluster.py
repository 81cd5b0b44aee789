"""The Ray cluster that a sweep runs on: one embedded on this machine, or the one at a given address."""

import contextlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from ser_ray.errors import InputError
from ser_ray.training.allocator import ENVIRONMENT

OBJECT_STORE_BYTES = 200 * 2**20
"""Enough: what travels between our processes are keys and configurations, the data lies in files."""


ANSWER_S = 10.0
"""How long a cluster may take to accept a connection."""


@dataclass(frozen=True)
class Cluster:
    """What a cluster has.

    Args:
        cpus: CPU cores, all nodes together.
        gpus: GPUs, all nodes together.
        nodes: (CPU cores, GPUs) of each live node.
    """

    cpus: float
    gpus: float
    nodes: tuple[tuple[float, float], ...]


@contextlib.contextmanager
def cluster(address: str | None = None) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or start one on this machine, for as long as the context lasts.

    Args:
        address: host:port of a running cluster; None starts one here, with the cores this process may use and the
            GPUs that are visible.

    Yields:
        What the cluster has.

    Raises:
        InputError: if nothing answers at the address.
    """
    if address is not None:
        _check_address(address)
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
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        nodes = tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in alive)
        yield Cluster(sum(cpus for cpus, _ in nodes), sum(gpus for _, gpus in nodes), nodes)
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _check_address(address: str) -> None:
    """Refuse an address at which nothing listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    legal = "it must be host:port of a running Ray cluster; unset RAY_ADDRESS to start one on this machine"
    if not host or not port.isdecimal():
        raise InputError(f"RAY_ADDRESS is {address!r}, but {legal}")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"RAY_ADDRESS is {address!r}, but nothing answers there ({error}); {legal}") from error
