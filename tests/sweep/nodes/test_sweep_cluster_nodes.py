"""The nodes of a cluster: waited for, told of when they come and go, and noticed when they take the driver along."""

import ray

from ser_ray.sweep.nodes import cluster as module
from ser_ray.sweep.nodes.cluster import Cluster, wait_for_nodes


def test_nodes_are_waited_for_until_as_many_are_there_as_can_come(monkeypatch):
    seen, wanted = iter([1, 2, 2]), iter([4, 3, 2])
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "present_cluster", lambda: Cluster(1, 0, ((1, 0),) * next(seen)))
    assert len(wait_for_nodes(lambda: next(wanted)).nodes) == 2
    assert list(seen) == []


def test_the_wait_ends_with_what_there_is(monkeypatch):
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "present_cluster", lambda: Cluster(1, 0, ((1, 0),)))
    assert len(wait_for_nodes(lambda: 2, within_s=0.05).nodes) == 1


def test_what_ray_says_by_itself_goes_to_a_file(tmp_path, capsys):
    before = ray._private.worker.print_to_stdstream
    with module._messages_to(tmp_path / "ray.log"):
        ray._private.worker.print_to_stdstream({"lines": ["a node", "is lost"], "is_err": False}, ignore_prefix=False)
    assert (tmp_path / "ray.log").read_text() == "a node\nis lost\n"
    assert capsys.readouterr().out == ""
    assert ray._private.worker.print_to_stdstream is before
