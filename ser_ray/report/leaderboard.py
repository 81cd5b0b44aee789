"""Leaderboard of a sweep's configurations, the best first: `ser-ray leaderboard DIR`."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ser_ray.errors import InputError
from ser_ray.report.columns import (
    Column,
    attribute_column,
    cells,
    constant_columns,
    labelled_values,
    not_counted,
    resolve_columns,
    score_columns,
    shown_stages,
    unseen_target,
    varying_columns,
)
from ser_ray.report.configurations import ConfigurationResults, SweepTables, has_any, headline_target, read_sweep_tables
from ser_ray.report.leaderboard_csv import write_leaderboard_csv
from ser_ray.report.progress import SweepProgress, counts_line, left_out_line, read_progress
from ser_ray.report.terminal import MISSING, natural_width, open_console
from ser_ray.results import CCC_COLUMNS, ccc_column, open_sweep, read_planned, read_table


def _wide_table(
    ranked: Sequence[ConfigurationResults], shown: Sequence[ConfigurationResults], suffix: str, asked: Sequence[Column]
) -> Table:
    stages, described = shown_stages(ranked), varying_columns(ranked)
    scores = score_columns(ranked, stages, suffix)
    partial = any(not_counted(configuration) for configuration in ranked)
    table = _empty_table([column.label for column in described], stages)
    for score in scores:
        table.add_column("\n".join(score.heading), no_wrap=True)
    for column in asked:
        table.add_column(column.label.replace("_", " "))
    if partial:
        table.add_column("not\ncounted", no_wrap=True)
    for rank, configuration in enumerate(shown, start=1):
        lines = ["\n".join(score.cells(configuration)) for score in scores]
        start = [str(rank), *(column.text(configuration) for column in described)]
        end = [column.text(configuration) for column in asked]
        end += ["\n".join(not_counted(configuration))] if partial else []
        table.add_row(*start, *_n_and_stages(configuration, stages), *lines, *end)
    return table


def _narrow_table(
    ranked: Sequence[ConfigurationResults], shown: Sequence[ConfigurationResults], sort: str, asked: Sequence[Column]
) -> Table:
    """Make a table for a narrow terminal: one cell describes a configuration, and one target is shown."""
    stages, described = shown_stages(ranked), varying_columns(ranked)
    target, suffix = sorted_target(sort) if sort in CCC_COLUMNS else (headline_target(ranked), "")
    table = _empty_table(["configuration"], stages)
    partitions = [p for p in ("devel", "test") if has_any(ranked, ccc_column(p, target))]
    for partition in partitions:
        table.add_column(f"{partition}\n{target}", no_wrap=True)
    for rank, configuration in enumerate(shown, start=1):
        lines = ["\n".join(cells(configuration, p, target, stages, suffix)) for p in partitions]
        described_here = [*labelled_values(configuration, described), *labelled_values(configuration, asked)]
        description = "\n".join([*described_here, *not_counted(configuration)]) or MISSING
        table.add_row(str(rank), description, *_n_and_stages(configuration, stages), *lines)
    return table


def _empty_table(descriptions: Sequence[str], stages: Sequence[str]) -> Table:
    leading = 1 if len(stages) > 1 else 0
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, leading=leading)
    table.add_column("#", justify="right", no_wrap=True)
    for label in descriptions:
        table.add_column(label.replace("_", " "))
    table.add_column("n", justify="right", no_wrap=True)
    if len(stages) > 1:
        table.add_column("search", no_wrap=True)
    return table


def _n_and_stages(configuration: ConfigurationResults, stages: Sequence[str]) -> list[str]:
    n = str(len(configuration.finished))
    return [n, "\n".join(stage or "raw" for stage in stages)] if len(stages) > 1 else [n]


def sorted_target(sort: str) -> tuple[str, str]:
    """Split a CCC column into its target and suffix ("_per_recording" or ""); ("", "") for any other column."""
    if sort not in CCC_COLUMNS:
        return "", ""
    pooled = sort.removesuffix("_per_recording")
    return pooled.rpartition("_")[2], sort[len(pooled) :]


def footnote(sweep: SweepTables, *, unseen: bool = True) -> str:
    """Explain the numbers of a leaderboard in a few sentences; `unseen` includes that column, if there is one."""
    per_recording = bool(sorted_target(sweep.sort)[1])
    what = "mean of the per-recording CCCs" if per_recording else "CCC pooled over all frames of a partition"
    order = ", the lowest first" if sweep.ascending else ""
    searched = ""
    if len(shown_stages(sweep.configurations)) > 1:
        searched = " Chains are chosen on devel, so devel CCCs after a search are in sample; test CCCs are not."
    target = unseen_target(sweep.configurations) if unseen and not per_recording else None
    if target is not None:
        searched += (
            f" Unseen ({'mean of targets' if target == 'mean' else target}): CCC estimated for unseen recordings, by "
            "cross-fitting over folds of devel."
        )
    return (
        f"Sorted by {sweep.sort}{order}. Figures: {what}, mean ± 95 % confidence interval (Student t) over the n "
        f"finished seeds.{searched}"
    )


def reliability_warnings(sweep: SweepTables) -> str:
    """Describe how many finished trials have a reliability warning or a chain at the edge of its grid.

    "" if none has.
    """
    finished = {row["key"] for row in sweep.trials if row["status"] == "finished"}
    rows = read_table(sweep.folder, "postprocessing", keys=finished, columns=["key", "doubt", "at_edge"]).to_pylist()
    warned = len({row["key"] for row in rows if row["doubt"] is not None})
    at_edge = len({row["key"] for row in rows if row["at_edge"] is not None})
    of_all = f"of {len(finished)} {'trial' if len(finished) == 1 else 'trials'}"
    sentences = []
    if warned:
        sentences.append(
            f"In {warned} {of_all} the gain of the search on devel is probably overfitted, since devel is too small: "
            "see the column doubt of postprocessing."
        )
    if at_edge:
        sentences.append(
            f"In {at_edge} {of_all} the chosen chain is at the edge of the grid (longest window or largest shift): "
            "search.max_window_s or search.max_shift_s may be too small, or training.label_shift_s does not compensate "
            "the raters' delay. See the column at_edge of postprocessing."
        )
    return " ".join(sentences)


def print_leaderboard(
    console: Console, sweep: SweepTables, progress: SweepProgress, top: int, asked: Sequence[Column] = ()
) -> None:
    """Print the `top` best configurations of a sweep, with the requested columns; narrow consoles get fewer."""
    console.print(f"{sweep.title}; {counts_line(progress)}")
    if line := left_out_line(progress):
        console.print(line)
    if sweep.where:
        console.print(f"{len(sweep.trials)} of {sweep.total} trials: where {' and '.join(sweep.where)}")
    ranked = sweep.configurations
    if not any(configuration.finished for configuration in ranked):
        which = "none of them has" if sweep.where else "no trial has"
        console.print(f"{which} finished yet, so there is no ranking")
        return
    constants = ", ".join(f"{c.label} {c.text(ranked[0])}" for c in constant_columns(ranked))
    console.print(f"the same in all: {constants}")
    wide = True
    table = _wide_table(ranked, ranked[:top], sorted_target(sweep.sort)[1], asked)
    width = natural_width(console, table)
    if not console.is_terminal:
        console.width = max(width, console.width)
    elif width > console.width:
        table, wide = _narrow_table(ranked, ranked[:top], sweep.sort, asked), False
    console.print(table)
    console.print(footnote(sweep, unseen=wide))
    if line := reliability_warnings(sweep):
        console.print(line)
    if len(ranked) > top:
        console.print(f"{top} of {len(ranked)} configurations shown: --top {len(ranked)} shows all")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the best configurations of a sweep, and write all of them as CSV if requested; return 0."""
    parser = argparse.ArgumentParser(
        "ser-ray leaderboard", description="Rank the configurations of a sweep by their mean over seeds."
    )
    parser.add_argument("folder", metavar="DIR", help="results/<sweep>")
    parser.add_argument(
        "--sort",
        metavar="COLUMN",
        help="rank by the mean over seeds of any numeric column or field; default: ccc_devel_mean",
    )
    parser.add_argument("--ascending", action="store_true", help="lowest value first")
    parser.add_argument("--top", metavar="N", type=int, default=20, help="number of configurations; default: 20")
    parser.add_argument(
        "--columns",
        metavar="A,B,...",
        default="",
        help="more columns: of trials, or fields of their configuration",
    )
    parser.add_argument(
        "--where",
        metavar="'FIELD OP VALUE'",
        action="append",
        default=[],
        help="only trials that meet this condition, such as 'sequence_s >= 6' or 'kernels = 8-6-6' (repeatable)",
    )
    parser.add_argument("--all", action="store_true", help="include the trials of earlier plans of the sweep")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write all selected configurations to this CSV file")
    arguments = parser.parse_args(argv)
    if arguments.top < 1:
        raise InputError(f"--top is {arguments.top}, but must be at least 1")
    folder = open_sweep(arguments.folder)
    planned = None if arguments.all else read_planned(folder)
    progress = read_progress(folder, planned=planned)
    sweep = read_sweep_tables(
        folder, sort=arguments.sort, ascending=arguments.ascending, where=arguments.where, planned=planned
    )
    asked = resolve_columns(sweep, [name for name in re.split(r"[\s,]+", arguments.columns) if name])
    print_leaderboard(
        open_console(), sweep, progress, arguments.top, [attribute_column(attribute) for attribute in asked]
    )
    if arguments.csv is not None:
        write_leaderboard_csv(sweep, arguments.csv, asked)
    return 0
