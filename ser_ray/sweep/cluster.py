"""The Ray cluster that a sweep runs on: one embedded on this machine, or the one at a given address."""

import contextlib
import logging
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from ser_ray import allocation
from ser_ray.errors import InputError
from ser_ray.gpus.places import NodeGpus
from ser_ray.signals import take_again
from ser_ray.sweep.ending import hold_signals
from ser_ray.sweep.own_folder import own_folder
from ser_ray.sweep.ray_thread import ray_is_used
from ser_ray.sweep.slots import slots
from ser_ray.training.allocator import ENVIRONMENT

OBJECT_STORE_BYTES = 200 * 2**20
"""Enough: what travels between our processes are keys and configurations, the data lies in files."""
OWN_CHOICE = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
"""Trials make the GPU visible that they are to use: the one that Ray means, or another where that one is faulty."""

LOOK_S = 0.5
ANSWER_S = 10.0
"""How long a cluster may take to accept a connection."""
IN_RAY_S = 5.0
"""Give threads that use Ray so long to come out of it, once it is to be left."""
SHUTDOWN_S = 20.0
"""How long it may take to leave a cluster; one in trouble would hold this process up, also at its exit."""
NODES_S = 240.0
"""How long nodes may take to join, once the head is there: longer than one try of their node managers to come up."""
NOT_IN_TIME = ("timed out during startup", "No node info found")
"""Recognise by these words of Ray that its node manager is not up, here or on this host of a cluster elsewhere."""
START_WAITS_S = (30.0, 60.0, 120.0)
"""Wait so long for the node manager at each start. Ray itself waits for half a minute, once: too short where there is
much to do, or the file system is cold. One that has ended, such as for a port that was taken, comes up at the next."""


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

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many trials run at once that take so many cores and GPUs each, none across nodes.

        Args:
            cpus: cores of a trial, above 0.
            gpus: share of a GPU, or whole GPUs; 0 for none.
        """
        return slots(self.nodes, cpus, gpus)


class RayNotUpError(InputError):
    """Ray's servers did not come up on this machine in the time that Ray gives them."""


@contextlib.contextmanager
def cluster(address: str | None = None, log: Path | None = None, *, gpus: int = 0) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or start one on this machine, for as long as the context lasts.

    Args:
        address: host:port of a running cluster; None starts one here, with the cores this process may use.
        log: takes what Ray says of its nodes by itself; None drops it.
        gpus: of this machine, for a cluster that is started here: the first of those that are visible. Ray itself would
            count them by NVIDIA's library, whatever PyTorch can do with them.

    Yields:
        What the cluster has.

    Raises:
        InputError: if nothing answers at the address.
        RayNotUpError: if a cluster that is started here does not come up in time.
    """
    if address is not None:
        _check_address(address)
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        # Ray starts workers by a shell, and would not find a Python whose path has spaces in it
        "runtime_env": {"env_vars": {**ENVIRONMENT, **OWN_CHOICE}, "py_executable": shlex.quote(sys.executable)},
    }
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(own_folder()) if address is None else None
        stack.enter_context(_words_of_ray(log))
        own: dict[str, Any] = {
            "address": "local",
            "num_cpus": allocation.cpus(),
            "num_gpus": gpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": f"{folder}/ray",  # within, since Ray opens its own folder to everybody
        }
        connection = _Connection(common | (own if address is None else {"address": address}))
        stack.callback(connection.close)
        connection.open()
        yield present_cluster()


class _Connection(threading.Thread):
    """This process's connection to Ray, made in a thread of its own.

    In the main thread Ray would have Python take the signals that ask for the end in Ray's way, and would keep that
    thread from noticing them while its servers start. The thread lasts as long as the connection: the servers that it
    starts end with it.

    Args:
        options: of `ray.init`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(name="ray", daemon=True)
        self._options = options
        self._made, self._over, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._error: Exception | None = None
        self.left_behind = False

    def open(self) -> None:
        """Connect.

        Raises:
            RayNotUpError: if a cluster that is started here does not come up in time.
            KeyboardInterrupt: if it came meanwhile; raised once Ray can be left.
        """
        self.start()
        asked: KeyboardInterrupt | None = None
        while not self._made.is_set():
            try:
                self._made.wait()
            except KeyboardInterrupt as error:  # Ray cannot be left half started, which takes half a minute at most
                asked = error
                self._over.set()
        take_again()
        if asked is not None:
            raise asked
        if self._error is None:
            return
        if _not_in_time(self._error):
            raise RayNotUpError(_not_up(self._options["address"])) from self._error
        raise self._error

    def run(self) -> None:
        """Connect, and keep the thread until the connection is closed."""
        hold_signals()  # which the processes of Ray inherit
        logging.getLogger("ray").setLevel(logging.ERROR)  # it warns that it does not take signals here
        for wait_s in START_WAITS_S:
            if self._error is not None:
                ray.shutdown()
            try:
                with _wait_longer_for_node_manager(wait_s, self._over):
                    ray.init(**self._options)
            except Exception as error:
                self._error = error
                if not _not_in_time(error) or self._over.is_set():
                    break
            else:
                self._error = None
                break
        self._made.set()
        self._over.wait()
        if ray_is_used(IN_RAY_S):
            _end_servers()
            self._ended.set()
            threading.Event().wait()  # for good: the process ends without Python's own end, by which Ray would be left
        ray.shutdown()
        self.left_behind = False
        self._ended.set()

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here; one that does not answer is left behind."""
        self.left_behind = True
        self._over.set()
        self._ended.wait(SHUTDOWN_S)


def _not_in_time(error: Exception) -> bool:
    """Return whether Ray gave up waiting for a node manager, for which it raises no kind of its own."""
    chain: list[BaseException] = [error]  # at an address Ray wraps the error that says so in a ConnectionError
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return any(words in str(one) for one in chain for words in NOT_IN_TIME)


def _not_up(address: str) -> str:
    """Return what a user should read where the node manager is not up in time."""
    if address == "local":
        return "Ray did not start in time: this machine has too much to do; run again when it has less"
    return (
        f"no node of the cluster at {address} came up on this host in time: run again when it has less to do; where "
        f"none was started here, ray start --address={address}"
    )


def present_cluster() -> Cluster:
    """Return what the cluster has now that this process is connected to."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    nodes = tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in alive)
    return Cluster(sum(cpus for cpus, _ in nodes), sum(gpus for _, gpus in nodes), nodes)


