import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from ser_ray.errors import InputError
from ser_ray.report.status import format_age, main, one_line, print_status, read_progress, summary
from ser_ray.results import read_table

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_every_trial_is_counted_once(sweep):
    progress = read_progress(sweep.folder)
    assert progress.counts == {"finished": 10, "stopped": 1, "failed": 1}
    assert progress.failed == ((sweep.keys["failed"][0], "RuntimeError: <b>out of [memory]</b>"),)
    assert progress.unsearched == ("aaaaaaaaaaaa",)
    assert [trial.key for trial in progress.under_way] == ["bbbbbbbbbbbb", "cccccccccccc"]
    assert summary(progress) == (
        "trials: 10 finished, 1 stopped early, 1 failed, 1 trained but not searched yet, 2 under way"
    )


def test_under_way_says_epoch_best_and_last_sign(sweep):
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


def test_status_is_printed(sweep):
    file = io.StringIO()
    console = Console(file=file, width=160, markup=False, highlight=False)
    print_status(console, sweep.folder, read_progress(sweep.folder), NOW)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    best = max(r["ccc_devel_mean"] for r in read_table(sweep.folder, "epochs", keys=["bbbbbbbbbbbb"]).to_pylist())
    row = next(line for line in lines if line.startswith("bbbbbbbbbbbb"))
    assert row.split() == ["bbbbbbbbbbbb", "7", f"{best:.3f}", "3", "min", "ago"]
    assert f"  {sweep.keys['failed'][0]}  RuntimeError: <b>out of [memory]</b>" in lines
    assert "not searched yet: aaaaaaaaaaaa" in lines
    assert any(line.strip().startswith(f"ser-ray postprocess {sweep.folder.path}") for line in lines)


def test_nothing_there_yet(new_sweep, capsys):
    assert main([str(new_sweep().folder.path)]) == 0
    assert "no trial has left anything yet" in capsys.readouterr().out


def test_no_sweep(tmp_path):
    with pytest.raises(InputError, match="holds no sweep"):
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
    assert one_line(error) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3900, "1 h 05 min"), (100_000, "1 d 3 h")],
)
def test_ages(seconds, text):
    assert format_age(timedelta(seconds=seconds)) == text
