import re
from datetime import UTC, datetime
from html.parser import HTMLParser

from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.figures import draw_figures
from ser_ray.report.figures.drawing import png
from ser_ray.report.one_trial import best_trial
from ser_ray.report.page import page
from ser_ray.report.progress import read_progress

VOID = {"meta", "img", "br", "hr"}
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Reader(HTMLParser):
    """Reads a page strictly: tags nest, and texts and addresses are collected."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.addresses, self.rows, self.seen = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def read(sweep, *, drawn=False):
    tables = read_sweep_tables(sweep.folder)
    figures = [(drawing, png(drawing.figure)) for drawing in draw_figures(tables)] if drawn else []
    reader = Reader()
    text = page(tables, read_progress(sweep.folder), figures, NOW)
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return text, reader


def test_page_is_well_formed_and_needs_no_other_file(sweep):
    text, reader = read(sweep, drawn=True)
    assert text.startswith("<!DOCTYPE html>")
    assert reader.seen.count("img") == 3
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert "script" not in reader.seen
    assert not re.search(r"https?://|@import|url\(", text)


def test_page_shows_where_the_searches_settle(sweep):
    key = best_trial(read_sweep_tables(sweep.folder))["key"]
    sweep.search(key)
    _, reader = read(sweep, drawn=True)
    assert reader.seen.count("img") == 4
    assert "Search surface" in reader.texts


def test_page_holds_the_leaderboards_numbers(sweep):
    _, reader = read(sweep)
    for rank, configuration in enumerate(read_sweep_tables(sweep.folder).configurations, start=1):
        row = next(row for row in reader.rows if row[:1] == [str(rank)])
        for column in ("ccc_devel_mean", "ccc_test_valence"):
            figure = configuration.over_seeds(column)
            interval = "" if figure.interval is None else f" ± {figure.interval:.3f}"
            assert f"{figure.mean:.3f}{interval}" in row
    heading = next(row for row in reader.rows if row[:1] == ["#"])
    assert heading[-1] == "not counted"


def test_page_has_what_unseen_recordings_get_after_devel(sweep):
    assert "devel unseen" not in read(sweep)[1].texts
    sweep.estimate_unseen()
    _, reader = read(sweep)
    heading = next(row for row in reader.rows if row[:1] == ["#"])
    place = heading.index("devel unseen")
    assert heading[place - 1 : place + 2] == ["devel mean", "devel unseen", "test arousal"]
    best = read_sweep_tables(sweep.folder).configurations[0]
    first = next(number for number, row in enumerate(reader.rows) if row[:1] == ["1"])
    assert reader.rows[first][place] == "-"
    for method, row in zip(("greedy", "exhaustive"), reader.rows[first + 1 :], strict=False):
        figure = best.over_seeds(f"ccc_devel_{method}_crossfit_mean")
        filled = [text for text in row if text]  # what describes a configuration is said in its first row alone
        assert filled[0] == method
        assert f"{figure.mean:.3f} ± {figure.interval:.3f}" == filled[4]


def test_page_counts_reliability_warnings(sweep):
    sweep.search(sweep.keys["finished"][0], doubt="devel is small")
    (line,) = (text for text in read(sweep)[1].texts if "In 1 of 10 trials" in text)
    assert "column doubt of postprocessing" in line


def test_page_escapes_the_texts_of_the_sweep(sweep):
    text, reader = read(sweep)
    assert "<b>out" not in text
    assert "<small>" not in text
    assert [sweep.keys["failed"][0], "RuntimeError: <b>out of [memory]</b>"] in reader.rows
    assert sweep.folder.sweep_file.read_text() in reader.texts


def test_page_has_counts_and_provenance(sweep):
    _, reader = read(sweep)
    words = " ".join(" ".join(reader.texts).split())
    assert "Trials: 10 finished, 1 stopped early, 1 failed, 1 trained but not searched yet, 2 under way" in words
    assert "4 configurations" in words
    for fact in ("abc1234", "torch 2.11.0, ray 2.60.0", "0123456789abcdef" * 4, "node1", "2026-03-01 10:00 to"):
        assert fact in words
    assert ["bbbbbbbbbbbb", "7"] in [row[:2] for row in reader.rows]
    assert "3 min ago" in words


def test_several_commits_are_counted(sweep):
    sweep.add("99aa00aa00aa", sweep.config(0, 3), 0.4, git_commit="fff9999")
    _, reader = read(sweep)
    assert "abc1234 (12 trials); fff9999 (1 trials)" in reader.texts


def test_page_defines_its_words(sweep):
    texts = read(sweep)[1].texts
    for word in (
        "CCC",
        "pooled, per recording",
        "raw, greedy, exhaustive",
        "unseen",
        "mean ± interval",
        "overlap ratio",
    ):
        assert word in texts


def test_page_without_a_finished_trial(new_sweep):
    made = new_sweep()
    made.add("00aa00aa00aa", made.config(0), 0.4, "failed", error="ValueError: x")
    text, reader = read(made)
    assert "there is no ranking" in text
    assert ["00aa00aa00aa", "ValueError: x"] in reader.rows


def test_page_of_trials_under_way_only(new_sweep):
    made = new_sweep()
    made.write_epochs("bbbbbbbbbbbb", 7, 0.35)
    _, reader = read(made, drawn=True)
    assert reader.seen.count("img") == 1
