"""Texts of files are shown without acting: on a terminal, in a page, in a spreadsheet."""

import csv
import io

import numpy as np
import pytest

from ser_ray import process
from ser_ray.errors import InputError
from ser_ray.plain_text import counted, escaped, escaped_name, is_plain_name, spreadsheet_cell
from ser_ray.predict import write_predictions
from ser_ray.report.logs import print_log
from ser_ray.report.page import escape
from ser_ray.report.terminal import open_console

ACTING = {
    "escape": ("\x1b[31mred", r"\x1b[31mred"),
    "control sequence in one": ("\x9b31mred", r"\x9b31mred"),
    "bell": ("a\x07", r"a\x07"),
    "return": ("a\rb", r"a\rb"),
    "delete": ("a\x7f", r"a\x7f"),
    "override": ("a\u202egnp.exe", r"a\u202egnp.exe"),
    "isolate": ("\u2066a\u2069", r"\u2066a\u2069"),
    "mark": ("a\u200f", r"a\u200f"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "no text": ("a\udce9", r"a\udce9"),
}


@pytest.mark.parametrize(("text", "shown"), ACTING.values(), ids=ACTING)
def test_what_acts_is_escaped(text, shown, capsys):
    assert not is_plain_name(text)
    assert escaped(text) == escaped_name(text) == shown
    assert escape(f"<{text}>") == f"&lt;{shown}&gt;"
    open_console().print(text, soft_wrap=True)
    assert capsys.readouterr().out == f"{shown}\n"

    def command(argv):
        raise InputError(f"recording {text} is wrong\n  and more")

    assert process.guarded(command) == 2
    assert capsys.readouterr().err == f"error: recording {shown} is wrong\n  and more\n"


def test_a_name_is_one_line():
    assert escaped("a\n\tb") == "a\n\tb"
    assert escaped_name("a\n\tb") == r"a\n\tb"


@pytest.mark.parametrize("name", ["rec_0 (2).x", "Müller", "Mu\u0308ller", "张伟", "עברית", "007", "", "👩‍🔬"])
def test_a_plain_name_is_as_it_is(name):
    assert is_plain_name(name)
    assert escaped_name(name) == name


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "--"])
def test_a_cell_that_would_be_run_is_guarded(text):
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-0.3", "+1e5", "-inf", "8 6 6", "a=b", "", "mean"])
def test_other_cells_stay(text):
    assert spreadsheet_cell(text) == text


def test_predictions_are_guarded_in_their_header_alone(tmp_path):
    write_predictions(tmp_path / "a.csv", ["=arousal", "valence"], 25.0, np.array([[-0.3, 0.25]]))
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert rows == [["time_s", "'=arousal", "valence"], ["0.000000", "-0.300000", "0.250000"]]


def test_a_log_is_shown_so(tmp_path):
    (tmp_path / "log").write_text("epoch 1\n\x1b]0;title\x07\n", encoding="utf-8")
    out = io.StringIO()
    print_log(tmp_path / "log", out, until=lambda: True, pause=lambda: None)
    assert out.getvalue() == "epoch 1\n\\x1b]0;title\\x07\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 trials"),
        (1, "1 trial"),
        (2, "2 trials"),
        (1.0, "1 trial"),
        (0.5, "0.5 trials"),
        (1234567, "1234567 trials"),
    ],
)
def test_a_noun_agrees_with_its_number(number, text):
    assert counted(number, "trial") == text
