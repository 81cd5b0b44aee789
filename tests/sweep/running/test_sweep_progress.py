"""What a sweep tells while it runs: lines in a log, a live view in a terminal."""

import errno
import io
import os
import re
import threading
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from ser_ray.sweep.running import progress as module
from ser_ray.sweep.running.progress import Progress

LABELS = {"k1": "kernels 8-6-6 pools 10-8-8, seed 0", "k2": "kernels 3-3-3 pools 10-8-8, seed 0", "k3": "[b]x :x:"}
FIGURES = {"train_loss": 0.51, "ccc_devel_mean": 0.4, "ccc_devel_arousal": 0.5, "ccc_devel_valence": 0.3, "seconds": 7}
ROW = {"ccc_devel_mean": 0.4, "ccc_devel_exhaustive_mean": 0.45, "ccc_test_mean": None}


def figures(epoch, **others):
    return {**FIGURES, "epoch": epoch, **others}


class Terminal(io.StringIO):
    """A place that draws."""

    def isatty(self):
        return True


@pytest.fixture
def log(tmp_path):
    return tmp_path / "new" / "sweep.log"


@pytest.fixture
def begin(log, monkeypatch):
    """Begin to tell; by default of three trials of ten epochs, in a file."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def make(out, *, epochs=None, done=0, labels=LABELS):
        return Progress(labels, dict.fromkeys(labels, 10) if epochs is None else epochs, done, log, out)

    return make


def lines(out):
    return [line.split("  ", 1)[1] for line in out.getvalue().splitlines()]


def seen(progress):
    """Return the live view as text."""
    console = Console(file=io.StringIO(), width=200)
    console.print(progress._view())
    return console.file.getvalue()


def left(progress):
    return progress.pace().epochs_to_do


def test_every_event_is_one_line_with_its_count(begin):
    out = io.StringIO()
    with begin(out, epochs={"k1": 2, "k2": 2, "k3": 2}, done=0) as progress:
        progress.log("starting Ray")
        progress.started("k1")
        progress.epoch("k1", figures(1))
        progress.epoch("k1", figures(2, ccc_devel_mean=0.41))
        progress.trained("k1")
        progress.finished("k1", ROW)
        progress.started("k2")
        progress.stopped("k2")
        progress.started("k3")
        progress.failed("k3", "the training diverged [/] :x:")
    said = [re.sub(r", [0-9.]+ (s|min|h) left", "", line) for line in lines(out)]
    assert said == [
        "starting Ray",
        "start     k1  kernels 8-6-6 pools 10-8-8, seed 0",
        "epoch     k1  1/2  loss 0.510  devel CCC 0.400 (arousal 0.500, valence 0.300)  7 s",
        "epoch     k1  2/2  loss 0.510  devel CCC 0.410 (arousal 0.500, valence 0.300)  7 s",
        "done      k1  devel CCC 0.400, searched 0.450  [1/3]",
        "start     k2  kernels 3-3-3 pools 10-8-8, seed 0",
        "stopped   k2  early, by the schedule  [2/3]",
        "start     k3  [b]x :x:",
        "FAILED    k3  the training diverged [/] :x:  [3/3]",
    ]


def test_the_log_has_the_same_lines_with_the_day_and_is_appended_to(begin, log):
    first, second = io.StringIO(), io.StringIO()
    for out in (first, second):
        with begin(out) as progress:
            progress.started("k1")
            progress.epoch("k1", figures(1))
            progress.finished("k1", ROW | {"ccc_test_mean": 0.2, "ccc_test_exhaustive_mean": 0.25})
    logged = log.read_text().splitlines()
    stamp = re.compile(r"\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d)[+-]\d{4}(?=  )")  # local time, with its distance to UTC
    assert all(stamp.match(line) for line in logged)
    told = first.getvalue().splitlines() + second.getvalue().splitlines()
    assert [stamp.sub(r"\1", line) for line in logged] == told
    assert "devel CCC 0.400, searched 0.450; test 0.200, searched 0.250" in logged[-1]
    with begin(io.StringIO()) as progress:
        progress.finished("k1", ROW | {"ccc_devel_exhaustive_crossfit_mean": 0.43})
    assert "devel CCC 0.400, searched 0.450 (unseen 0.430)  [1/3]" in log.read_text().splitlines()[-1]


def test_a_long_line_is_one_line(begin, log):
    out = io.StringIO()
    with begin(out) as progress:
        progress.failed("k1", "word " * 200)
    assert len(out.getvalue().splitlines()) == len(log.read_text().splitlines()) == 1


def test_one_target_alone(begin):
    out = io.StringIO()
    single = {name: value for name, value in figures(1).items() if name != "ccc_devel_valence"}
    with begin(out) as progress:
        progress.started("k1")
        progress.epoch("k1", single)
    assert "devel CCC 0.400 (arousal 0.500)" in lines(out)[-1]


def test_counts_begin_with_what_stands(begin):
    out = io.StringIO()
    with begin(out, epochs={"k3": 10}, done=2) as progress:
        progress.started("k3")
        progress.trained("k3")
        progress.finished("k3", ROW)
    assert lines(out)[-1].endswith("[3/3]")
    with begin(Terminal(), epochs={"k3": 10}, done=2) as progress:
        assert "0 running  1 waiting  2 done" in seen(progress)
        progress.started("k3")
        assert "1 running  0 waiting  2 done" in seen(progress)


@pytest.fixture
def later(monkeypatch):
    """Returns what has some seconds pass."""
    passed = [0.0]
    monotonic = time.monotonic
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: monotonic() + passed[0]))

    def wait(seconds):
        passed[0] += seconds

    return wait


def test_the_time_left_follows_the_epochs_done(begin, later):
    with begin(io.StringIO(), epochs={"k1": 30, "k2": 10}) as progress:
        later(100)
        assert progress.pace().seconds_left is None
        progress.started("k1")
        for epoch in range(1, 11):
            progress.epoch("k1", figures(epoch))
        assert progress.pace().seconds_left == pytest.approx(300, abs=1)
        for epoch in range(11, 31):
            progress.epoch("k1", figures(epoch))
        progress.trained("k1")
        progress.started("k2")
        for epoch in range(1, 12):  # one more than was planned
            progress.epoch("k2", figures(epoch))
        assert progress.pace().seconds_left == 0


def test_no_run_ends_before_its_longest_trial_which_keeps_its_share_of_a_gpu(begin, later):
    """Four trials on one GPU end 40 epochs in 100 s; the last of them has no others' epochs to add to its own."""
    labels = {f"k{n}": f"kernels 8, seed {n}" for n in range(5)}
    with begin(io.StringIO(), epochs={"k4": 30, **dict.fromkeys(list(labels)[:4], 10)}, labels=labels) as progress:
        later(100)
        progress.started("k4")
        for epoch in range(1, 11):
            progress.epoch("k4", figures(epoch, seconds=10.0))
        for key in list(labels)[:3]:
            progress.started(key)
            for epoch in range(1, 11):
                progress.epoch(key, figures(epoch, seconds=10.0))
            progress.trained(key)
        # 10 epochs wait and 20 are under way: 75 s at the pace of all, but these 20 take 200 s at their own
        assert progress.pace().seconds_left == pytest.approx(200, abs=1)
        progress.epoch("k4", figures(30, seconds=10.0))
        assert progress.pace().seconds_left == pytest.approx(100 / 60 * 10, abs=1), "what waits, at the pace of all"


