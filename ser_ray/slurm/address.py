"""The address at which the other nodes of a job reach this one."""

import fcntl
import random
import socket
import struct
from collections.abc import Sequence

from ser_ray.errors import InputError

_SIOCGIFADDR = 0x8915
"""ioctl request for an interface's IPv4 address; see netdevice(7)."""
PORTS = range(20_000, 30_000)
"""Below the ports that systems assign to outgoing connections (on Linux from 32,768), which come and go."""
_DISCARD = 9


def own_address(peers: Sequence[str] = (), interface: str | None = None) -> str:
    """Find this host's IPv4 address: that of a network interface such as "ib0", or the one at which peers reach it.

    Raises InputError if there is no such interface, or only a loopback address.
    """
    if interface:
        return _address_of(interface)
    for peer in peers:
        address = _towards(peer)
        if address is not None:
            return address
    name = socket.gethostname()
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, socket.AF_INET)]
    except OSError as error:
        raise InputError(
            f"the name of this host, {name}, has no IPv4 address ({error}); set SER_RAY_INTERFACE in slurm/site.env to "
            "the network interface between the nodes, such as SER_RAY_INTERFACE=eth0"
        ) from error
    outside = [address for address in found if not address.startswith("127.")]
    if not outside:
        raise InputError(
            f"the name of this host, {name}, resolves only to {found[0]}, which other nodes cannot reach; set "
            f"SER_RAY_INTERFACE in slurm/site.env to the network interface between the nodes, one of {_interfaces()}"
        )
    return outside[0]


def free_port(address: str) -> int:
    """Find a port at which nothing listens yet.

    Another job on this node may take it before it is used. That is rare among ten thousand ports; the caller then tries
    another.
    """
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise InputError(f"no port from {PORTS[0]} to {PORTS[-1]} is free at {address}; is that an address of this host?")


def _towards(peer: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect((peer, _DISCARD))  # sends nothing: the kernel only chooses the route
        except OSError:
            return None
        address = str(route.getsockname()[0])
    return None if address.startswith("127.") else address


def _address_of(interface: str) -> str:
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, request)
        except OSError as error:
            raise InputError(
                f"SER_RAY_INTERFACE is {interface!r}, but this host has no IPv4 address on it ({error.strerror}); set "
                f"it to one of {_interfaces()}"
            ) from error
    return socket.inet_ntoa(answer[20:24])


def _interfaces() -> str:
    return ", ".join(name for _, name in socket.if_nameindex())
