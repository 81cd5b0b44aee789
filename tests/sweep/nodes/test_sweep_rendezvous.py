"""The rendezvous of a job's nodes: what one reports, the others read whole; it is closed when a file is gone."""

import errno
import os
import shutil

import pytest

from ser_ray.sweep.nodes.rendezvous import Rendezvous


@pytest.fixture
def rendezvous(tmp_path):
    (tmp_path / "go").touch()
    return Rendezvous(tmp_path, 3)


def test_it_is_closed_when_the_file_go_is_gone(rendezvous):
    assert not rendezvous.closed
    (rendezvous.folder / "go").unlink()
    assert rendezvous.closed


def test_it_is_closed_when_its_folder_is_gone(rendezvous):
    shutil.rmtree(rendezvous.folder)
    assert rendezvous.closed


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT])
def test_a_file_system_in_trouble_ends_nothing(rendezvous, number, monkeypatch):
    def in_trouble(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", in_trouble)
    assert not rendezvous.closed


def test_checking_again_and_again_leaves_no_file_open(rendezvous):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        assert not rendezvous.closed
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_others_read_the_address_once_it_is_published(rendezvous):
    other = Rendezvous(rendezvous.folder, 3)
    assert other.address() is None
    rendezvous.publish_address("10.0.0.1:20123")
    assert other.address() == "10.0.0.1:20123"
    rendezvous.publish_address("10.0.0.1:20456")
    assert other.address() == "10.0.0.1:20456"


def test_nodes_whose_steps_are_over_do_not_come_whether_they_reported_it_or_not(rendezvous):
    assert (rendezvous.ended(), rendezvous.expected) == ({}, 3)
    rendezvous.report_unfit("n1.cluster", "no GPU")
    assert rendezvous.expected == 2
    (rendezvous.folder / "ended-n1").write_text("srun: error: n1: task 0: Exited with exit code 1")
    assert rendezvous.expected == 2, "the same node, by another name"
    (rendezvous.folder / "ended-n2").write_text("srun: error: Unable to create step")
    assert rendezvous.expected == 1
    assert rendezvous.ended()["n2"] == "srun: error: Unable to create step"


def test_nodes_that_take_no_part_stand_with_their_reasons(rendezvous):
    assert rendezvous.unfit() == {}
    rendezvous.publish_address("10.0.0.1:20123")
    rendezvous.report_unfit("node-7", "no GPU; ä")
    rendezvous.report_unfit("node-7b", "the disk is full")
    assert rendezvous.unfit() == {"node-7": "no GPU; ä", "node-7b": "the disk is full"}
    assert rendezvous.address() == "10.0.0.1:20123"


def test_a_message_is_there_whole_or_not_at_all(rendezvous, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        rendezvous.publish_address("10.0.0.1:20123")
    with pytest.raises(KeyboardInterrupt):
        rendezvous.report_unfit("node-7", "no GPU")
    assert rendezvous.address() is None
    assert rendezvous.unfit() == {}


def test_what_else_lies_there_is_no_message(rendezvous):
    (rendezvous.folder / "ray-n1.log").write_bytes(b"\xff")
    (rendezvous.folder / "doctor-n1.json").write_text("{}")
    (rendezvous.folder / "ray-n1").mkdir()
    assert rendezvous.address() is None
    assert rendezvous.unfit() == {}


def test_a_lost_cluster_is_reported_by_a_file_that_a_script_can_see(rendezvous):
    assert not (rendezvous.folder / "lost").exists()
    rendezvous.report_lost()
    assert (rendezvous.folder / "lost").is_file()
    assert not rendezvous.closed
