"""Copies on a node's own disk have a bound, make room for each other, and are nobody else's."""

import errno
import os
import stat
import types

import pytest
from staging_cases import (
    assert_equal,
    child,
    children,
    copy_of,
    files,
    finished,
    lines_until,
    place,
    size_of,
    write,
)

from ser_ray.corpus.store import local_copy as staging
from ser_ray.corpus.store import room
from ser_ray.corpus.store.local_copy import staged
from ser_ray.corpus.store.room import Lock, NoRoomError, make_room


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source")


@pytest.fixture
def disk(tmp_path):
    return tmp_path / "disk"


def test_unused_copies_make_room_the_one_used_longest_ago_first(tmp_path, disk):
    sources = [write(tmp_path / f"s{n}", seed=n, name=f"c{n}") for n in range(4)]
    for number, source in enumerate(sources[:3]):
        finished(child(source, disk))
        lock = copy_of(source, disk).with_suffix(".lock")
        os.utime(lock, (1000 + number, 1000 + number))
    finished(child(sources[0], disk))  # now c1 is the oldest
    user = child(sources[2], disk)
    with children(user):
        lines_until(user, "AT ")
        os.utime(copy_of(sources[2], disk).with_suffix(".lock"), (1, 1))  # older still, but in use
        said = []
        limit = 3 * size_of(sources[0]) + 1000
        assert staged(sources[3], disk, limit, said.append) == copy_of(sources[3], disk)
        assert said[0].startswith(
            f"removed the copy of corpus {copy_of(sources[1], disk).name} from {place(disk)}: nobody"
        )
    there = {path.name for path in place(disk).iterdir() if path.is_dir()}
    assert there == {copy_of(sources[n], disk).name for n in (0, 2, 3)}
    assert_equal(sources[2], copy_of(sources[2], disk))


def test_where_used_copies_leave_no_room_the_corpus_is_read_where_it_lies(tmp_path, disk):
    used, unused, source = (write(tmp_path / f"s{n}", seed=n, name=f"c{n}") for n in range(3))
    finished(child(unused, disk))
    user = child(used, disk)
    with children(user):
        lines_until(user, "AT ")
        said = []
        assert staged(source, disk, size_of(source) + 1000, said.append) == source
        (line,) = said
        assert line.startswith("corpus c2 is not staged: it takes 0.000")
        assert "GB, but staging is bounded to 0.000" in line
        assert ", of which copies in use take 0.000" in line
        assert line.endswith(f"it is read from {source}")
        # what would not have helped is still there
        assert_equal(unused, copy_of(unused, disk))
        assert not copy_of(source, disk).exists()
    assert staged(source, disk, size_of(source) + 1000, print) == copy_of(source, disk)
    assert not copy_of(used, disk).exists()


def test_a_corpus_beyond_the_bound_is_not_copied(source, disk):
    said = []
    assert staged(source, disk, 1000, said.append) == source
    (line,) = said
    assert line.startswith("corpus c is not staged: it takes 0.000")
    assert line.endswith(f" GB, but staging is bounded to 1e-06 GB; it is read from {source}")
    assert not copy_of(source, disk).exists()


def test_a_disk_without_room_is_left_alone(source, disk, monkeypatch):
    free = types.SimpleNamespace(free=room.RESERVE_BYTES + size_of(source) - 1)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: free)
    said = []
    assert staged(source, disk, None, said.append) == source
    assert len(said) == 1
    assert f"but {place(disk)} has " in said[0]
    assert " GB to spare; it is read from " in said[0]
    free.free += 1
    assert staged(source, disk, None, said.append) == copy_of(source, disk)


def test_a_disk_that_fills_up_is_given_back_what_was_written(source, disk):
    half = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"
    said = finished(child(source, disk, before=half)).splitlines()
    assert said[-2:] == [
        f"corpus c is not staged: File too large ({disk}); it is read from {source}",
        f"AT {source}",
    ]
    assert not copy_of(source, disk).exists()
    assert_equal(source, staged(source, disk, None, print))


def test_bytes_that_do_not_reach_the_disk_are_not_taken_for_written(source, disk, monkeypatch):
    def fsync(file):
        if stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(staging.os, "fsync", fsync)
        said = []
        assert staged(source, disk, None, said.append) == source
        assert f"is not staged: Input/output error ({disk}); it is read from {source}" in said[-1]
    assert not copy_of(source, disk).exists()


def test_a_folder_that_cannot_be_made_is_no_reason_to_end(source, tmp_path):
    (tmp_path / "file").touch()
    said = []
    assert staged(source, tmp_path / "file", None, said.append) == source
    assert f"is not staged: Not a directory ({tmp_path / 'file'})" in said[0]


@pytest.mark.parametrize("how", ["open to others", "a link"])
def test_a_place_that_others_could_have_prepared_is_not_used(source, disk, tmp_path, how):
    disk.mkdir()
    if how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place(disk).symlink_to(tmp_path / "elsewhere")
    else:
        place(disk).mkdir()
        place(disk).chmod(0o755)
    said = []
    assert staged(source, disk, None, said.append) == source
    assert f"{place(disk)} is not a folder of this user's alone (chmod 700, or remove it)" in said[0]
    assert files(disk) == []


def test_what_others_are_still_to_write_is_counted(tmp_path, monkeypatch):
    place = tmp_path
    copying, ours = Lock(place / "aa.lock"), place / "bb"
    assert copying.alone()
    copying.claim(3000)
    (place / "aa").mkdir()
    (place / "aa" / "part").write_bytes(bytes(1000))
    ours.mkdir()
    (ours / "left").write_bytes(bytes(400))
    free = types.SimpleNamespace(free=room.RESERVE_BYTES + 2000 + 600)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: free)
    assert make_room(ours, 1000, 4000) == []
    with pytest.raises(NoRoomError, match="bounded to 4e-06 GB, of which copies in use take 3e-06 GB"):
        make_room(ours, 1001, 4000)
    free.free -= 1
    with pytest.raises(NoRoomError, match="to spare"):
        make_room(ours, 1000, None)
    # once it is copied, it counts as what it is; once nobody uses it, it goes
    assert copying.together()
    assert make_room(ours, 1000, None) == []
    copying.release()
    assert make_room(ours, 1000, 1500) == ["aa"]
    assert not (place / "aa").exists()
    assert (ours / "left").exists()
    copying.close()


def test_what_is_half_removed_does_not_look_whole(source, disk, monkeypatch):
    finished(child(source, disk))
    copy = copy_of(source, disk)
    monkeypatch.setattr(room.shutil, "rmtree", lambda *path, **how: None)  # as where a process is killed meanwhile
    room.remove(copy)
    assert files(copy) == [name for name in files(source) if name != "corpus.json"]
    assert_equal(source, staged(source, disk, None, print))


def test_a_lock_is_alone_or_together(tmp_path):
    one, other = Lock(tmp_path / "x.lock"), Lock(tmp_path / "x.lock")
    assert one.claimed == (0, None)
    assert one.alone()
    assert not other.together()
    assert not other.alone()
    one.claim(123_456_789)
    one.claim(123)
    assert other.claimed == (123, os.getpid())
    assert one.together()
    assert other.together()
    assert not other.alone()  # and nothing of it is left
    assert one.alone()
    one.close()
    assert other.alone()
    other.close()