@pytest.mark.parametrize(("seconds", "text"), [(60, "60 s left"), (1200, "20 min left"), (9000, "2.5 h left")])
def test_the_time_left_is_said_in_a_fitting_unit(begin, later, seconds, text):
    out = io.StringIO()
    with begin(out, epochs={"k1": 1, "k2": 1}) as progress:
        later(seconds)
        progress.started("k1")
        progress.epoch("k1", figures(1))
        progress.finished("k1", ROW)
    assert lines(out)[-1].endswith(f"[1/3, {text}]")


def test_epochs_that_patience_or_the_schedule_spares_are_not_left(begin):
    with begin(io.StringIO()) as progress:
        assert left(progress) == 30
        progress.started("k1")
        for epoch in (1, 2, 3):
            progress.epoch("k1", figures(epoch))
        assert left(progress) == 27
        progress.trained("k1")
        assert left(progress) == 20
        progress.finished("k1", ROW)
        assert left(progress) == 20
        progress.started("k2")
        progress.epoch("k2", figures(1))
        progress.stopped("k2")
        assert left(progress) == 10
        progress.started("k3")
        progress.failed("k3", "out of memory")
        assert left(progress) == 0


def test_a_failed_search_spares_no_epochs_twice(begin):
    with begin(io.StringIO()) as progress:
        progress.started("k1")
        progress.epoch("k1", figures(1))
        progress.trained("k1")
        assert left(progress) == 20
        progress.failed("k1", "post-processing search: OSError")
        assert left(progress) == 20


def test_a_trial_that_is_only_searched_has_no_epochs(begin):
    with begin(io.StringIO(), epochs={"k1": 10}) as progress:
        progress.trained("k2")
        assert left(progress) == 10
        progress.finished("k2", ROW)
        assert left(progress) == 10


def test_a_trial_that_goes_on_counts_what_is_left_of_it(begin):
    with begin(io.StringIO(), epochs={"k1": 10}) as progress:
        progress.started("k1")
        progress.epoch("k1", figures(6))  # what its checkpoint holds
        assert left(progress) == 4
        progress.epoch("k1", figures(7))
        assert left(progress) == 3
        assert progress.pace().epochs_done == 2