def wait_for_nodes(wanted: Callable[[], int], *, within_s: float = NODES_S) -> Cluster:
    """Return what the cluster has once so many nodes are in it, or what it has by then.

    Args:
        wanted: how many; asked again and again, since some may turn out not to come.
        within_s: how long to wait at most.
    """
    deadline = time.monotonic() + within_s
    while len((there := present_cluster()).nodes) < wanted() and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    return there


def own_gpus() -> tuple[list[str], NodeGpus]:
    """Return the GPUs that Ray means this process of a trial to use, and all that its node has."""
    own = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    there = next(int(node["Resources"].get("GPU", 0)) for node in nodes if node["NodeID"] == own)
    ids = (allocation.gpus_named() or tuple(map(str, range(there))))[:there]
    node: Any = ray._private.worker._global_node
    folder = Path(node.get_session_dir_path()) / "ser_ray_gpus"  # on this node, and gone with the cluster
    return [str(gpu) for gpu in ray.get_gpu_ids()], NodeGpus(folder, ids)


def live_nodes() -> dict[str, str] | None:
    """Return the nodes of the cluster, Ray's id -> host name; None if it answers that it cannot tell now."""
    try:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
    except (ray.exceptions.RayError, RuntimeError, ConnectionError):
        return None
    return {node["NodeID"]: node["NodeManagerHostname"] for node in nodes if node["Alive"]}


def own_node() -> str:
    """Return Ray's id of the node that this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def _end_servers() -> None:
    """End what this process started of Ray, and keep its connection."""
    node: Any = ray._private.worker._global_node
    if node is not None:
        node.kill_all_processes(check_alive=False, allow_graceful=True)


def start_node(arguments: Sequence[str]) -> None:
    """Run `ray start` on a node of a job, waiting for its node manager as long as for that of a cluster started here.

    Args:
        arguments: of `ray start`.
    """
    from ray.scripts.scripts import main

    sys.argv = ["ray", "start", *arguments]
    with _wait_longer_for_node_manager(START_WAITS_S[-1], threading.Event()):
        main()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _wait_longer_for_node_manager(wait_s: float, over: threading.Event) -> Iterator[None]:
    """Have Ray wait so long for the node manager that it starts.

    Args:
        wait_s: at most; no shorter than Ray's own half a minute.
        over: set when it is not to be waited for any more.
    """
    services: Any = ray._private.services
    get_node, deadline = services.get_node, time.monotonic() + wait_s

    def wait_for_node(address: str, node: str) -> Any:
        while True:
            try:
                return get_node(address, node)
            except RuntimeError:  # it is not there yet
                if over.wait(LOOK_S) or time.monotonic() > deadline:
                    raise

    services.get_node = wait_for_node
    try:
        yield
    finally:
        services.get_node = get_node


@contextlib.contextmanager
def _words_of_ray(log: Path | None) -> Iterator[None]:
    """Have what Ray says of its nodes by itself, a page for each that is lost, go to a file."""
    private = ray._private.worker
    before = private.print_to_stdstream

    def write(data: dict[str, Any], ignore_prefix: bool) -> None:
        with contextlib.suppress(OSError), open(log or os.devnull, "a", encoding="utf-8") as file:
            print(*data["lines"], sep="\n", file=file)

    private.print_to_stdstream = write
    try:
        yield
    finally:
        private.print_to_stdstream = before


def servers() -> list[subprocess.Popen[bytes]]:
    """Return those of Ray that this process started and cannot do without: node manager and control service."""
    node = ray._private.worker._global_node
    started: dict[str, list[Any]] = {} if node is None else node.all_processes
    return [info.process for kind in ("raylet", "gcs_server") for info in started.get(kind, [])]


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


if __name__ == "__main__":
    start_node(sys.argv[1:])
