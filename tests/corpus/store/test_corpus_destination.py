"""Where a corpus is made: links, places where none can be, and what a user is told."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from ser_ray.corpus import open_corpus
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.corpus.store.partial import check_free_bytes, disk_errors_named
from ser_ray.errors import InputError


@pytest.mark.parametrize("there", [False, True])
def test_a_link_is_followed(table_source, tmp_path, there):
    if there:
        (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    assert made.path == tmp_path / "out"
    assert (tmp_path / "out").is_symlink()
    assert len(open_corpus(tmp_path / "disk").recordings("train")) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out", "source"]


def test_up_from_a_folder_that_is_not_there(table_source, tmp_path):
    made = import_corpus("table", table_source.folder, tmp_path / "none" / ".." / "out")
    assert open_corpus(made.path).path == tmp_path / "out"


def test_below_a_file(table_source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/out cannot be created \(.*Not a directory.*\): choose another folder"):
        import_corpus("table", table_source.folder, tmp_path / "file" / "out")


def test_a_name_too_long(table_source, tmp_path):
    with pytest.raises(InputError, match=r"o+ cannot be created \(.*File name too long.*\): choose another folder"):
        import_corpus("table", table_source.folder, tmp_path / ("o" * 250))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_top_of_a_file_system(table_source, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
    with pytest.raises(InputError, match="out is a mount point, which cannot be replaced: choose a folder"):
        import_corpus("table", table_source.folder, tmp_path / "out")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG])
def test_no_place(number):
    with (
        pytest.raises(InputError, match=r"^x/out cannot be created \(.+\): choose another folder$"),
        disk_errors_named(Path("x/out")),
    ):
        raise OSError(number, os.strerror(number))


def test_other_errors_are_left_as_they_are():
    with pytest.raises(OSError, match="Input/output error"), disk_errors_named(Path("x")):
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("seconds", "free", "said"),
    [(10, 319_999, "about 0.3 MB for 2 recordings, but 0.3 MB are free"), (10**6, 10**9, "about 32.0 GB")],
)
def test_room_is_counted_with_what_is_written(tmp_path, monkeypatch, seconds, free, said):
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    out = tmp_path / "not" / "there" / "out"
    with pytest.raises(InputError, match=rf"{said}.* on the file system of {tmp_path}: choose another folder, or free"):
        check_free_bytes([seconds / 2, seconds / 2], out)
    (tmp_path / ".out.partial" / "shards").mkdir(parents=True)
    (tmp_path / ".out.partial" / "shards" / "00000.arrow").write_bytes(b"1")
    if seconds == 10:
        check_free_bytes([5, 5], tmp_path / "out")


def test_what_is_written_behind_a_link_is_counted(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (tmp_path / "disk" / ".real.partial").mkdir(parents=True)
    (tmp_path / "disk" / ".real.partial" / "written").write_bytes(bytes(32_000))
    (tmp_path / "out").symlink_to("disk/real")
    check_free_bytes([1.0], tmp_path / "out")
    with pytest.raises(InputError, match=r"needs about 0\.0 MB for 1 recordings"):
        check_free_bytes([1.001], tmp_path / "out")
