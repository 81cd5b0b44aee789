import io
import re

import pytest
from rich.console import Console

from ser_ray.errors import InputError
from ser_ray.report.leaderboard import main, print_leaderboard, sorted_target
from ser_ray.report.status import read_progress
from ser_ray.report.tables import read_sweep


def printed(sweep, width, *, terminal, sort=None, top=20):
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=terminal,
        color_system=None,
        markup=False,
        highlight=False,
        legacy_windows=False,
    )
    print_leaderboard(console, read_sweep(sweep.folder, sort=sort), read_progress(sweep.folder), top)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def test_plain_output_has_every_figure_on_one_line(sweep, capsys):
    assert main([str(sweep.folder.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sweep overlap on corpus synthetic; trials: 10 finished, 1 stopped early, 1 failed")
    best = read_sweep(sweep.folder).configurations[0]
    row = next(line for line in lines if line.strip().startswith("1 "))
    assert row.split()[:7] == ["1", "8/10", "6/8", "6/8", "0.394", "3", "raw"]
    for column in ("ccc_devel_mean", "ccc_test_arousal"):
        figure = best.estimate(column)
        assert f"{figure.mean:.3f} ± {figure.interval:.3f}" in row
    assert sum("exhaustive" in line for line in lines) == 4
    assert "channels 64 128 256" in " ".join(lines)
    assert any("not" in line for line in lines)
    assert any("1 stopped" in line for line in lines)


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_terminal_shows_whole_numbers(sweep, width):
    text = printed(sweep, width, terminal=True)
    assert max(map(len, text.splitlines())) <= width
    figure = read_sweep(sweep.folder).configurations[0].estimate("ccc_test_mean")
    assert f"{figure.mean:.3f} ± {figure.interval:.3f}" in text
    assert "8/10 6/8 6/8" in text
    assert "1 failed" in text
    assert "…" not in text


def test_a_narrow_terminal_shows_the_sorted_target(sweep):
    text = printed(sweep, 80, terminal=True, sort="ccc_test_greedy_valence_per_recording")
    best = read_sweep(sweep.folder, sort="ccc_test_greedy_valence_per_recording").configurations[0]
    figure = best.estimate("ccc_test_greedy_valence_per_recording")
    assert f"{figure.mean:.3f} ± {figure.interval:.3f}" in text
    assert "valence" in text
    assert "mean over the recordings" in " ".join(text.split())


def test_a_wide_table_in_a_file_is_not_cut(sweep):
    for design in range(4):
        config = sweep.config(design, learning_rate=0.00012345, sequence_s=12.34, a_field_with_a_long_name="word " * 12)
        sweep.add(f"9{design}aabbccddee", config, 0.3)
    text = printed(sweep, 160, terminal=False)
    assert ("word " * 12).strip() in text
    assert "…" not in text


def test_top_limits_and_says_so(sweep, capsys):
    main([str(sweep.folder.path), "--top", "2"])
    out = capsys.readouterr().out
    assert out.count("exhaustive") == 2
    assert "2 of 4 configurations: --top 4 shows all" in out
    with pytest.raises(InputError, match="--top is 0, but must be at least 1"):
        main([str(sweep.folder.path), "--top", "0"])


def test_unknown_column_is_an_input_error(sweep):
    with pytest.raises(InputError, match=r"closest: .*ccc_test_mean"):
        main([str(sweep.folder.path), "--sort", "ccc_tset_mean"])


def test_no_test_gold_no_test_column(sweep_without_test_gold, capsys):
    main([str(sweep_without_test_gold.folder.path)])
    out = capsys.readouterr().out
    assert "devel" in out
    assert not re.search(r"\btest\b +test", out)


def test_a_missing_search_is_a_dash(new_sweep, capsys):
    made = new_sweep()
    made.add("00aa00aa00aa", made.config(0), 0.4, ccc_test_greedy_mean=None)
    main([str(made.folder.path)])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("greedy"))
    assert row.split()[-1] == "-"


def test_nothing_finished_is_said(new_sweep, capsys):
    made = new_sweep()
    assert main([str(made.folder.path)]) == 0
    assert "nothing to rank" in capsys.readouterr().out
    made.add("00aa00aa00aa", made.config(0), 0.4, "failed", error="no [disk]")
    assert main([str(made.folder.path)]) == 0
    assert "1 failed" in capsys.readouterr().out


def test_no_sweep_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="holds no sweep"):
        main([str(tmp_path)])


def test_sorted_target():
    assert sorted_target("ccc_devel_greedy_arousal_per_recording") == ("arousal", "_per_recording")
    assert sorted_target("ccc_test_mean") == ("mean", "")
