import pytest

from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.leaderboard import reliability_warnings

ROWS = [(target, method) for target in ("arousal", "valence") for method in ("greedy", "exhaustive")]


def write(sweep, key, warned):
    """The rows of a trial's searches, so many of them with a warning."""
    rows = [
        {"key": key, "target": target, "method": method, "doubt": "devel is small" if number < warned else None}
        for number, (target, method) in enumerate(ROWS)
    ]
    sweep.write("postprocessing", key, rows)


def test_no_warning_no_line(sweep):
    assert reliability_warnings(read_sweep_tables(sweep.folder)) == ""
    for key in sweep.keys["finished"]:
        write(sweep, key, 0)
    assert reliability_warnings(read_sweep_tables(sweep.folder)) == ""


@pytest.mark.parametrize("warned", [1, 2, 4])
def test_trials_are_counted_however_many_of_their_searches_have_a_warning(sweep, warned):
    finished = sweep.keys["finished"]
    for key in finished:
        write(sweep, key, warned if key in finished[:3] else 0)
    write(sweep, sweep.keys["stopped"][0], 4)  # in no mean, and so not counted
    line = reliability_warnings(read_sweep_tables(sweep.folder))
    assert line.startswith("In 3 of 10 trials the gain of the search on devel is probably overfitted")
    assert line.endswith("see the column doubt of postprocessing.")


def test_chains_at_the_edge_of_their_grid_are_counted_too(sweep):
    first, second, *_ = sweep.keys["finished"]
    rows = [{"key": first, "target": t, "method": m, "at_edge": "shift", "doubt": None} for t, m in ROWS]
    sweep.write("postprocessing", first, rows)
    line = reliability_warnings(read_sweep_tables(sweep.folder))
    assert line.startswith("In 1 of 10 trials the chosen chain is at the edge of the grid")
    write(sweep, second, 1)
    line = reliability_warnings(read_sweep_tables(sweep.folder))
    assert line.startswith("In 1 of 10 trials the gain of the search on devel is probably overfitted")
    assert "see the column doubt of postprocessing. In 1 of 10 trials the chosen chain is" in line


def test_trials_that_are_left_out_are_not_counted(sweep):
    for key in sweep.keys["finished"]:
        write(sweep, key, 1)
    assert reliability_warnings(read_sweep_tables(sweep.folder, where=["seed = 0"])).startswith("In 4 of 4 trials ")
    assert reliability_warnings(read_sweep_tables(sweep.folder, where=["seed = 2", "kernels = 8-6-6"])).startswith(
        "In 1 of 1 trial "
    )
