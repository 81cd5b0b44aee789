"""Findings on the folder for results, and how it is tried; nothing stays in it."""

import errno
import os
import time
from pathlib import Path

import pytest

from ser_ray.doctor import results
from ser_ray.doctor.file_systems import FreeSpace
from ser_ray.doctor.results import (
    WriteSpeed,
    check_clock,
    check_error,
    check_space,
    check_speed,
    clock_ahead,
    findings,
    measure_writing,
)
from ser_ray.results.drivers import LOST_AFTER

FOLDER = Path("/r")
FAST = WriteSpeed(500e6, 1000.0, 0.0)


def error(code):
    return OSError(code, os.strerror(code), "/r/x")


@pytest.mark.parametrize(
    ("code", "fix"), [(errno.EACCES, "--results DIR"), (errno.EROFS, "--results DIR"), (errno.EDQUOT, "quota")]
)
def test_a_folder_that_cannot_be_written(code, fix):
    found = check_error(FOLDER, FOLDER, error(code))
    assert (found.level, found.text) == ("FAIL", f"/r cannot be written: {os.strerror(code)}")
    assert found.fix.startswith(fix) or "quota" in found.fix.split(", or")[0]
    within = check_error(Path("/r/a/b"), FOLDER, error(code))
    assert within.text == f"/r/a/b cannot be written (in /r): {os.strerror(code)}"


@pytest.mark.parametrize(
    ("speed", "kind", "nodes", "level", "text"),
    [
        (FAST, "nfs4", 2, "ok", "/r can be written: 500 MB/s, 1,000 small files/s, nfs4"),
        (FAST, "ext4", 1, "ok", "/r can be written: 500 MB/s, 1,000 small files/s, ext4"),
        (FAST, "fuse.unknown", 2, "ok", "1,000 small files/s, fuse.unknown"),
        (FAST, "ext4", 2, "warn", "other nodes may not see it"),
        (FAST, "tmpfs", 1, "warn", "in this node's memory"),
        (WriteSpeed(9e6, 1000.0, 0.0), "nfs4", 1, "warn", "9.0 MB/s, 1,000 small files/s, nfs4: trials will be slowed"),
        (WriteSpeed(500e6, 9.0, 0.0), "nfs4", 1, "warn", "9 small files/s, nfs4: trials will be slowed"),
        (WriteSpeed(None, 1000.0, 0.0), "nfs4", 1, "ok", "/r can be written: 1,000 small files/s, nfs4"),
    ],
)
def test_a_folder_that_can_be_written(speed, kind, nodes, level, text):
    found = check_speed(FOLDER, speed, kind, nodes)
    assert found.level == level
    assert text in found.text
    assert (level == "ok") == (not found.fix)


def test_a_folder_on_an_unknown_file_system():
    assert check_speed(FOLDER, FAST, None, 2).text == "/r can be written: 500 MB/s, 1,000 small files/s"


@pytest.mark.parametrize(
    ("free", "level", "text"),
    [
        (FreeSpace(6 * 10**9, 10**12, 10**6), "ok", "6.0 GB of 1.0 TB free, 1,000,000 more files"),
        (FreeSpace(6 * 10**9, 10**12, None), "ok", "6.0 GB of 1.0 TB free"),
        (FreeSpace(4 * 10**9, 10**12, None), "warn", "4.0 GB of 1.0 TB free: 100 trials take up to 5.0 GB"),
        (FreeSpace(6 * 10**9, 10**12, 9999), "warn", "9,999 more files: a trial writes about ten"),
    ],
)
def test_space(free, level, text):
    found = check_space(free)
    assert found.level == level
    assert found.text == text if level == "ok" else found.text.endswith(text)


@pytest.mark.parametrize(
    ("ahead", "level", "text"),
    [
        (0.02, "ok", "within 0.1 s"),
        (-4.9, "ok", "within 4.9 s"),
        (40.0, "warn", "40 s behind"),
        (-40.0, "warn", "40 s ahead of"),
    ],
)
def test_clocks(ahead, level, text):
    found = check_clock(ahead)
    assert found.level == level
    assert text in found.text