def test_a_lost_process_counts_no_epoch_twice(begin):
    out = io.StringIO()
    with begin(out, epochs={"k1": 10}) as progress:
        progress.started("k1")
        for epoch in (1, 2, 3):
            progress.epoch("k1", figures(epoch))
        progress.started("k1")
        progress.epoch("k1", figures(3))
        assert (left(progress), progress.pace().epochs_done) == (7, 3)
        progress.epoch("k1", figures(4))
        assert (left(progress), progress.pace().epochs_done) == (6, 4)
    assert sum("start  " in line for line in lines(out)) == 2


def test_a_late_epoch_of_an_ended_trial_is_no_event(begin):
    out = io.StringIO()
    with begin(out) as progress:
        progress.started("k1")
        progress.stopped("k1")
        progress.epoch("k1", figures(3))
    assert not any("epoch" in line for line in lines(out))


def test_a_terminal_shows_a_live_view_and_the_log_stays_plain(begin, log):
    out = Terminal()
    with begin(out) as progress:
        progress.started("k1")
        progress.started("k3")
        progress.epoch("k1", figures(4))
        progress.trained("k3")
        before = len(out.getvalue())
        progress._live.refresh()
        view = out.getvalue()[before:]
        progress.finished("k3", ROW)
    shown = out.getvalue()
    assert "\x1b[" in shown
    assert "2 running" in shown
    assert "1 waiting" in shown
    assert "epoch 4/10" in shown
    assert "best 0.400" in shown
    assert "best devel CCC so far 0.400 k1 (not done)" in shown
    assert "searching" in shown
    assert "[b]x :x:" in view, "as it is"
    assert shown.endswith("\x1b[2K") or "\x1b[?25h" in shown[-60:], "the view is taken away and the cursor is back"
    assert "\x1b" not in log.read_text()
    assert "epoch     k1" not in shown
    assert [line.split()[2] for line in log.read_text().splitlines()] == ["start", "start", "epoch", "done"]


def test_the_view_is_no_longer_than_a_screen(begin):
    labels = {f"k{n}": f"label {n}" for n in range(40)}
    with begin(Terminal(), labels=labels) as progress:
        for key in labels:
            progress.started(key)
        head, *rows = seen(progress).splitlines()
        assert head.startswith("40 running")
        assert len(rows) == 13
        assert rows[-1].strip() == "and 28 more"


def test_a_terminal_that_cannot_draw_gets_lines(begin, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    with begin(out) as progress:
        progress.started("k1")
        progress.epoch("k1", figures(1))
    assert "epoch     k1  1/10" in out.getvalue()


@pytest.mark.timeout(60)
def test_events_of_many_threads_and_the_refresh_do_not_wait_for_each_other(begin):
    labels = {f"{thread}-{n}": "label" for thread in range(3) for n in range(400)}
    end, threads = time.monotonic() + 1.0, []
    with begin(Terminal(), labels=labels) as progress:

        def events(thread):
            for n in range(400):
                key = f"{thread}-{n}"
                progress.started(key)
                progress.epoch(key, figures(1))
                progress.trained(key)
                progress.finished(key, ROW)
                if time.monotonic() > end:
                    return

        def refresh():
            while time.monotonic() < end:
                progress._live.refresh()

        threads = [threading.Thread(target=events, args=(n,), daemon=True) for n in range(3)]
        threads += [threading.Thread(target=refresh, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    assert progress.pace().standing > 3


def test_a_reader_that_leaves_does_not_end_the_sweep(begin, log):
    reader, writer = os.pipe()
    with open(writer, "w") as out, begin(out) as progress:
        progress.log("seen")
        os.close(reader)
        progress.log("unseen")
        progress.started("k1")
        print("a plain line", file=out, flush=True)
    assert [line[26:] for line in log.read_text().splitlines()] == ["seen", "unseen", f"start     k1  {LABELS['k1']}"]


class FailingLog(io.StringIO):
    """A log whose file system takes nothing any more."""

    def __init__(self, number):
        super().__init__()
        self._number = number

    def write(self, text):
        raise OSError(self._number, os.strerror(self._number))

    def close(self):
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EPERM", "EACCES", "ESTALE", "EIO"])
def test_a_log_that_cannot_be_written_is_told_once_and_the_user_hears_the_rest(log, name, monkeypatch):
    out, told = io.StringIO(), []
    reason = os.strerror(getattr(errno, name))
    monkeypatch.setattr(module, "open", lambda *_, **__: FailingLog(getattr(errno, name)), raising=False)
    with Progress({}, {}, 0, log, out, on_unwritable=told.append) as progress:
        progress.log("one")
        progress.log("two")
    assert lines(out) == [f"DISK      the sweep's log cannot be written: {reason} ({log})", "one", "two"]
    assert told == [reason]


def test_another_error_of_the_log_is_raised(log, monkeypatch):
    monkeypatch.setattr(module, "open", lambda *_, **__: FailingLog(errno.EBADF), raising=False)
    with pytest.raises(OSError, match="Bad file descriptor"), Progress({}, {}, 0, log, io.StringIO()) as progress:
        progress.log("one")
