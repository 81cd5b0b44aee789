"""Notices when the cluster of a run is lost, and tells of nodes that come and go."""

import socket
import threading
import time
from collections.abc import Callable

from ser_ray.sweep.nodes.cluster import live_nodes, own_node, servers
from ser_ray.sweep.nodes.ray_thread import RayThread

WATCH_S = 1.0
LOST_AFTER_LOOKS = 3
"""A head that refuses connections in so many looks, a second apart, is gone."""
UNANSWERED_S = 30.0
"""A cluster that has not answered for so long is lost; Ray ends this process after a minute, without a word."""


class NodeWatch:
    """Notices that the node of this process left its cluster, after which Ray waits, and then ends this process.

    Args:
        on_lost: called once, from a thread.
        address: of the cluster, host:port; None if it was started by this process.
        say: told of other nodes that come and go.
    """

    def __init__(
        self,
        on_lost: Callable[[], None],
        address: str | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._on_lost, self._say = on_lost, say
        self._nodes: dict[str, str] | None = None
        self._over = threading.Event()
        self._looks = _Looks(self._over)
        self._servers = servers()
        self._lost = self._lost_server if self._servers else self._lost_node(address)
        self._thread = threading.Thread(target=self._watch, name="node-watch", daemon=True)

    def __enter__(self) -> "NodeWatch":
        """Begin to watch."""
        if not self._servers:
            RayThread(self._looks.run, "node-looks").start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch; it is not waited for, since a cluster in trouble may not answer."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(WATCH_S):
            if self._lost() and not self._over.is_set():
                self._on_lost()
                return

    def tell_changes(self) -> None:
        """Tell from now on of nodes that come and go."""
        self._nodes = live_nodes()

    def _tell(self, live: dict[str, str]) -> None:
        if self._nodes is None:
            return
        for gone in self._nodes.keys() - live.keys():
            self._say(f"NODE      {self._nodes[gone]} was lost: its trials go on elsewhere, from what they saved")
        for new in live.keys() - self._nodes.keys():
            self._say(f"NODE      {live[new]} has come")
        self._nodes = live

    def _lost_server(self) -> bool:
        """Return whether a server that this process started is gone, without which Ray ends it after a minute."""
        return any(process.poll() is not None for process in self._servers)

    def _lost_node(self, address: str | None) -> Callable[[], bool]:
        """Return what asks the cluster whether it and this process's node are still there."""
        own, refused, looks = own_node(), 0, self._looks

        def lost() -> bool:
            nonlocal refused
            refused = refused + 1 if address is not None and _refuses(address) else 0
            if refused >= LOST_AFTER_LOOKS or time.monotonic() - looks.answered_at > UNANSWERED_S:
                return True
            if refused or looks.live is None:
                return False
            self._tell(looks.live)
            return own not in looks.live

        return lost


class _Looks:
    """Looks again and again which nodes the cluster has, in a thread of its own: a cluster in trouble may not answer.

    Args:
        over: set when the looking is to end.
    """

    def __init__(self, over: threading.Event) -> None:
        self._over = over
        self.live: dict[str, str] | None = None
        self.answered_at = time.monotonic()

    def run(self) -> None:
        """Look, until it is over."""
        while not self._over.wait(WATCH_S):
            self.look()

    def look(self) -> None:
        """Look once."""
        live = live_nodes()
        if live is not None:
            self.live = live
        self.answered_at = time.monotonic()


def _refuses(address: str) -> bool:
    """Return whether nothing listens at an address, on a host that is there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=WATCH_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False  # a network that is slow, or a host in trouble, may come back
    return False