def test_clocks_that_pass_are_no_danger_to_drivers():
    assert LOST_AFTER.total_seconds() / 2 > 2 * results.CLOCK_S


def test_a_real_folder(tmp_path):
    found = list(findings(tmp_path / "results" / "x", 1))
    assert [finding.name for finding in found] == ["results", "room", "clock"]
    assert "FAIL" not in {finding.level for finding in found}
    assert list(tmp_path.iterdir()) == []


def test_a_real_file_in_the_way(tmp_path):
    (tmp_path / "results").write_text("")
    (found,) = findings(tmp_path / "results" / "x", 1)
    assert found.level == "FAIL"
    assert found.text == f"{tmp_path}/results/x cannot be written (in {tmp_path}/results): Not a directory"


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_that_is_there_and_one_that_is_not(tmp_path):
    for folder in (tmp_path, tmp_path / "results" / "overlap"):
        speed = measure_writing(folder)
        assert speed.bytes_per_s > 0
        assert speed.files_per_s > 0
        assert abs(speed.clock_s) < 1
        assert contents(tmp_path) == []


def test_size_and_number_of_written_files(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync

    def count(descriptor):
        sync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(results.os, "fsync", count)
    measure_writing(tmp_path)
    assert synced == [results.SMALL_BYTES] * results.SMALL_FILES + [results.LARGE_BYTES] * results.LARGE_FILES


def test_a_slow_folder_is_not_tried_for_long(tmp_path, monkeypatch):
    now = [0.0]

    class Clock:
        time = staticmethod(time.time)

        @staticmethod
        def monotonic():
            now[0] += 3.0
            return now[0]

    monkeypatch.setattr(results, "time", Clock)
    speed = measure_writing(tmp_path)
    assert speed.files_per_s < 1
    assert now[0] < 60


def test_speed_is_bytes_by_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_files_per_s", lambda _, content, count, __: {50: 7.0, 4: 0.5}[count])
    monkeypatch.setattr(results, "clock_ahead", lambda _: 0.0)
    speed = measure_writing(tmp_path)
    assert (speed.bytes_per_s, speed.files_per_s) == (0.5 * 16 * 2**20, 7.0)


@pytest.mark.parametrize(("free", "count"), [(2**20, 0), (70 * 2**20, 1), (10**12, 4)])
def test_less_is_written_where_space_is_short(tmp_path, monkeypatch, free, count):
    monkeypatch.setattr(results, "space", lambda _: FreeSpace(free, 10**12, None))
    counts = []
    rate = results._files_per_s
    monkeypatch.setattr(results, "_files_per_s", lambda *given: counts.append(given[2]) or rate(*given))
    speed = measure_writing(tmp_path)
    assert counts == ([50, count] if count else [50])
    assert (speed.bytes_per_s is None) == (count == 0)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(NotADirectoryError):
        measure_writing(tmp_path / "results" / "overlap")


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "results").symlink_to(tmp_path / "none")
    with pytest.raises(NotADirectoryError):
        measure_writing(tmp_path / "results")


def test_nothing_stays_after_an_error(tmp_path, monkeypatch):
    def full(_):
        assert contents(tmp_path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        measure_writing(tmp_path)
    assert contents(tmp_path) == []


def test_a_folder_that_gives_back_something_else(tmp_path, monkeypatch):
    monkeypatch.setattr(results.Path, "read_bytes", lambda _: b"other")
    with pytest.raises(OSError, match="the data read back"):
        measure_writing(tmp_path)
    assert contents(tmp_path) == []


@pytest.mark.parametrize("ahead", [-100.0, 0.0, 100.0])
def test_a_clock_that_is_ahead(tmp_path, monkeypatch, ahead):
    class Clock:
        @staticmethod
        def time():
            return time.time() - ahead

    monkeypatch.setattr(results, "time", Clock)
    (tmp_path / "x").write_text("")
    os.utime(tmp_path / "x", (1, 1))
    assert clock_ahead(tmp_path / "x") == pytest.approx(ahead, abs=2)
