"""The Ray cluster that a sweep runs on: one started on this machine, or the one at a given address."""

import contextlib
import logging
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from ser_ray import allocation
from ser_ray.errors import InputError
from ser_ray.gpus.node_gpus import NodeGpus
from ser_ray.process import restore_handlers
from ser_ray.sweep.nodes.ray_folder import OBJECT_STORE_BYTES, ray_is_used, ray_temp_dir
from ser_ray.sweep.nodes.stop import hold_signals
from ser_ray.training.allocator import ENVIRONMENT

OWN_CHOICE = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
"""Trials set their visible GPU themselves: the one that Ray assigns, or another if that one is faulty."""

POLL_S = 0.5
ANSWER_S = 10.0
"""How long a cluster may take to accept a connection."""
IN_RAY_S = 5.0
"""How long threads may take to finish their calls of Ray before this process disconnects from it."""
SHUTDOWN_S = 20.0
"""How long disconnecting may take; a cluster in trouble would block this process, also at its exit."""
NOT_IN_TIME = ("timed out during startup", "No node info found")
"""Parts of Ray's messages about a node manager that is not up: of a cluster started here, or this host's of another."""
START_WAITS_S = (30.0, 60.0, 120.0)
"""How long each start waits for the node manager. Ray itself waits once, for half a minute: too short on a busy
machine or a cold file system. A node manager that has ended, such as for a port that was taken, comes up at the next
start."""


@dataclass(frozen=True)
class Cluster:
    """CPU cores and GPUs of a cluster: of all nodes together, and (cores, GPUs) of each live node."""

    cpus: float
    gpus: float
    nodes: tuple[tuple[float, float], ...]


class RayNotUpError(InputError):
    """Raised if Ray's servers do not come up on this machine in the time that Ray gives them."""


@contextlib.contextmanager
def cluster(address: str | None = None, log: Path | None = None, *, gpus: int = 0) -> Iterator[Cluster]:
    """Connect to the Ray cluster at host:port, or start one on this machine, for as long as the context lasts.

    A cluster started here has the cores that this process may use, and the first `gpus` of the visible GPUs. Ray itself
    would count the GPUs by NVIDIA's library, whether or not PyTorch can use them. Ray's own messages go to the file
    `log`.

    Raises:
        InputError: if nothing answers at the address.
        RayNotUpError: if a cluster that is started here does not come up in time.
    """
    if address is not None:
        _check_address(address)
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        # Ray starts workers by a shell, which would not find a Python whose path contains spaces
        "runtime_env": {"env_vars": {**ENVIRONMENT, **OWN_CHOICE}, "py_executable": shlex.quote(sys.executable)},
    }
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(ray_temp_dir()) if address is None else None
        stack.enter_context(_messages_to(log))
        own: dict[str, Any] = {
            "address": "local",
            "num_cpus": allocation.cpus(),
            "num_gpus": gpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": f"{folder}/ray",  # a subfolder, since Ray opens its folder to everybody
        }
        connection = _Connection(common | (own if address is None else {"address": address}))
        stack.callback(connection.close)
        connection.open()
        yield present_cluster()


