import subprocess
import sys

import pytest

from ser_ray.errors import InputError
from ser_ray.report.__main__ import main
from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.figures.ccc_against import draw_against_overlap
from ser_ray.report.figures.drawing import save


def test_report_writes_page_figures_and_csv(sweep, capsys):
    assert main([str(sweep.folder.path)]) == 0
    out = sweep.folder.path / "report"
    figures = {path.name for path in (out / "figures").iterdir()}
    names = ("ccc_against_overlap", "learning_curves", "trace")
    assert figures == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    assert (out / "figures" / "trace.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "figures" / "trace.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "leaderboard.csv").stat().st_size > 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert str(out / "index.html") in said[1]


def test_out_takes_the_report_and_the_sweep_is_unchanged(sweep, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in sweep.folder.path.rglob("*")}
    assert main([str(sweep.folder.path), "--out", str(tmp_path / "a" / "b")]) == 0
    assert (tmp_path / "a" / "b" / "index.html").is_file()
    assert {path: path.stat().st_mtime_ns for path in sweep.folder.path.rglob("*")} == before


def test_the_trial_that_is_named_is_shown_in_place_of_the_best(sweep, tmp_path, capsys):
    key = sweep.keys["finished"][0]
    sweep.search(key)
    for name, arguments in (("best", []), ("asked", ["--trial", key[:3]])):
        assert main([str(sweep.folder.path), "--out", str(tmp_path / name), *arguments]) == 0
    best, asked = ((tmp_path / name / "index.html").read_text() for name in ("best", "asked"))
    assert (f"trial {key}." in asked, f"trial {key}." in best) == (True, False)
    assert (tmp_path / "asked" / "figures" / "search_surface.pdf").is_file()
    assert not (tmp_path / "best" / "figures" / "search_surface.pdf").exists()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("10cd00ef0124", "no trial '10cd00ef0124'; trials there are: 10cd00ef0123"),
        ("1", "'1' begins the keys of 3 trials"),
        ("bbb", "trial bbbbbbbbbbbb has no predictions"),
    ],
)
def test_a_trial_that_cannot_be_shown_is_an_input_error(sweep, tmp_path, key, said):
    with pytest.raises(InputError, match=said):
        main([str(sweep.folder.path), "--out", str(tmp_path / "out"), "--trial", key])
    assert not (tmp_path / "out").exists()


def test_equal_results_give_equal_figures(sweep, tmp_path):
    for name in ("a", "b"):
        save(draw_against_overlap(read_sweep_tables(sweep.folder)), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_nothing_at_all_is_an_input_error(new_sweep):
    with pytest.raises(InputError, match="has no trial yet: run the sweep first"):
        main([str(new_sweep().folder.path)])


def test_a_place_that_cannot_be_written_is_an_input_error(sweep, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be created .*choose another folder with --out DIR"):
        main([str(sweep.folder.path), "--out", str(tmp_path / "file")])


def test_the_room_imports_nothing_heavy():
    code = (
        "import sys, ser_ray.report.leaderboard, ser_ray.report.logs, ser_ray.report.__main__;"
        "heavy = {'torch', 'ray', 'pandas', 'matplotlib.pyplot', 'ser_ray.postprocess', 'numba'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).stderr == b""


def test_the_leaderboard_needs_no_matplotlib():
    code = "import sys, ser_ray.report.leaderboard, ser_ray.report.logs; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
