"""The nodes of a run: wait until those of a job have joined, then log who comes and goes, and detect a loss."""

import math
import os
import socket
import threading
import time
from collections.abc import Callable

from ser_ray import provenance
from ser_ray.errors import InputError
from ser_ray.sweep.nodes.cluster import Cluster, live_nodes, own_node, present_cluster, servers
from ser_ray.sweep.nodes.ray_folder import RayThread
from ser_ray.sweep.nodes.rendezvous import Rendezvous
from ser_ray.sweep.nodes.stop import StopRequest

POLL_S = 0.2
HEAD_S = 300.0
"""How long the head of a cluster may take to publish its address; its node is checked first."""
NODES_S = 240.0
"""How long nodes may take to join, once the head is up: longer than one try of their node managers to start."""
WATCH_S = 1.0
LOST_AFTER_REFUSALS = 3
"""A head that refuses this many connections in a row, a second apart, is gone."""
UNANSWERED_S = 30.0
"""A cluster that has not answered for this long is lost; after a minute Ray ends this process without a message."""


def cluster_address(rendezvous: Rendezvous | None, stop: StopRequest) -> str | None:
    """Wait for the cluster's head to publish its address; return None to start one here, or on a stop request.

    Raises:
        InputError: if no head comes up, with the nodes' reports.
    """
    if rendezvous is None or rendezvous.nodes == 1:
        return os.environ.get("RAY_ADDRESS") or None
    deadline = time.monotonic() + HEAD_S
    while (address := rendezvous.address()) is None and not stop.requested:
        # the head runs on this node, and no other node can take its place
        if rendezvous.expected < 1 or provenance.host_name() in rendezvous.unfit() or time.monotonic() > deadline:
            unfit, ended = rendezvous.unfit(), rendezvous.ended()
            no_head = unfit or rendezvous.expected
            what = (
                "the head node of the Ray cluster did not start" if no_head else "all job steps ended before Ray was up"
            )
            # the nodes' own reports, or else srun's messages on their steps
            reasons = "".join(f"\n  {node}: {reason}" for node, reason in sorted((unfit or ended).items()))
            raise InputError(f"{what} on the {rendezvous.nodes} nodes of this job{reasons}")
        time.sleep(POLL_S)
    return address


def joined_nodes(
    rendezvous: Rendezvous | None, machines: Cluster, stop: StopRequest, log: Callable[[str], None]
) -> Cluster:
    """Wait until the nodes of the job have joined the cluster, or as many as will, and return it."""
    if rendezvous is None or rendezvous.nodes == 1:
        return machines
    deadline = time.monotonic() + NODES_S
    # some nodes may turn out not to come
    while len(machines.nodes) < rendezvous.expected and not stop.requested and time.monotonic() < deadline:
        time.sleep(POLL_S)
        machines = present_cluster()
    for node, reason in sorted(rendezvous.unfit().items()):
        log(f"NODE      {node} is not used: {reason}")
    if len(machines.nodes) < rendezvous.nodes:
        log(f"NODE      continuing with {len(machines.nodes)} of {rendezvous.nodes} nodes")
    return machines


class NodeWatch:
    """Watch for the loss of this process's node or cluster, after which Ray would wait and then end this process.

    `on_lost` is called once, from a thread. `address` is the cluster's host:port, None if this process started it.
    """

    def __init__(
        self,
        on_lost: Callable[[], None],
        address: str | None = None,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._on_lost, self._address, self._log = on_lost, address, log
        self._over = threading.Event()
        self._servers = servers()
        self._own = None if self._servers else own_node()
        self._answer: tuple[float, dict[str, str]] | None = None  # when it was asked for, and the nodes
        self._answered_at, self._refused = time.monotonic(), 0
        self._logged: dict[str, str] | None = None
        self._logged_since = math.inf

    def __enter__(self) -> "NodeWatch":
        """Begin to watch."""
        if not self._servers:
            RayThread(self._ask_again, "node-poll").start()
        threading.Thread(target=self._watch, name="node-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch without waiting for its threads, since a cluster in trouble may not answer."""
        self._over.set()

    def log_changes(self) -> None:
        """Begin to log the nodes that come and go."""
        self._logged, self._logged_since = live_nodes(), time.monotonic()

    def _watch(self) -> None:
        while not self._over.wait(WATCH_S):
            if self._lost() and not self._over.is_set():
                self._on_lost()
                return

    def _lost(self) -> bool:
        """Check whether the cluster or this process's node is lost."""
        if self._servers:  # without one of them, Ray ends this process after a minute
            return any(process.poll() is not None for process in self._servers)
        self._refused = self._refused + 1 if self._address is not None and _refuses(self._address) else 0
        if self._refused >= LOST_AFTER_REFUSALS or time.monotonic() - self._answered_at > UNANSWERED_S:
            return True
        if self._refused or self._answer is None:
            return False
        asked_at, live = self._answer
        # an answer that was under way when the logging began may know of fewer nodes than there were
        if self._logged is not None and asked_at >= self._logged_since:
            for gone in self._logged.keys() - live.keys():
                self._log(
                    f"NODE      {self._logged[gone]} was lost: its trials continue on other nodes from their last "
                    "checkpoints"
                )
            for new in live.keys() - self._logged.keys():
                self._log(f"NODE      {live[new]} joined the cluster")
            self._logged = live
        return self._own not in live

    def _ask_again(self) -> None:
        """Ask for the nodes until the watch is over, in a thread of its own: a cluster in trouble may not answer."""
        while not self._over.wait(WATCH_S):
            self._ask()

    def _ask(self) -> None:
        asked_at, live = time.monotonic(), live_nodes()
        if live is not None:
            self._answer = asked_at, live
        self._answered_at = time.monotonic()


def _refuses(address: str) -> bool:
    """Check whether nothing listens at an address, on a host that is reachable."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=WATCH_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False  # a network that is slow, or a host in trouble, may come back
    return False
