"""Where the nodes of a job meet: what one tells, the others read whole; it is over when a file is gone."""

import errno
import os
import shutil

import pytest

from ser_ray.sweep.nodes.rendezvous import Meeting


@pytest.fixture
def meeting(tmp_path):
    (tmp_path / "go").touch()
    return Meeting(tmp_path, 3)


def test_it_is_over_when_the_file_go_is_gone(meeting):
    assert not meeting.over
    (meeting.folder / "go").unlink()
    assert meeting.over


def test_it_is_over_when_its_folder_is_gone(meeting):
    shutil.rmtree(meeting.folder)
    assert meeting.over


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT])
def test_a_file_system_in_trouble_ends_nothing(meeting, number, monkeypatch):
    def in_trouble(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", in_trouble)
    assert not meeting.over


def test_looking_again_and_again_leaves_no_file_open(meeting):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        assert not meeting.over
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_others_read_the_address_once_it_is_told(meeting):
    other = Meeting(meeting.folder, 3)
    assert other.address() is None
    meeting.announce("10.0.0.1:20123")
    assert other.address() == "10.0.0.1:20123"
    meeting.announce("10.0.0.1:20456")
    assert other.address() == "10.0.0.1:20456"


def test_nodes_whose_steps_are_over_do_not_come_whether_they_said_so_or_not(meeting):
    assert (meeting.ended(), meeting.left) == ({}, 3)
    meeting.refuse("n1.cluster", "no GPU")
    assert meeting.left == 2
    (meeting.folder / "ended-n1").write_text("srun: error: n1: task 0: Exited with exit code 1")
    assert meeting.left == 2, "the same node, by another name"
    (meeting.folder / "ended-n2").write_text("srun: error: Unable to create step")
    assert meeting.left == 1
    assert meeting.ended()["n2"] == "srun: error: Unable to create step"


def test_nodes_that_take_no_part_stand_with_their_reasons(meeting):
    assert meeting.unfit() == {}
    meeting.announce("10.0.0.1:20123")
    meeting.refuse("node-7", "no GPU; ä")
    meeting.refuse("node-7b", "the disk is full")
    assert meeting.unfit() == {"node-7": "no GPU; ä", "node-7b": "the disk is full"}
    assert meeting.address() == "10.0.0.1:20123"


def test_a_word_is_there_whole_or_not_at_all(meeting, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        meeting.announce("10.0.0.1:20123")
    with pytest.raises(KeyboardInterrupt):
        meeting.refuse("node-7", "no GPU")
    assert meeting.address() is None
    assert meeting.unfit() == {}


def test_what_else_lies_there_is_nobodys_word(meeting):
    (meeting.folder / "ray-n1.log").write_bytes(b"\xff")
    (meeting.folder / "doctor-n1.json").write_text("{}")
    (meeting.folder / "ray-n1").mkdir()
    assert meeting.address() is None
    assert meeting.unfit() == {}


def test_a_lost_cluster_is_told_by_a_file_that_a_script_can_see(meeting):
    assert not (meeting.folder / "lost").exists()
    meeting.tell_lost()
    assert (meeting.folder / "lost").is_file()
    assert not meeting.over
