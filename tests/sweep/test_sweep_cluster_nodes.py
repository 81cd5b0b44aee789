"""The nodes of a cluster: waited for, told of when they come and go, and noticed when they take the driver along."""

import socket
import threading
import time
from types import SimpleNamespace

import pytest
import ray

from ser_ray.sweep import cluster as module
from ser_ray.sweep.cluster import Cluster, NodeWatch, wait_for_nodes


@pytest.fixture
def live(monkeypatch):
    """The nodes that Ray says are there; this process is on the first."""
    nodes = {"a": "n1", "b": "n2"}
    monkeypatch.setattr(module, "_lost_process", lambda: None)
    monkeypatch.setattr(module, "_live_nodes", lambda: dict(nodes))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "a"))
    return nodes


def lost(watch):
    """Return whether the cluster is lost, as a look at it tells."""
    watch._looks.look()
    return watch._lost()


def test_nodes_that_come_and_go_are_told_in_a_line_each(live):
    said = []
    watch = NodeWatch(lambda: None, say=said.append)
    live["c"] = "n3"
    assert not lost(watch)
    assert said == []  # while the first ones are waited for
    watch.tell_changes()
    del live["b"]
    live["d"] = "n2"
    assert not lost(watch)
    assert said == ["NODE      n2 was lost: its trials go on elsewhere, from what they saved", "NODE      n2 has come"]
    assert not lost(watch)
    assert len(said) == 2


def test_a_driver_whose_own_node_is_gone_is_lost(live):
    watch = NodeWatch(lambda: None)
    del live["a"]
    assert lost(watch)


def test_a_head_that_refuses_connections_is_lost_after_a_few_looks_and_not_at_once(live):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        watch = NodeWatch(lambda: None, address)
        assert not lost(watch)
    assert [lost(watch) for _ in range(module.LOST_AFTER_LOOKS)] == [False, False, True]
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        assert not lost(watch)
    assert not lost(watch)  # it begins to count anew


def test_a_cluster_that_answers_slowly_is_not_lost(live, monkeypatch):
    def slow():
        raise ray.exceptions.RayError

    watch = NodeWatch(lambda: None)
    monkeypatch.setattr(module, "_live_nodes", slow)
    assert not lost(watch)


def test_a_cluster_that_does_not_answer_any_more_is_lost_before_ray_ends_the_process(live, monkeypatch):
    asked, answer, lost_ones = threading.Event(), threading.Event(), []

    def hang():
        asked.set()
        answer.wait()
        return dict(live)

    monkeypatch.setattr(module, "WATCH_S", 0.01)
    monkeypatch.setattr(module, "UNANSWERED_S", 0.3)
    monkeypatch.setattr(module, "_live_nodes", hang)
    noticed = threading.Event()
    with NodeWatch(lambda: (lost_ones.append(time.monotonic()), noticed.set())):
        assert asked.wait(20)
        began = time.monotonic()
        assert noticed.wait(20)
        assert lost_ones[0] - began > 0.2
    answer.set()
    assert len(lost_ones) == 1


def test_nodes_are_waited_for_until_as_many_are_there_as_can_come(monkeypatch):
    seen, wanted = iter([1, 2, 2]), iter([4, 3, 2])
    monkeypatch.setattr(module, "WATCH_S", 0.01)
    monkeypatch.setattr(module, "present_cluster", lambda: Cluster(1, 0, ((1, 0),) * next(seen)))
    assert len(wait_for_nodes(lambda: next(wanted)).nodes) == 2
    assert list(seen) == []


def test_the_wait_ends_with_what_there_is(monkeypatch):
    monkeypatch.setattr(module, "WATCH_S", 0.01)
    monkeypatch.setattr(module, "present_cluster", lambda: Cluster(1, 0, ((1, 0),)))
    assert len(wait_for_nodes(lambda: 2, within_s=0.05).nodes) == 1


def test_what_ray_says_by_itself_goes_to_a_file(tmp_path, capsys):
    before = ray._private.worker.print_to_stdstream
    with module._words_of_ray(tmp_path / "ray.log"):
        ray._private.worker.print_to_stdstream({"lines": ["a node", "is lost"], "is_err": False}, ignore_prefix=False)
    assert (tmp_path / "ray.log").read_text() == "a node\nis lost\n"
    assert capsys.readouterr().out == ""
    assert ray._private.worker.print_to_stdstream is before
