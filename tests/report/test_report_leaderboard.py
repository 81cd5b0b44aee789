import io
import re

import pytest
from rich.console import Console

from ser_ray.errors import InputError
from ser_ray.report.columns import attribute_column, resolve_columns
from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.leaderboard import main, print_leaderboard, sorted_target
from ser_ray.report.progress import read_progress
from ser_ray.results import CCC_COLUMNS


def printed(sweep, width, *, terminal, sort=None, top=20, asked=()):
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
    print_leaderboard(console, read_sweep_tables(sweep.folder, sort=sort), read_progress(sweep.folder), top, asked)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def test_plain_output_has_every_figure_on_one_line(sweep, capsys):
    assert main([str(sweep.folder.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sweep overlap on corpus synthetic; trials: 10 finished, 1 stopped early, 1 failed")
    best = read_sweep_tables(sweep.folder).configurations[0]
    row = next(line for line in lines if line.strip().startswith("1 "))
    assert row.split()[:7] == ["1", "8/10", "6/8", "6/8", "0.394", "3", "raw"]
    for column in ("ccc_devel_mean", "ccc_test_arousal"):
        figure = best.over_seeds(column)
        assert f"{figure.mean:.3f} ± {figure.interval:.3f}" in row
    assert sum("exhaustive" in line for line in lines) == 4
    assert "channels 64 128 256" in " ".join(lines)
    assert any("not" in line for line in lines)
    assert any("1 stopped" in line for line in lines)


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_terminal_shows_whole_numbers(sweep, width):
    text = printed(sweep, width, terminal=True)
    assert max(map(len, text.splitlines())) <= width
    figure = read_sweep_tables(sweep.folder).configurations[0].over_seeds("ccc_test_mean")
    assert f"{figure.mean:.3f} ± {figure.interval:.3f}" in text
    assert "8/10 6/8 6/8" in text
    assert "1 failed" in text
    assert "…" not in text


def test_a_narrow_terminal_shows_the_sorted_target(sweep):
    text = printed(sweep, 80, terminal=True, sort="ccc_test_greedy_valence_per_recording")
    best = read_sweep_tables(sweep.folder, sort="ccc_test_greedy_valence_per_recording").configurations[0]
    figure = best.over_seeds("ccc_test_greedy_valence_per_recording")
    assert f"{figure.mean:.3f} ± {figure.interval:.3f}" in text
    assert "valence" in text
    assert "mean of the per-recording CCCs" in " ".join(text.split())


def test_a_wide_table_in_a_file_is_not_cut(sweep):
    for design in range(4):
        config = sweep.config(design, learning_rate=0.00012345, sequence_s=12.34, a_field_with_a_long_name="word " * 12)
        sweep.add(f"9{design}aabbccddee", config, 0.3)
    text = printed(sweep, 160, terminal=False)
    assert ("word " * 12).strip() in text
    assert "…" not in text


def test_top_limits_and_prints_the_total(sweep, capsys):
    main([str(sweep.folder.path), "--top", "2"])
    out = capsys.readouterr().out
    assert out.count("exhaustive") == 2
    assert "2 of 4 configurations shown: --top 4 shows all" in out
    with pytest.raises(InputError, match="--top is 0, but must be at least 1"):
        main([str(sweep.folder.path), "--top", "0"])


def test_unknown_column_is_an_input_error(sweep):
    with pytest.raises(InputError, match=r"closest: .*ccc_test_mean"):
        main([str(sweep.folder.path), "--sort", "ccc_tset_mean"])


def test_columns_follow_the_scores(sweep, capsys):
    assert main([str(sweep.folder.path), "--columns", "train_seconds, device,seed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if line.strip().startswith("1 ")).split()
    assert first[-5:] == ["100", "±", "0", "cpu", "varies"]
    assert any("train seconds" in line and "device" in line for line in lines)


def test_columns_are_shown_in_a_narrow_terminal_too(sweep):
    tables = read_sweep_tables(sweep.folder, sort="train_seconds")
    asked = [attribute_column(named) for named in resolve_columns(tables, ["device", "train_seconds"])]
    text = printed(sweep, 80, terminal=True, sort="train_seconds", asked=asked)
    assert "device cpu" in text
    assert "train_seconds 100 ± 0" in text
    assert max(map(len, text.splitlines())) <= 80


def test_where_counts_what_is_left_and_ranks_it(sweep, tmp_path, capsys):
    path = tmp_path / "board.csv"
    conditions = ["--where", "kernels != 8-6-6", "--where", "seed>=1"]
    assert main([str(sweep.folder.path), *conditions, "--csv", str(path)]) == 0
    out = capsys.readouterr().out
    assert "6 of 12 trials: where kernels != 8-6-6 and seed>=1\n" in out
    assert "8/10 6/8 6/8" not in out
    assert len(path.read_text().splitlines()) == 4
    assert main([str(sweep.folder.path), "--where", "status = failed"]) == 0
    assert "none of them has finished yet, so there is no ranking" in capsys.readouterr().out


def test_any_number_sorts_in_either_order(sweep, capsys):
    for design in range(2):
        config = sweep.config(design, learning_rate=0.5)
        sweep.add(f"9{design}aabbccddee", config, 0.3, train_seconds=7.0 + design)
    assert main([str(sweep.folder.path), "--sort", "train_seconds", "--ascending", "--columns", "train_seconds"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if re.match(r" ?[123] +\d", line)]
    assert [row[-1] if row[-1] != "0" else row[-3] for row in rows] == ["7", "8", "100"]
    assert "Sorted by train_seconds, the lowest first. Figures: CCC pooled" in " ".join(out.split())


def test_no_table_shows_the_best_seed_as_a_configurations_figure(new_sweep, tmp_path, capsys):
    made = new_sweep()
    figures = {0: 0.111, 1: 0.222, 2: 0.987}
    for seed, figure in figures.items():
        scores = dict.fromkeys(CCC_COLUMNS, figure)
        key = f"{seed}0aa00aa00aa"
        made.write("trials", key, [made.row(key, made.config(0, seed), **scores, train_seconds=9870.0 * (seed == 2))])
    path = tmp_path / "board.csv"
    arguments = ["--columns", "train_seconds", "--sort", "ccc_test_mean", "--csv", str(path)]
    assert main([str(made.folder.path), *arguments]) == 0
    told = capsys.readouterr().out + path.read_text()
    assert "0.440 ± " in told
    assert not re.search(r"0\.987|9,?870", told)


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


def test_nothing_finished_is_nothing_to_rank(new_sweep, capsys):
    made = new_sweep()
    assert main([str(made.folder.path)]) == 0
    assert "there is no ranking" in capsys.readouterr().out
    made.add("00aa00aa00aa", made.config(0), 0.4, "failed", error="no [disk]")
    assert main([str(made.folder.path)]) == 0
    assert "1 failed" in capsys.readouterr().out


def test_unseen_is_a_column_and_explained_in_the_footnote(sweep, capsys):
    main([str(sweep.folder.path)])
    assert "nseen" not in capsys.readouterr().out
    sweep.estimate_unseen()
    main([str(sweep.folder.path)])
    out = capsys.readouterr().out
    best = read_sweep_tables(sweep.folder).configurations[0]
    lines = out.splitlines()
    heading = next(line for line in lines if "unseen" in line).split()
    assert heading[-8:] == ["arousal", "valence", "mean", "unseen", "arousal", "valence", "mean", "counted"]
    for method in ("greedy", "exhaustive"):
        row = next(line for line in lines if line.strip().startswith(method))
        figure = best.over_seeds(f"ccc_devel_{method}_crossfit_mean")
        assert re.split(r"\s{2,}", row.strip())[4] == f"{figure.mean:.3f} ± {figure.interval:.3f}"
    raw = next(line for line in lines if line.strip().startswith("1 "))
    assert re.split(r"\s{2,}", raw.strip())[-4] == "-"
    assert "Unseen (mean of targets): CCC estimated for unseen recordings" in " ".join(out.split())


def test_a_narrow_terminal_does_without_unseen_and_does_not_speak_of_it(sweep):
    sweep.estimate_unseen()
    assert "nseen" in printed(sweep, 300, terminal=True)
    text = printed(sweep, 80, terminal=True)
    assert "nseen" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_nothing_is_estimated_for_means_over_recordings(sweep):
    sweep.estimate_unseen()
    assert "nseen" not in printed(sweep, 300, terminal=True, sort="ccc_devel_mean_per_recording")


def test_reliability_warnings_are_counted(sweep, capsys):
    key = sweep.keys["finished"][0]
    sweep.search(key)
    main([str(sweep.folder.path)])
    assert "doubt" not in capsys.readouterr().out
    sweep.search(key, doubt="devel is small")
    main([str(sweep.folder.path)])
    assert "In 1 of 10 trials the gain of the search on devel is probably overfitted" in capsys.readouterr().out


def test_no_sweep_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="is not a sweep's folder"):
        main([str(tmp_path)])


def test_sorted_target():
    assert sorted_target("ccc_devel_greedy_arousal_per_recording") == ("arousal", "_per_recording")
    assert sorted_target("ccc_test_mean") == ("mean", "")
    assert sorted_target("train_seconds") == ("", "")
