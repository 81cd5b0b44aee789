"""What is said of the folder for results."""

import errno
import os
from pathlib import Path

import pytest

from ser_ray.doctor import results
from ser_ray.doctor.file_systems import Mount, Room
from ser_ray.doctor.results import check_clock, check_error, check_results, check_room, results_findings
from ser_ray.doctor.writing import Written
from ser_ray.results.drivers import LOST_AFTER

FOLDER = Path("/r")
FAST = Written(500e6, 1000.0, 0.0)


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
    ("written", "kind", "nodes", "level", "text"),
    [
        (FAST, "nfs4", 2, "ok", "/r can be written: 500 MB/s, 1,000 small files/s, nfs4"),
        (FAST, "ext4", 1, "ok", "/r can be written: 500 MB/s, 1,000 small files/s, ext4"),
        (FAST, "fuse.unknown", 2, "ok", "1,000 small files/s, fuse.unknown"),
        (FAST, "ext4", 2, "warn", "other nodes may not see it"),
        (FAST, "tmpfs", 1, "warn", "in this node's memory"),
        (Written(9e6, 1000.0, 0.0), "nfs4", 1, "warn", "9.0 MB/s, 1,000 small files/s, nfs4: trials will wait"),
        (Written(500e6, 9.0, 0.0), "nfs4", 1, "warn", "9 small files/s, nfs4: trials will wait"),
        (Written(None, 1000.0, 0.0), "nfs4", 1, "ok", "/r can be written: 1,000 small files/s, nfs4"),
    ],
)
def test_a_folder_that_can_be_written(written, kind, nodes, level, text):
    found = check_results(FOLDER, written, Mount("/", kind), nodes)
    assert found.level == level
    assert text in found.text
    assert (level == "ok") == (not found.fix)


def test_a_folder_on_an_unknown_file_system():
    assert check_results(FOLDER, FAST, None, 2).text == "/r can be written: 500 MB/s, 1,000 small files/s"


@pytest.mark.parametrize(
    ("there", "level", "text"),
    [
        (Room(6 * 10**9, 10**12, 10**6), "ok", "6.0 GB of 1.0 TB free, 1,000,000 more files"),
        (Room(6 * 10**9, 10**12, None), "ok", "6.0 GB of 1.0 TB free"),
        (Room(4 * 10**9, 10**12, None), "warn", "4.0 GB of 1.0 TB free: 100 trials take up to 5.0 GB"),
        (Room(6 * 10**9, 10**12, 9999), "warn", "9,999 more files: a trial leaves about ten"),
    ],
)
def test_room(there, level, text):
    found = check_room(there)
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
    found = list(results_findings(tmp_path / "results" / "x", 1))
    assert [finding.name for finding in found] == ["results", "room", "clock"]
    assert "FAIL" not in {finding.level for finding in found}
    assert list(tmp_path.iterdir()) == []


def test_a_real_file_in_the_way(tmp_path):
    (tmp_path / "results").write_text("")
    (found,) = results_findings(tmp_path / "results" / "x", 1)
    assert found.level == "FAIL"
    assert found.text == f"{tmp_path}/results/x cannot be written (in {tmp_path}/results): Not a directory"
