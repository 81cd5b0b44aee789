"""What is written to try a folder, and that nothing of it stays."""

import errno
import os
import time

import pytest

from ser_ray.doctor import writing
from ser_ray.doctor.file_systems import Room
from ser_ray.doctor.writing import clock_ahead, try_writing


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_that_is_there_and_one_that_is_not(tmp_path):
    for folder in (tmp_path, tmp_path / "results" / "overlap"):
        written = try_writing(folder)
        assert written.bytes_per_s > 0
        assert written.files_per_s > 0
        assert abs(written.clock_s) < 1
        assert contents(tmp_path) == []


def test_what_is_written_is_as_large_and_as_many_as_said(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync

    def count(descriptor):
        sync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(writing.os, "fsync", count)
    try_writing(tmp_path)
    assert synced == [writing.SMALL_BYTES] * writing.SMALL_FILES + [writing.LARGE_BYTES] * writing.LARGE_FILES


def test_a_slow_folder_is_not_tried_for_long(tmp_path, monkeypatch):
    now = [0.0]

    class Clock:
        time = staticmethod(time.time)

        @staticmethod
        def monotonic():
            now[0] += 3.0
            return now[0]

    monkeypatch.setattr(writing, "time", Clock)
    written = try_writing(tmp_path)
    assert written.files_per_s < 1
    assert now[0] < 60


def test_speed_is_bytes_by_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_rate", lambda _, content, count, __: {50: 7.0, 4: 0.5}[count])
    monkeypatch.setattr(writing, "clock_ahead", lambda _: 0.0)
    written = try_writing(tmp_path)
    assert (written.bytes_per_s, written.files_per_s) == (0.5 * 16 * 2**20, 7.0)


@pytest.mark.parametrize(("free", "count"), [(2**20, 0), (70 * 2**20, 1), (10**12, 4)])
def test_less_is_written_where_room_is_short(tmp_path, monkeypatch, free, count):
    monkeypatch.setattr(writing, "room", lambda _: Room(free, 10**12, None))
    counts = []
    rate = writing._rate
    monkeypatch.setattr(writing, "_rate", lambda *given: counts.append(given[2]) or rate(*given))
    written = try_writing(tmp_path)
    assert counts == ([50, count] if count else [50])
    assert (written.bytes_per_s is None) == (count == 0)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(NotADirectoryError):
        try_writing(tmp_path / "results" / "overlap")


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "results").symlink_to(tmp_path / "none")
    with pytest.raises(NotADirectoryError):
        try_writing(tmp_path / "results")


def test_nothing_stays_after_an_error(tmp_path, monkeypatch):
    def full(_):
        assert contents(tmp_path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        try_writing(tmp_path)
    assert contents(tmp_path) == []


def test_a_folder_that_gives_back_something_else(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.Path, "read_bytes", lambda _: b"other")
    with pytest.raises(OSError, match="what was read back"):
        try_writing(tmp_path)
    assert contents(tmp_path) == []


@pytest.mark.parametrize("ahead", [-100.0, 0.0, 100.0])
def test_a_clock_that_is_ahead(tmp_path, monkeypatch, ahead):
    class Clock:
        @staticmethod
        def time():
            return time.time() - ahead

    monkeypatch.setattr(writing, "time", Clock)
    (tmp_path / "x").write_text("")
    os.utime(tmp_path / "x", (1, 1))
    assert clock_ahead(tmp_path / "x") == pytest.approx(ahead, abs=2)
