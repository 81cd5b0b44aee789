import io
import os
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from ser_ray.errors import InputError
from ser_ray.report.progress import counts_line, failure_line, read_progress
from ser_ray.report.status import main, print_status
from ser_ray.report.terminal import format_age
from ser_ray.results import DriverStatus, read_table, write_driver

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_every_trial_is_counted_once(sweep):
    progress = read_progress(sweep.folder)
    assert progress.counts == {"finished": 10, "stopped": 1, "failed": 1}
    assert progress.failed == ((sweep.keys["failed"][0], "RuntimeError: <b>out of [memory]</b>"),)
    assert progress.unsearched == ("aaaaaaaaaaaa",)
    assert [trial.key for trial in progress.under_way] == ["bbbbbbbbbbbb", "cccccccccccc"]
    assert counts_line(progress) == (
        "trials: 10 finished, 1 stopped early, 1 failed, 1 trained but not searched yet, 2 under way"
    )


def test_under_way_has_epoch_best_and_last_sign(sweep):
    first, second = read_progress(sweep.folder).under_way
    epochs = read_table(sweep.folder, "epochs", keys=["bbbbbbbbbbbb"]).to_pylist()
    assert first.epoch == 7
    assert first.best_devel == max(row["ccc_devel_mean"] for row in epochs)
    assert first.last_sign == NOW - timedelta(minutes=3)
    assert (second.epoch, second.best_devel) == (None, None)
    assert datetime.now(UTC) - second.last_sign < timedelta(minutes=5)


def test_best_devel_of_one_target(new_sweep):
    made = new_sweep()
    made.write(
        "epochs", "k", [{"key": "k", "epoch": e, "ccc_devel_valence": v} for e, v in ((1, 0.4), (2, 0.2), (3, None))]
    )
    (trial,) = read_progress(made.folder).under_way
    assert (trial.epoch, trial.best_devel, trial.last_sign) == (3, 0.4, None)


def printed(sweep, *, width=160, now=NOW, **options):
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False, highlight=False)
    print_status(console, sweep.folder, read_progress(sweep.folder, now), now, **options)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def say(sweep, **changes):
    """Leave a driver's word that began two hours ago and was there four seconds ago."""
    told = {
        "host": "node1",
        "pid": 4711,
        "job_id": "88",
        "started_at": NOW - timedelta(hours=2),
        "seen_at": NOW - timedelta(seconds=4),
        "ended": None,
        "planned": 20,
        "standing": 12,
        "epochs_to_do": 300,
        "epochs_done": 100,
        "ends_at": NOW + timedelta(hours=2, minutes=10),
        "share": "1/1",
    }
    driver = DriverStatus(**(told | changes))
    os.utime(write_driver(sweep.folder, driver), (driver.seen_at.timestamp(),) * 2)


def sign(sweep, key, moment):
    """Let a trial's log be last written at a moment."""
    os.utime(sweep.folder.log(key), (moment.timestamp(), moment.timestamp()))


def test_status_is_printed(sweep):
    lines = printed(sweep)
    best = max(r["ccc_devel_mean"] for r in read_table(sweep.folder, "epochs", keys=["bbbbbbbbbbbb"]).to_pylist())
    row = next(line for line in lines if line.startswith("bbbbbbbbbbbb"))
    assert row.split() == ["bbbbbbbbbbbb", "7", f"{best:.3f}", "3", "min", "ago"]
    assert f"  {sweep.keys['failed'][0]}  RuntimeError: <b>out of [memory]</b>" in lines
    assert "not searched yet: aaaaaaaaaaaa" in lines
    assert "  run the sweep again to search them" in lines


def test_what_runs_is_printed_first_with_its_end(sweep):
    say(sweep)
    lines = printed(sweep)
    assert lines[1].startswith("running: node1, pid 4711, job 88, since ")
    assert lines[1].endswith("last sign 4 s ago")
    end = (NOW + timedelta(hours=2, minutes=10)).astimezone()
    assert lines[2].startswith("  12 of 20 planned trials done, 8 left (300 epochs to train); ends about ")
    assert lines[2].endswith(f"{end:%H:%M} (in 2 h 10 min)")


def test_trials_of_a_driver_that_is_gone_are_interrupted(sweep):
    sign(sweep, "cccccccccccc", NOW - timedelta(minutes=20))
    say(sweep, seen_at=NOW - timedelta(minutes=12))
    progress = read_progress(sweep.folder, NOW)
    assert progress.under_way == ()
    assert [trial.key for trial in progress.interrupted] == ["bbbbbbbbbbbb", "cccccccccccc"]
    assert counts_line(progress).endswith("1 trained but not searched yet, 2 interrupted")
    text = "\n".join(printed(sweep))
    assert "no sign of it for 12 min: it ended unexpectedly; run the sweep again to continue" in text
    assert "under way" not in text
    assert "interrupted  " in text
    assert not progress.empty


