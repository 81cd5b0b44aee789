"""Ray's folder on a node's disk: nobody else's, short, and gone afterwards."""

import errno
import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from ser_ray.errors import InputError
from ser_ray.sweep.nodes.ray_folder import LONGEST, ray_temp_dir


@pytest.fixture
def short():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_folders_of_processes_that_are_gone_are_removed_and_others_stay(short):
    left = short / "ser_ray_left"
    left.mkdir()
    (left / ".ser_ray.lock").touch()
    foreign = short / "ser_ray_without_a_lock"
    foreign.mkdir()
    with ray_temp_dir(short) as first:
        assert not left.exists()
        assert foreign.exists()
        assert first.stat().st_mode & 0o777 == 0o700
        with ray_temp_dir(short) as second:
            assert first.exists()
            assert second != first
    assert list(short.iterdir()) == [foreign]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_where_the_file_system_knows_no_locks_it_goes_on_and_removes_nothing(short, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    left = short / "ser_ray_left"
    left.mkdir()
    (left / ".ser_ray.lock").touch()
    with ray_temp_dir(short) as first, ray_temp_dir(short) as second:
        assert first.exists()
        assert first != second
    assert list(short.iterdir()) == [left]
    with ray_temp_dir(short) as first:  # whose user knows no locks
        monkeypatch.undo()
        with ray_temp_dir(short):
            assert first.exists()


def test_it_lies_where_the_site_says(short, monkeypatch):
    monkeypatch.setenv("SER_RAY_TMP", str(short))
    with ray_temp_dir() as folder:
        assert folder.parent == short


def test_the_longest_parent_still_has_room_for_a_socket(short):
    parent = short / ("x" * (LONGEST - len(str(short)) - 1))
    parent.mkdir()
    with ray_temp_dir(parent) as folder:
        session = "session_2026-11-22_20-18-13_154081_4194304"  # process ids have up to seven digits
        assert len(f"{folder}/ray/{session}/sockets/plasma_store") <= 107


def test_what_cannot_hold_it_is_named(short):
    with pytest.raises(InputError, match=f"SER_RAY_TMP is /{'x' * LONGEST}, but .* at most {LONGEST} bytes"):
        ray_temp_dir(Path("/" + "x" * LONGEST)).__enter__()
    with pytest.raises(InputError, match="no folder can be created in /tmp/none"):
        ray_temp_dir(Path("/tmp/none")).__enter__()
