"""At which address other nodes reach this one, and at which port nothing listens yet."""

import socket
from typing import ClassVar

import pytest

from ser_ray.errors import InputError
from ser_ray.slurm import address
from ser_ray.slurm.address import free_port, own_address

HERE = "127.0.0.1"


class Routes:
    """Stands in for a socket that the kernel connects on the way to a host."""

    ways: ClassVar = {"node2": "10.1.0.1", "here": HERE}
    asked: ClassVar = []

    def __init__(self, family, kind):
        assert (family, kind) == (socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def connect(self, place):
        self.asked.append(place[0])
        if place[0] not in self.ways:
            raise socket.gaierror(-2, "Name or service not known")
        self.way = self.ways[place[0]]

    def getsockname(self):
        return self.way, 40000


@pytest.fixture
def routes(monkeypatch):
    monkeypatch.setattr(address.socket, "socket", Routes)
    monkeypatch.setattr(Routes, "asked", [])
    return Routes


@pytest.fixture
def name(monkeypatch):
    """Says for what addresses the name of this host stands."""
    monkeypatch.setattr(address.socket, "gethostname", lambda: "node1")

    def stands_for(*addresses):
        def resolve(host, port, family):
            assert (host, port, family) == ("node1", None, socket.AF_INET)
            if not addresses:
                raise socket.gaierror(-2, "Name or service not known")
            return [(family, socket.SOCK_STREAM, 6, "", (found, 0)) for found in addresses]

        monkeypatch.setattr(address.socket, "getaddrinfo", resolve)

    return stands_for


def test_an_interface_that_is_named_counts_before_anything_else(routes, monkeypatch):
    monkeypatch.undo()  # the kernel itself is asked
    assert own_address(["node2"], "lo") == HERE


@pytest.mark.parametrize("interface", ["none7", "an_interface_of_a_long_name"])
def test_an_interface_that_is_not_there_is_answered_with_those_that_are(interface):
    with pytest.raises(
        InputError, match=rf"SER_RAY_INTERFACE is '{interface}', but this host has no .*set it to one of .*lo"
    ):
        own_address([], interface)


@pytest.mark.parametrize("interface", [None, ""])
def test_the_way_to_another_node_tells_the_address(routes, interface):
    assert own_address(["node2", "node3"], interface) == "10.1.0.1"
    assert routes.asked == ["node2"]


def test_a_node_that_is_not_known_is_passed_over(routes):
    assert own_address(["gone", "node2"]) == "10.1.0.1"
    assert routes.asked == ["gone", "node2"]


@pytest.mark.parametrize("peers", [[], ["gone"], ["here"]])
def test_where_no_way_leads_out_the_hosts_name_tells(routes, name, peers):
    name(HERE, "10.1.0.7")
    assert own_address(peers) == "10.1.0.7"


def test_a_name_without_an_address_is_answered_with_the_fix(name):
    name()
    with pytest.raises(InputError, match=r"name of this host, node1, has no IPv4 address .*SER_RAY_INTERFACE in slurm"):
        own_address()


def test_a_name_that_only_this_host_reaches_is_answered_with_the_interfaces(name):
    name("127.0.1.1")
    with pytest.raises(
        InputError,
        match=r"node1, resolves only to 127\.0\.1\.1, .* SER_RAY_INTERFACE in slurm/site\.env to .*, "
        r"one of .*lo",
    ):
        own_address()


def test_a_port_is_free_and_below_those_of_outgoing_connections():
    for _ in range(20):
        port = free_port(HERE)
        assert 20_000 <= port < 30_000
        with socket.create_server((HERE, port)):
            pass


def test_two_jobs_on_a_node_begin_with_different_ports():
    assert len({free_port(HERE) for _ in range(10)}) > 5


@pytest.fixture
def taken(monkeypatch):
    """A hundred ports that are the only ones: port -> what listens there."""
    first = next(port for port in range(20_000, 29_000, 100) if all(map(_is_free, range(port, port + 100))))
    monkeypatch.setattr(address, "PORTS", range(first, first + 100))
    servers = {port: socket.create_server((HERE, port)) for port in range(first, first + 100)}
    yield servers
    for server in servers.values():
        server.close()


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind((HERE, port))
        except OSError:
            return False
    return True


def test_a_port_at_which_something_listens_is_not_given(taken):
    port, server = list(taken.items())[37]
    server.close()
    assert {free_port(HERE) for _ in range(5)} == {port}


def test_an_error_reports_that_every_port_is_taken(taken):
    with pytest.raises(InputError, match=rf"no port from {min(taken)} to {max(taken)} is free at 127\.0\.0\.1"):
        free_port(HERE)


def test_an_address_of_another_host_has_no_free_port():
    with pytest.raises(InputError, match=r"is free at 198\.51\.100\.7; is that an address of this host\?"):
        free_port("198.51.100.7")