def test_a_trial_of_before_the_driver_that_runs_is_interrupted_until_its_turn(sweep):
    sign(sweep, "cccccccccccc", NOW - timedelta(minutes=20))
    say(sweep, started_at=NOW - timedelta(minutes=10))
    progress = read_progress(sweep.folder, NOW)
    assert [trial.key for trial in progress.under_way] == ["bbbbbbbbbbbb"]
    assert [trial.key for trial in progress.interrupted] == ["cccccccccccc"]
    sign(sweep, "cccccccccccc", NOW - timedelta(minutes=1))
    assert [trial.key for trial in read_progress(sweep.folder, NOW).interrupted] == []


def test_what_ran_before_the_other_drivers_that_run_may_be_theirs(sweep):
    sign(sweep, "cccccccccccc", NOW - timedelta(minutes=20))
    say(sweep, pid=1, share="1/2", started_at=NOW - timedelta(minutes=30))
    say(sweep, pid=2, share="2/2", started_at=NOW - timedelta(minutes=1))
    assert len(read_progress(sweep.folder, NOW).under_way) == 2


def test_the_last_sign_is_the_later_of_epoch_and_log(sweep):
    sweep.write_log("bbbbbbbbbbbb", "epoch 8\n")
    sign(sweep, "bbbbbbbbbbbb", NOW - timedelta(minutes=1))
    assert read_progress(sweep.folder, NOW).under_way[0].last_sign == NOW - timedelta(minutes=1)
    sign(sweep, "bbbbbbbbbbbb", NOW - timedelta(minutes=50))
    assert read_progress(sweep.folder, NOW).under_way[0].last_sign == NOW - timedelta(minutes=3)


def test_a_failed_trial_shows_the_end_of_its_log(sweep):
    key = sweep.keys["failed"][0]
    sweep.write_log(key, "".join(f"line {number} [red]\n" for number in range(1, 9)) + "x" * 300)
    lines = printed(sweep, width=80)
    at = lines.index(f"  {key}  RuntimeError: <b>out of [memory]</b>")
    assert lines[at + 1 : at + 5] == [f"      line {number} [red]" for number in (5, 6, 7, 8)]
    assert lines[at + 5] == "      " + "x" * 300, "a long line is not broken"
    assert lines[at + 6] == f"  ser-ray logs {sweep.folder.path} {key}   shows the whole log"


def test_of_many_failed_trials_the_first_have_logs_and_the_first_twenty_are_named(new_sweep):
    made = new_sweep()
    keys = [f"{number:012x}" for number in range(30)]
    for key in keys:
        made.write("trials", key, [made.row(key, made.config(), "failed", error=f"error of {key}")])
        if key != keys[1]:
            made.write_log(key, f"end of {key}\n")
    lines = printed(made)
    assert [line for line in lines if "end of" in line] == [f"      end of {keys[n]}" for n in (0, 2)]
    assert sum("error of" in line for line in lines) == 20
    assert f"  and 10 more: ser-ray status {made.folder.path} --all   shows them" in lines
    assert sum("error of" in line for line in printed(made, all_failed=True)) == 30


def test_the_command_names_them_all_if_asked(new_sweep, capsys):
    made = new_sweep()
    for number in range(21):
        made.write("trials", f"{number:012x}", [made.row(f"{number:012x}", made.config(), "failed")])
    assert main([str(made.folder.path)]) == 0
    assert "and 1 more" in capsys.readouterr().out
    assert main([str(made.folder.path), "--all"]) == 0
    assert capsys.readouterr().out.count("no reason recorded") == 21


def test_nothing_there_yet(new_sweep, capsys):
    assert main([str(new_sweep().folder.path)]) == 0
    assert "no trials yet" in capsys.readouterr().out


def test_no_sweep(tmp_path):
    with pytest.raises(InputError, match="is not a sweep's folder"):
        main([str(tmp_path)])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (None, "no reason recorded"),
        ("\n", "no reason recorded"),
        ("ValueError: a\nmore", "ValueError: a"),
        ("Traceback (most recent call last):\n  File x\nOSError: disk full\n", "OSError: disk full"),
    ],
)
def test_reason_in_one_line(error, line):
    assert failure_line(error) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3900, "1 h 05 min"), (100_000, "1 d 3 h")],
)
def test_ages(seconds, text):
    assert format_age(timedelta(seconds=seconds)) == text