class _Connection(threading.Thread):
    """Connection of this process to Ray: `ray.init(**options)` in a thread of its own.

    In the main thread Ray would install its own handlers of the signals that end a process, and these would go
    unnoticed while its servers start. The thread lasts as long as the connection: the servers that it starts end with
    it.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(name="ray", daemon=True)
        self._options = options
        self._made, self._over, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._error: Exception | None = None
        self.left_behind = False  # read by ser_ray.process at the process's exit

    def open(self) -> None:
        """Start the thread and wait until it is connected.

        Raises:
            RayNotUpError: if a cluster that is started here does not come up in time.
            KeyboardInterrupt: if one came meanwhile; raised once Ray can be shut down.
        """
        self.start()
        interrupt: KeyboardInterrupt | None = None
        while not self._made.is_set():
            try:
                self._made.wait()
            except KeyboardInterrupt as error:  # a half-started Ray cannot be shut down: wait, half a minute at most
                interrupt = error
                self._over.set()
        restore_handlers()
        if interrupt is not None:
            raise interrupt
        if self._error is None:
            return
        if not _not_in_time(self._error):
            raise self._error
        address = self._options["address"]
        raise RayNotUpError(
            "Ray did not start in time: this machine is overloaded; run again when its load is lower"
            if address == "local"
            else f"no node of the cluster at {address} started on this host in time: run again when its load is lower; "
            f"if none was started here, run ray start --address={address}"
        ) from self._error

    def run(self) -> None:
        """Connect, and keep the thread alive until the connection is closed."""
        hold_signals()  # inherited by Ray's processes
        logging.getLogger("ray").setLevel(logging.ERROR)  # it warns that it cannot handle signals in this thread
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
            threading.Event().wait()  # for ever: the process ends without Python's own clean-up, which would leave Ray
        ray.shutdown()
        self.left_behind = False
        self._ended.set()

    def close(self) -> None:
        """Disconnect from the cluster, and end it if it was started here; one that does not answer is left behind."""
        self.left_behind = True
        self._over.set()
        self._ended.wait(SHUTDOWN_S)


def _not_in_time(error: Exception) -> bool:
    """Check whether Ray gave up waiting for a node manager, for which it has no exception class of its own."""
    chain: list[BaseException] = [error]  # at an address Ray wraps the error that says so in a ConnectionError
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return any(words in str(one) for one in chain for words in NOT_IN_TIME)


def present_cluster() -> Cluster:
    """Read the present cores and GPUs of the connected cluster."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    nodes = tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in alive)
    return Cluster(sum(cpus for cpus, _ in nodes), sum(gpus for _, gpus in nodes), nodes)


def own_gpus() -> tuple[list[str], NodeGpus]:
    """Return the GPUs that Ray assigns to this process of a trial, and all GPUs of its node."""
    own = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    there = next(int(node["Resources"].get("GPU", 0)) for node in nodes if node["NodeID"] == own)
    ids = (allocation.gpus_named() or tuple(map(str, range(there))))[:there]
    node: Any = ray._private.worker._global_node
    folder = Path(node.get_session_dir_path()) / "ser_ray_gpus"  # on this node, and removed with the cluster
    return [str(gpu) for gpu in ray.get_gpu_ids()], NodeGpus(folder, ids)


def live_nodes() -> dict[str, str] | None:
    """Return the live nodes of the cluster, Ray's id -> host name; None if Ray does not answer."""
    try:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
    except (ray.exceptions.RayError, RuntimeError, ConnectionError):
        return None
    return {node["NodeID"]: node["NodeManagerHostname"] for node in nodes if node["Alive"]}


def own_node() -> str:
    """Return Ray's id of the node that this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def _end_servers() -> None:
    """End the Ray servers that this process started, but keep its connection."""
    node: Any = ray._private.worker._global_node
    if node is not None:
        node.kill_all_processes(check_alive=False, allow_graceful=True)


def start_node(arguments: Sequence[str]) -> None:
    """Run `ray start` on a node of a job, waiting for its node manager for the longest of START_WAITS_S."""
    from ray.scripts.scripts import main

    sys.argv = ["ray", "start", *arguments]
    with _wait_longer_for_node_manager(START_WAITS_S[-1], threading.Event()):
        main()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _wait_longer_for_node_manager(wait_s: float, over: threading.Event) -> Iterator[None]:
    """Make Ray wait `wait_s` seconds (at least its own 30) for the node manager it starts, or until `over` is set."""
    services: Any = ray._private.services
    get_node, deadline = services.get_node, time.monotonic() + wait_s

    def wait_for_node(address: str, node: str) -> Any:
        while True:
            try:
                return get_node(address, node)
            except RuntimeError:  # it is not there yet
                if over.wait(POLL_S) or time.monotonic() > deadline:
                    raise

    services.get_node = wait_for_node
    try:
        yield
    finally:
        services.get_node = get_node


@contextlib.contextmanager
def _messages_to(log: Path | None) -> Iterator[None]:
    """Redirect Ray's messages about its nodes, a page for each lost one, to a file."""
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
    """Return the Ray servers that this process started: node manager and control service."""
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
        raise InputError(f"RAY_ADDRESS is {address!r}, but no Ray cluster answers there ({error}); {legal}") from error


if __name__ == "__main__":
    start_node(sys.argv[1:])
