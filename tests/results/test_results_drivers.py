"""Status files of the processes that run a sweep."""

import dataclasses
import errno
import json
import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.results import DriverStatus, SweepFolder, read_drivers, write_driver
from ser_ray.results.drivers import ENDS

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def make_driver(**changes: object) -> DriverStatus:
    driver = DriverStatus(
        host="node1",
        pid=4711,
        job_id="88_3",
        started_at=NOW - timedelta(hours=1),
        seen_at=NOW,
        ended=None,
        planned=12,
        standing=5,
        epochs_to_do=300,
        epochs_done=250,
        ends_at=NOW + timedelta(hours=2),
        share="1/1",
    )
    return dataclasses.replace(driver, **changes)  # type: ignore[arg-type]


TIMES = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]))
DRIVERS = st.builds(
    DriverStatus,
    host=st.text(min_size=1, max_size=20),
    pid=st.integers(1, 2**22),
    job_id=st.none() | st.text(max_size=9),
    started_at=TIMES,
    seen_at=TIMES,
    ended=st.sampled_from([None, *ENDS]),
    planned=st.integers(0, 10**6),
    standing=st.integers(0, 10**6),
    epochs_to_do=st.integers(0, 10**6),
    epochs_done=st.integers(0, 10**6),
    ends_at=st.none() | TIMES,
    share=st.just("2/3"),
)


@given(driver=DRIVERS)
def test_a_status_file_is_read_as_it_was_written(
    driver: DriverStatus, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = SweepFolder(tmp_path_factory.mktemp("sweep"))
    path = write_driver(folder, driver)
    assert path.parent == folder.drivers, "a host's name never leads out of the folder"
    assert read_drivers(folder) == [driver]


def test_the_file_holds_the_promised_scalars_at_the_promised_place(folder: SweepFolder) -> None:
    path = write_driver(folder, make_driver(ends_at=None, job_id=None))
    assert path == folder.path / "drivers" / "node1-4711.json" == folder.driver("node1-4711")
    assert json.loads(path.read_text()) == {
        "host": "node1",
        "pid": 4711,
        "job_id": None,
        "started_at": "2026-03-01T11:00:00+00:00",
        "seen_at": "2026-03-01T12:00:00+00:00",
        "ended": None,
        "planned": 12,
        "standing": 5,
        "epochs_to_do": 300,
        "epochs_done": 250,
        "ends_at": None,
        "share": "1/1",
    }


def test_a_driver_replaces_its_own_file_and_no_other(folder: SweepFolder) -> None:
    late = make_driver(pid=1, started_at=NOW)
    write_driver(folder, late)
    write_driver(folder, make_driver())
    write_driver(folder, make_driver(standing=12, ended="done"))
    assert read_drivers(folder) == [make_driver(standing=12, ended="done"), late], "the earliest first"
    assert list(folder.tmp.iterdir()) == []


def test_no_folder_means_no_driver(folder: SweepFolder) -> None:
    assert read_drivers(folder) == []


def test_a_driver_is_lost_after_a_minute_without_a_sign() -> None:
    driver = make_driver()
    on_the_minute, later = NOW + timedelta(seconds=60), NOW + timedelta(seconds=61)
    assert driver.alive(on_the_minute)
    assert not driver.silent(on_the_minute)
    assert driver.silent(later)
    assert not driver.alive(later)
    ended = make_driver(ended="interrupted")
    assert not ended.alive(NOW)


def test_trials_left_are_planned_ones_without_a_result() -> None:
    assert make_driver().left == 7
    assert make_driver(planned=3, standing=4).left == 0


def test_a_time_without_a_zone_is_not_written(folder: SweepFolder) -> None:
    with pytest.raises(ValueError, match="seen_at"):
        write_driver(folder, make_driver(seen_at=NOW.replace(tzinfo=None)))
    assert read_drivers(folder) == []


def test_a_full_disk_leaves_the_file_as_it_was(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_driver(folder, make_driver())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_driver(folder, make_driver(standing=6))
    assert read_drivers(folder) == [make_driver()]
    assert list(folder.tmp.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"planned": "12"}, "planned is '12'"),
        ({"planned": True}, "planned is True"),
        ({"seen_at": "yesterday"}, "yesterday"),
        ({"seen_at": "2026-03-01T12:00:00"}, "time zone"),
        ({"ended": "perhaps"}, "interrupted"),
        ({"ends_at": 5}, "ends_at is 5"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(folder: SweepFolder, change: dict[str, object], said: str) -> None:
    path = write_driver(folder, make_driver())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said) as raised:
        read_drivers(folder)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00\xff"])
def test_a_file_that_is_no_driver_is_named(folder: SweepFolder, text: str) -> None:
    path = write_driver(folder, make_driver())
    path.write_text(text)
    with pytest.raises(InputError, match=r"node1-4711\.json"):
        read_drivers(folder)


def test_what_a_later_version_adds_is_passed_over(folder: SweepFolder) -> None:
    path = write_driver(folder, make_driver())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new": 1}))
    assert read_drivers(folder) == [make_driver()]


def test_a_file_that_is_being_replaced_or_goes_is_no_mistake(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_driver(folder, make_driver())
    read = Path.read_text
    answers = ['{"host": "no', None]

    def torn_then_whole(path: Path, **options: str) -> str:
        answer = answers.pop(0) if answers else None
        return read(path, **options) if answer is None else answer  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", torn_then_whole)
    assert read_drivers(folder) == [make_driver()]

    def gone(path: Path, **options: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file", str(path))

    monkeypatch.setattr(Path, "read_text", gone)
    assert read_drivers(folder) == []


def test_a_reader_never_sees_half_a_file(folder: SweepFolder) -> None:
    write_driver(folder, make_driver(standing=0))
    stop = threading.Event()

    def write() -> None:
        standing = 0
        while not stop.is_set():
            standing += 1
            write_driver(folder, make_driver(standing=standing))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [read_drivers(folder)[0].standing for _ in range(100)]
    finally:
        stop.set()
        writer.join()
    assert seen == sorted(seen)
