"""What the driver of a job with several nodes waits for."""

import threading

import pytest

from ser_ray import provenance
from ser_ray.errors import InputError
from ser_ray.sweep.nodes import node_watch as module
from ser_ray.sweep.nodes.cluster import Cluster
from ser_ray.sweep.nodes.node_watch import cluster_address, joined_nodes
from ser_ray.sweep.nodes.rendezvous import Rendezvous
from ser_ray.sweep.nodes.stop import StopRequest


def machines(*nodes):
    return Cluster(sum(c for c, _ in nodes), sum(g for _, g in nodes), tuple(nodes))


@pytest.fixture
def rendezvous(tmp_path):
    """Of a job of three nodes."""
    return Rendezvous(tmp_path, 3)


@pytest.fixture
def stop(tmp_path):
    return StopRequest(tmp_path / "stop" / "go")


def test_the_cluster_is_where_the_head_of_the_job_publishes(rendezvous, stop, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    monkeypatch.setattr(module, "POLL_S", 0.01)
    threading.Timer(0.1, lambda: rendezvous.publish_address("10.0.0.1:20001")).start()
    assert cluster_address(rendezvous, stop) == "10.0.0.1:20001"


def test_a_job_of_one_node_starts_its_own(tmp_path, stop, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cluster_address(Rendezvous(tmp_path, 1), stop) is None


def test_where_no_node_is_fit_the_reasons_are_told(rendezvous, stop):
    for number in range(3):
        rendezvous.report_unfit(f"n{number}", f"reason {number}")
    with pytest.raises(
        InputError, match=r"the head node .* on the 3 nodes of this job\n  n0: reason 0\n  n1: reason 1"
    ):
        cluster_address(rendezvous, stop)


def test_where_all_steps_are_over_sruns_words_are_told_at_once(rendezvous, stop):
    for number in range(3):
        (rendezvous.folder / f"ended-n{number}").write_text("srun: error: Unable to create step for job 7")
    with pytest.raises(
        InputError, match=r"all job steps ended .* on the 3 nodes of this job\n  n0: srun: error: Unable"
    ):
        cluster_address(rendezvous, stop)


def test_what_a_node_says_itself_is_told_rather_than_that_its_step_is_over(rendezvous, stop):
    for number in range(3):
        (rendezvous.folder / f"ended-n{number}").write_text("srun: error: task 0: Exited with exit code 1")
        rendezvous.report_unfit(f"n{number}.cluster", "no disk")
    with pytest.raises(
        InputError, match=r"the head node .* on the 3 nodes of this job\n  n0.cluster: no disk\n  n1"
    ) as raised:
        cluster_address(rendezvous, stop)
    assert "srun" not in str(raised.value)


def test_without_the_first_node_the_others_are_not_waited_for(rendezvous, stop):
    rendezvous.report_unfit(provenance.host_name(), "no disk")
    with pytest.raises(InputError, match=r"the head node .* on the 3 nodes of this job\n  .*: no disk$"):
        cluster_address(rendezvous, stop)


def test_a_head_is_not_waited_for_for_ever_nor_by_a_run_that_is_to_end(rendezvous, stop, monkeypatch):
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "HEAD_S", 0.05)
    with pytest.raises(InputError, match=r"the head node of the Ray cluster did not start on the 3 nodes of this job$"):
        cluster_address(rendezvous, stop)
    stop.request("asked to end")
    assert cluster_address(rendezvous, stop) is None


@pytest.fixture
def present(monkeypatch):
    """Returns what has the cluster show these numbers of nodes, one after the other."""
    monkeypatch.setattr(module, "POLL_S", 0.01)

    def show(*numbers):
        seen = iter(numbers)
        monkeypatch.setattr(module, "present_cluster", lambda: machines(*[(4, 0)] * next(seen)))
        return seen

    return show


def test_nodes_are_waited_for_until_as_many_are_there_as_can_come(rendezvous, stop, present):
    seen, lines = present(1, 2, 3, 3), []
    assert joined_nodes(rendezvous, machines((4, 0)), stop, lines.append) == machines((4, 0), (4, 0), (4, 0))
    assert (list(seen), lines) == ([3], [])


def test_a_run_goes_on_with_fewer_nodes_and_says_which_and_why(rendezvous, stop, present):
    rendezvous.report_unfit("n3", "no disk")
    seen, lines = present(1, 2, 2), []
    assert joined_nodes(rendezvous, machines((4, 0)), stop, lines.append) == machines((4, 0), (4, 0))
    assert list(seen) == [2], "a third node is not waited for"
    assert lines == ["NODE      n3 is not used: no disk", "NODE      continuing with 2 of 3 nodes"]


def test_the_wait_ends_with_what_there_is(rendezvous, stop, present, monkeypatch):
    monkeypatch.setattr(module, "NODES_S", 0.05)
    present(*[1] * 1000)
    assert joined_nodes(rendezvous, machines((4, 0)), stop, print) == machines((4, 0))
    monkeypatch.setattr(module, "NODES_S", 600.0)
    stop.request("asked to end")
    assert joined_nodes(rendezvous, machines((4, 0)), stop, print) == machines((4, 0))
