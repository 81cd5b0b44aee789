"""Findings on the temporary folder and of shared memory."""

import errno
import socket
from pathlib import Path

import pytest

from ser_ray.doctor import temporary
from ser_ray.doctor.file_systems import FreeSpace
from ser_ray.doctor.temporary import check_shared_memory, check_temporary, findings, shared_memory_finding

SPACE = FreeSpace(60 * 10**9, 100 * 10**9, None)
DISK = "ext4"


def test_a_temporary_folder_without_problems():
    found = check_temporary(Path("/tmp"), SPACE, DISK)
    assert found.line() == "ok    temporary   /tmp, 60 GB of 100 GB free, ext4"
    assert check_temporary(Path("/tmp"), SPACE, None).text == "/tmp, 60 GB of 100 GB free"


def test_a_path_that_is_too_long_for_sockets():
    rest = len("/ser_ray_abcdefgh/ray/session_2026-11-22_20-04-05_123456_4194304/sockets/plasma_store")
    longest = "/" + (107 - rest - 1) * "x"
    assert check_temporary(Path(longest), SPACE, DISK).level == "ok"
    found = check_temporary(Path(longest + "x"), SPACE, DISK)
    assert found.level == "FAIL"
    assert f"{108 - rest} characters, but Ray's sockets allow {107 - rest}" in found.text
    assert "SER_RAY_TMP=DIR" in found.fix


def test_the_length_is_counted_in_bytes():
    assert check_temporary(Path("/" + "ä" * 15), SPACE, DISK).level == "FAIL"


def test_ray_lays_its_sockets_as_assumed():
    """Of an installed Ray: names and limit stand in its source; what cannot be found there has changed."""
    import ray._private.node

    source = Path(ray._private.node.__file__).read_text()
    assert 'f"session_{date_str}_{os.getpid()}"' in source
    assert '"%Y-%m-%d_%H-%M-%S_%f"' in source
    assert 'default_prefix="plasma_store"' in source


def test_a_shared_disk():
    found = check_temporary(Path("/home/me"), SPACE, "nfs4")
    assert (found.level, "not on this node's own disk" in found.text) == ("warn", True)


@pytest.mark.parametrize(("free", "level"), [(4_900_000_000, "warn"), (5_100_000_000, "ok")])
def test_a_disk_that_is_full_for_ray(free, level):
    assert check_temporary(Path("/tmp"), FreeSpace(free, 100 * 10**9, None), DISK).level == level


def test_a_real_folder(tmp_path):
    (found,) = findings(Path("/tmp"))
    assert found.level != "FAIL"
    (long,) = findings(tmp_path)
    assert (long.level, "Ray's sockets allow" in long.text) == ("FAIL", True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_file_system_supports_no_locks(monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(temporary.fcntl, "flock", flock)
    (found,) = findings(Path("/tmp"))
    assert (found.level, "its file system has no locks (flock)" in found.text) == ("warn", True)
    assert "SER_RAY_TMP=DIR" in found.fix


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_folder_that_is_none(tmp_path, name):
    (tmp_path / "file").write_text("")
    (found,) = findings(tmp_path / name)
    assert found.level == "FAIL"
    assert "cannot hold files and sockets" in found.text


def test_a_folder_without_sockets(tmp_path, monkeypatch):
    class NoSocket(socket.socket):
        def bind(self, path):
            assert path.endswith("/socket")
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(temporary.socket, "socket", NoSocket)
    (found,) = findings(tmp_path)
    assert (found.level, found.text) == ("FAIL", f"{tmp_path} cannot hold files and sockets: Operation not permitted")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("free", "level", "text"),
    [
        (64 * 2**20, "warn", "67 MB of /dev/shm free: Ray's object store of 210 MB"),
        (299 * 2**20, "warn", "of /dev/shm free"),
        (300 * 2**20, "ok", "of /dev/shm free"),
        (None, "warn", "/dev/shm is absent"),
    ],
)
def test_shared_memory(free, level, text):
    found = check_shared_memory(free)
    assert (found.level, text in found.text) == (level, True)


def test_shared_memory_of_this_machine():
    assert shared_memory_finding().name == "shm"
