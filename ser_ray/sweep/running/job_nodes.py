"""The driver's side of a job with several nodes: wait for the cluster's head, and for the others to join."""

import os
import time
from collections.abc import Callable

from ser_ray import provenance
from ser_ray.errors import InputError
from ser_ray.sweep.nodes.cluster import Cluster, wait_for_nodes
from ser_ray.sweep.nodes.rendezvous import Rendezvous
from ser_ray.sweep.nodes.stop import StopRequest

POLL_S = 0.2
HEAD_S = 300.0
"""How long the head of a cluster may take to publish its address; its node is checked first."""


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
            raise InputError(_no_head(rendezvous))
        time.sleep(POLL_S)
    return address


def _no_head(rendezvous: Rendezvous) -> str:
    """Explain why there is no cluster, by the nodes' own reports, or else by srun's messages on their steps."""
    unfit, ended = rendezvous.unfit(), rendezvous.ended()
    no_head = unfit or rendezvous.expected
    what = "the head node of the Ray cluster did not start" if no_head else "all job steps ended before Ray was up"
    reasons = "".join(f"\n  {node}: {reason}" for node, reason in sorted((unfit or ended).items()))
    return f"{what} on the {rendezvous.nodes} nodes of this job{reasons}"


def joined_nodes(
    rendezvous: Rendezvous | None, machines: Cluster, stop: StopRequest, log: Callable[[str], None]
) -> Cluster:
    """Wait until the nodes of the job have joined the cluster, or as many as will, and return it."""
    if rendezvous is None or rendezvous.nodes == 1:
        return machines
    machines = wait_for_nodes(lambda: 0 if stop.requested else rendezvous.expected)
    for node, reason in sorted(rendezvous.unfit().items()):
        log(f"NODE      {node} is not used: {reason}")
    if len(machines.nodes) < rendezvous.nodes:
        log(f"NODE      continuing with {len(machines.nodes)} of {rendezvous.nodes} nodes")
    return machines
