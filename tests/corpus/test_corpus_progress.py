"""The bar is drawn for people alone, after a while, and tells a rate of what was done in this run."""

import io
import sys

import pytest

from ser_ray.corpus import progress
from ser_ray.corpus.progress import Bar, track


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def begin(stream=None):
        stream = stream or Terminal()
        monkeypatch.setattr(sys, "stderr", stream)  # pytest puts its own there between fixtures and test
        return stream

    return begin


def test_nothing_is_drawn_of_what_is_quick(terminal, clock):
    stream = terminal()
    with Bar("importing", 3) as bar:
        clock.now = 2.0
        bar.advance()
    assert stream.getvalue() == ""


def test_a_bar_tells_how_far_and_how_fast(terminal, clock):
    stream = terminal()
    with Bar("importing", 1200) as bar:
        for second in (2.5, 5.0):
            clock.now = second
            bar.advance()
    drawn = stream.getvalue()
    assert "importing" in drawn
    assert "1/1,200 0.4/s" in drawn.replace("\x1b[0m", "")
    assert "2/1,200 0.4/s" in drawn.replace("\x1b[0m", "")


def test_amounts_have_a_rate_of_their_own(terminal, clock):
    stream = terminal()
    with Bar("importing", 10, amount=600.0, rate="{:.0f} x real time".format) as bar:
        bar.skip(4, 240.0)
        clock.now = 3.0
        bar.advance(60.0)
        task = bar._bar.tasks[0]
        assert (task.completed, task.total) == (300.0, 600.0)
    assert "5/10 20 x real time" in stream.getvalue().replace("\x1b[0m", "")


def test_what_is_skipped_counts_one_each_without_amounts(terminal, clock):
    terminal()
    with Bar("looking", 10) as bar:
        bar.skip(4)
        assert bar._bar.tasks[0].completed == 4


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_no_bar_in_a_file_though_colours_are_asked_for(monkeypatch, clock, terminal, variable):
    monkeypatch.setenv(variable, "1")
    stream = terminal(io.StringIO())
    with Bar("importing", 2) as bar:
        clock.now = 3.0
        bar.advance()
    assert stream.getvalue() == ""


def test_a_terminal_that_cannot_draw_is_left_alone(monkeypatch, clock, terminal):
    monkeypatch.setenv("TERM", "dumb")
    stream = terminal()
    with Bar("importing", 2) as bar:
        clock.now = 3.0
        bar.advance()
    assert stream.getvalue() == ""


def test_the_bar_is_removed_when_something_goes_wrong(terminal, clock):
    stream = terminal()

    def fail():
        with Bar("importing", 2) as bar:
            clock.now = 3.0
            bar.advance()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert stream.getvalue().endswith("\x1b[2K")


def test_track_yields_every_item(terminal, clock):
    stream = terminal()
    seen = []
    for item in track("abc", "looking", after_s=1.0):
        seen.append(item)
        clock.now += 2.0
    assert seen == ["a", "b", "c"]
    assert "3/3 0.5/s" in stream.getvalue().replace("\x1b[0m", "")
    assert list(track([], "looking")) == []
