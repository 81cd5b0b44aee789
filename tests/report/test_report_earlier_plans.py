"""A sweep that went on with more epochs: what is shown are the trials of its present plan, unless all are asked for."""

import csv

import pytest

from ser_ray.errors import InputError
from ser_ray.report import __main__ as report
from ser_ray.report import leaderboard, status
from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.figures.learning_curves import draw_curves
from ser_ray.results import write_planned

LINE = "5 trials of earlier plans are not shown: --all includes them"
SHORT, LONG = ("10", "11"), ("20", "21")


@pytest.fixture
def continued(new_sweep):
    """Two trials of 20 epochs and their continuations to 40; others of the first plan stopped, failed and waiting."""
    made = new_sweep()
    for epochs, keys in ((20, SHORT), (40, LONG)):
        for seed, start in enumerate(keys):
            made.add(f"{start}00000000cd", made.config(0, seed, epochs=epochs), 0.3 + epochs / 100)
    made.add("1200000000cd", made.config(1, 0, epochs=20), 0.9, "stopped")
    made.add("1300000000cd", made.config(1, 1, epochs=20), 0.9, "failed", error="ValueError: long ago")
    made.write_epochs("1400000000cd", 3, 0.99)
    return made


@pytest.fixture
def planned(continued):
    """The same with its present plan, of which one trial has not begun."""
    write_planned(continued.folder, [*(f"{start}00000000cd" for start in LONG), "2200000000cd"])
    return continued


def said(main, capsys, made, *options):
    assert main([str(made.folder.path), *options]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("main", [leaderboard.main, status.main, report.main])
def test_only_the_present_plan_is_counted_and_a_line_counts_the_others(planned, capsys, main):
    lines = said(main, capsys, planned).splitlines()
    assert lines[0].count("trials: 2 finished") == 1
    assert "stopped" not in lines[0] + lines[-1]
    assert LINE in lines


@pytest.mark.parametrize("main", [leaderboard.main, status.main, report.main])
def test_all_takes_the_others_in(planned, capsys, main):
    out = said(main, capsys, planned, "--all")
    assert "trials: 4 finished, 1 stopped early, 1 failed, 1 under way" in out
    assert "earlier plan" not in out


@pytest.mark.parametrize("main", [leaderboard.main, status.main, report.main])
def test_a_folder_without_a_plan_shows_all(continued, capsys, main):
    out = said(main, capsys, continued)
    assert "trials: 4 finished, 1 stopped early, 1 failed, 1 under way" in out
    assert "earlier plan" not in out


def test_a_configuration_is_not_ranked_with_its_own_continuation(planned, capsys):
    words = " ".join(said(leaderboard.main, capsys, planned).split())  # lines end where the terminal does
    assert "epochs 40" in words.partition("the same in all: ")[2]
    assert "epochs 40" not in " ".join(said(leaderboard.main, capsys, planned, "--all").split())
    assert "1 of 2 trials: where seed = 1" in said(leaderboard.main, capsys, planned, "--where", "seed = 1")


def test_status_names_no_failure_and_no_interruption_of_an_earlier_plan(planned, capsys):
    out = said(status.main, capsys, planned)
    assert "long ago" not in out
    assert "1400000000cd" not in out
    assert "long ago" in said(status.main, capsys, planned, "--all")


def test_page_csv_and_figures_are_of_the_present_plan(planned, capsys):
    said(report.main, capsys, planned)
    out = planned.folder.path / "report"
    page = (out / "index.html").read_text()
    assert f"{LINE}. Made" in page
    assert "long ago" not in page
    assert not (out / "figures" / "ccc_against_epochs.png").exists()
    with (out / "leaderboard.csv").open() as file:
        assert [row["keys"] for row in csv.DictReader(file)] == ["2000000000cd 2100000000cd"]
    said(report.main, capsys, planned, "--all")
    assert (out / "figures" / "ccc_against_epochs.png").exists()
    assert "earlier plan" not in (out / "index.html").read_text()


def test_learning_curves_are_those_of_the_present_plan(planned):
    keys = frozenset(f"{start}00000000cd" for start in LONG)
    assert "of all 2 trials" in draw_curves(read_sweep_tables(planned.folder, planned=keys)).caption
    assert "of all 7 trials" in draw_curves(read_sweep_tables(planned.folder)).caption


def test_a_trial_of_an_earlier_plan_is_shown_in_detail_when_it_is_named(planned, capsys):
    said(report.main, capsys, planned, "--trial", "10")
    assert "trial 1000000000cd." in (planned.folder.path / "report" / "index.html").read_text()


def test_a_plan_of_which_nothing_has_begun_has_no_report_and_counts_the_other_trials(continued):
    write_planned(continued.folder, ["2200000000cd"])
    with pytest.raises(InputError, match=r"no trial of its present plan \(7 trials of earlier plans are not shown"):
        report.main([str(continued.folder.path)])


def test_one_is_counted_as_one(continued, capsys):
    keys = continued.folder.keys("epochs") - {"1200000000cd"}
    write_planned(continued.folder, keys)
    line = "1 trial of an earlier plan is not shown: --all includes it"
    assert line in said(status.main, capsys, continued).splitlines()
