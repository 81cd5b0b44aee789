"""`ser-ray report DIR`: the page, the figures and the leaderboard of a sweep as files."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ser_ray.errors import InputError
from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.figures import draw_figures
from ser_ray.report.figures.drawing import save
from ser_ray.report.leaderboard_csv import write_leaderboard_csv
from ser_ray.report.one_trial import asked_trial
from ser_ray.report.page import page
from ser_ray.report.progress import counts_line, left_out_line, read_progress
from ser_ray.results import SweepFolder, open_sweep, read_planned


def write_report(folder: SweepFolder, out: Path, trial: str | None = None, *, every_plan: bool = False) -> list[str]:
    """Write the report of a sweep to the folder `out`; return the lines of a summary.

    `trial` is the key, or its beginning, of the trial shown in detail; by default the best finished one. Trials of
    earlier plans are left out unless `every_plan`.

    Raises:
        InputError: if the sweep has no trial at all, a part cannot be read, `out` cannot be written, or the trial to
            show does not exist or has no predictions.
    """
    planned = None if every_plan else read_planned(folder)
    progress = read_progress(folder, planned=planned)
    left_out = left_out_line(progress)
    if progress.empty:
        why = f"of its present plan ({left_out})" if left_out else "yet"
        raise InputError(f"{folder.path} has no trial {why}: run the sweep first")
    key = None if trial is None else asked_trial(folder, trial)
    sweep = read_sweep_tables(folder, planned=planned)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be created ({error.strerror}); choose another folder with --out DIR") from error
    console = Console(stderr=True)
    quiet = not console.is_terminal
    drawn = track(draw_figures(sweep, key), "figures", console=console, disable=quiet, transient=True)
    figures = [(drawing, save(drawing, out / "figures")) for drawing in drawn]
    write_leaderboard_csv(sweep, out / "leaderboard.csv")
    (out / "index.html").write_text(page(sweep, progress, figures, datetime.now(UTC)), encoding="utf-8")
    names = ", ".join(drawing.name for drawing, _ in figures) or "none, since no trial has finished an epoch"
    return [
        f"{counts_line(progress)}; {len(sweep.configurations)} configurations",
        *([left_out] if left_out else []),
        f"{out / 'index.html'}   the report, with all figures",
        f"{out / 'leaderboard.csv'}   every CCC column",
        f"{out / 'figures'}   as .png and .pdf: {names}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report of a sweep and print the paths of its files; return 0."""
    parser = argparse.ArgumentParser(
        "ser-ray report", description="Write a report of a sweep: an HTML page, figures and the leaderboard as CSV."
    )
    parser.add_argument("folder", metavar="DIR", help="results/<sweep>")
    parser.add_argument("--out", metavar="DIR", type=Path, help="output folder; default: <sweep>/report")
    parser.add_argument(
        "--trial",
        metavar="KEY",
        help="key, or its first characters, of the trial to show in detail; default: the best",
    )
    parser.add_argument("--all", action="store_true", help="include the trials of earlier plans of the sweep")
    arguments = parser.parse_args(argv)
    folder = open_sweep(arguments.folder)
    out = arguments.out or folder.path / "report"
    for line in write_report(folder, out, arguments.trial, every_plan=arguments.all):
        print(line)
    return 0


if __name__ == "__main__":
    from ser_ray.process import run

    run(main)
