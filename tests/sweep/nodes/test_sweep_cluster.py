"""What a sweep asks of a cluster and of Tune, without starting either."""

import os
import signal
import socket
import sys
import threading
import time
import typing

import pytest
import ray

from ser_ray.errors import InputError
from ser_ray.models import conv_pool
from ser_ray.models.config import Backend
from ser_ray.sweep.nodes import cluster as module
from ser_ray.sweep.nodes.cluster import RayNotUpError, cluster


@pytest.mark.parametrize("address", ["auto", "6379", "host:", "host:abc"])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(InputError, match=rf"RAY_ADDRESS is '{address}', but it must be host:port"), cluster(address):
        pass


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (
            "The current node timed out during startup. This could happen because ...",
            RayNotUpError,
            "this machine is overloaded",
        ),
        ("The raylet ate its homework", Exception, "homework"),
    ],
)
def test_a_ray_that_does_not_start_in_time_is_said_plainly_and_nothing_else_is(monkeypatch, words, kind, said):
    def fail(**_):
        raise Exception(words)

    monkeypatch.setattr("ray.init", fail)
    with pytest.raises(Exception, match=said) as caught, cluster():
        pass
    assert type(caught.value) is kind


class SlowNode:
    """In the place of Ray's look at the node that it starts: the node is there at a given look."""

    def __init__(self, monkeypatch, there_at):
        self.looks, self.starts, self.ends, self.there_at = 0, 0, 0, there_at
        monkeypatch.setattr(ray._private.services, "get_node", self.look)
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "nodes", list)
        monkeypatch.setattr(ray, "shutdown", self.shutdown)
        monkeypatch.setattr(module, "POLL_S", 0.01)

    def look(self, address, node):
        self.looks += 1
        if self.looks < self.there_at:
            raise RuntimeError("not there")
        return {"node_id": node}

    def init(self, **_):
        """Look once, as Ray does when its half a minute is over."""
        self.starts += 1
        try:
            ray._private.services.get_node("127.0.0.1:1", "n")
        except RuntimeError:
            raise Exception("The current node timed out during startup. This could happen because ...") from None

    def shutdown(self):
        self.ends += 1


def test_a_node_manager_that_is_slow_to_start_is_waited_for(monkeypatch):
    node = SlowNode(monkeypatch, there_at=5)
    with cluster():
        pass
    assert (node.looks, node.starts) == (5, 1)
    assert ray._private.services.get_node == node.look


def test_that_of_a_node_of_a_job_is_waited_for_as_well(monkeypatch):
    node = SlowNode(monkeypatch, there_at=5)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr("ray.scripts.scripts.main", node.init)
    module.start_node(["--block"])
    assert (node.looks, node.starts) == (5, 1)
    assert sys.argv == ["ray", "start", "--block"]


def test_one_that_does_not_come_up_is_started_again(monkeypatch):
    monkeypatch.setattr(module, "START_WAITS_S", (0.0, 0.0, 30.0))
    node = SlowNode(monkeypatch, there_at=5)
    with cluster():
        pass
    assert node.starts == 3
    assert node.ends == 3  # of the two that failed, and of the cluster


def test_one_that_does_not_come_up_at_all_is_waited_for_so_long(monkeypatch):
    monkeypatch.setattr(module, "START_WAITS_S", (0.1, 0.1))
    node = SlowNode(monkeypatch, there_at=10**9)
    began = time.monotonic()
    with pytest.raises(RayNotUpError), cluster():
        pass
    assert time.monotonic() - began >= 0.2
    assert node.starts == 2


def test_a_cluster_elsewhere_whose_node_here_is_not_up_is_tried_again_and_then_named(monkeypatch):
    monkeypatch.setattr(module, "START_WAITS_S", (0.1, 0.1))
    tries = []

    def none(**options):
        tries.append(options["address"])
        reason = RuntimeError("No node info found matching attributes: '' when trying to resolve node to connect to.")
        raise ConnectionError(f"Failed to connect to Ray cluster at {options['address']}") from reason  # as Ray does

    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        monkeypatch.setattr("ray.init", none)
        monkeypatch.setattr("ray.shutdown", lambda: None)
        with (
            pytest.raises(RayNotUpError, match=f"no node of the cluster at {address} started on this host"),
            cluster(address),
        ):
            pass
    assert tries == [address] * 2


def test_asked_to_end_meanwhile_it_is_not_waited_for(monkeypatch):
    node = SlowNode(monkeypatch, there_at=10**9)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    began, before = time.monotonic(), signal.signal(signal.SIGUSR1, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), cluster():
        pass
    signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < module.START_WAITS_S[0] / 2
    assert node.starts == 1


def test_an_address_where_nothing_listens_is_refused_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=r"no Ray cluster answers there .*unset RAY_ADDRESS"), cluster(address):
            pass


def test_a_sweep_may_ask_for_every_back_end_there_is():
    assert typing.get_args(Backend) == typing.get_args(conv_pool.Backend)


def test_workers_begin_with_what_must_be_set_before_cuda_and_glibc_are_used(monkeypatch):
    started = {}
    monkeypatch.setattr("ray.init", lambda **options: started.update(options))
    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with cluster():
        environment = started["runtime_env"]["env_vars"]
    assert environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert environment["MALLOC_ARENA_MAX"] == "1"


@pytest.mark.parametrize("gpus", [0, 2])
def test_a_cluster_has_the_gpus_that_it_is_told_whatever_ray_would_count(monkeypatch, gpus):
    started = {}
    monkeypatch.setattr("ray.init", lambda **options: started.update(options))
    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with cluster(gpus=gpus):
        assert started["num_gpus"] == gpus


def test_what_ray_says_by_itself_goes_to_a_file(tmp_path, capsys):
    before = ray._private.worker.print_to_stdstream
    with module._messages_to(tmp_path / "ray.log"):
        ray._private.worker.print_to_stdstream({"lines": ["a node", "is lost"], "is_err": False}, ignore_prefix=False)
    assert (tmp_path / "ray.log").read_text() == "a node\nis lost\n"
    assert capsys.readouterr().out == ""
    assert ray._private.worker.print_to_stdstream is before
