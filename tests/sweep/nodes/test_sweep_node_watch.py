"""The watch over a cluster's nodes: who comes and goes, and when the driver's own is lost."""

import socket
import subprocess
import sys
import threading
import time

import pytest

from ser_ray.sweep.nodes import node_watch as module
from ser_ray.sweep.nodes.node_watch import NodeWatch


@pytest.fixture
def live(monkeypatch):
    """The nodes that Ray says are there; this process is on the first."""
    nodes = {"a": "n1", "b": "n2"}
    monkeypatch.setattr(module, "servers", list)
    monkeypatch.setattr(module, "live_nodes", lambda: dict(nodes))
    monkeypatch.setattr(module, "own_node", lambda: "a")
    return nodes


def lost(watch):
    """Return whether the cluster is lost, as one poll of it tells."""
    watch._ask()
    return watch._lost()


def test_nodes_that_come_and_go_are_logged_in_a_line_each(live):
    said = []
    watch = NodeWatch(lambda: None, log=said.append)
    live["c"] = "n3"
    assert not lost(watch)
    assert said == []  # while the first ones are waited for
    watch.log_changes()
    del live["b"]
    live["d"] = "n2"
    assert not lost(watch)
    assert said == [
        "NODE      n2 was lost: its trials continue on other nodes from their last checkpoints",
        "NODE      n2 joined the cluster",
    ]
    assert not lost(watch)
    assert len(said) == 2


def test_a_poll_from_before_the_last_node_came_logs_no_loss(live):
    said = []
    watch = NodeWatch(lambda: None, log=said.append)
    del live["b"]
    watch._ask()
    live["b"] = "n2"
    watch.log_changes()
    assert not watch._lost()
    assert not lost(watch)
    assert said == []


def test_a_driver_whose_own_node_is_gone_is_lost(live):
    watch = NodeWatch(lambda: None)
    del live["a"]
    assert lost(watch)


def test_a_head_that_refuses_connections_is_lost_after_a_few_refusals_and_not_at_once(live):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        watch = NodeWatch(lambda: None, address)
        assert not lost(watch)
    assert [lost(watch) for _ in range(module.LOST_AFTER_REFUSALS)] == [False, False, True]
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        assert not lost(watch)
    assert not lost(watch)  # it begins to count anew


def test_a_cluster_that_answers_slowly_is_not_lost(live, monkeypatch):
    watch = NodeWatch(lambda: None)
    monkeypatch.setattr(module, "live_nodes", lambda: None)
    assert not lost(watch)


def test_a_cluster_that_does_not_answer_any_more_is_lost_before_ray_ends_the_process(live, monkeypatch):
    asked, answer, lost_ones = threading.Event(), threading.Event(), []

    def hang():
        asked.set()
        answer.wait()
        return dict(live)

    monkeypatch.setattr(module, "WATCH_S", 0.01)
    monkeypatch.setattr(module, "UNANSWERED_S", 0.3)
    monkeypatch.setattr(module, "live_nodes", hang)
    noticed = threading.Event()
    with NodeWatch(lambda: (lost_ones.append(time.monotonic()), noticed.set())):
        assert asked.wait(20)
        began = time.monotonic()
        assert noticed.wait(20)
        assert lost_ones[0] - began > 0.2
    answer.set()
    assert len(lost_ones) == 1


def test_a_server_that_ended_is_a_lost_cluster(monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        monkeypatch.setattr(module, "servers", lambda: [server])
        monkeypatch.setattr(module, "WATCH_S", 0.01)
        noticed = threading.Event()
        with NodeWatch(noticed.set):
            assert not noticed.wait(0.2)
            server.kill()
            assert noticed.wait(20)
