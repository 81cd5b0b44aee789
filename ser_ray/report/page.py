"""index.html: the report page, one HTML file that contains its figures and needs no other file."""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape as escape_markup

from ser_ray.plain_text import escaped
from ser_ray.report.attributes import Row
from ser_ray.report.columns import constant_columns, not_counted, score_columns, shown_stages, varying_columns
from ser_ray.report.configurations import SweepTables
from ser_ray.report.figures.drawing import Drawing
from ser_ray.report.leaderboard import footnote, reliability_warnings, sorted_target
from ser_ray.report.progress import SweepProgress, counts_line, left_out_line
from ser_ray.report.status import under_way_cells
from ser_ray.report.terminal import MISSING, format_age

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 80rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.scroll { overflow: auto; max-height: 36rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .55rem; text-align: left; white-space: nowrap; vertical-align: top; }
thead th { position: sticky; top: 0; background: #fff; border-bottom: 1px solid #111; }
tbody tr.first td { border-top: 1px solid #ddd; }
figure { margin: 1.5rem 0; } figure img { width: 100%; max-width: 56rem; }
figcaption, p.note { max-width: 56rem; color: #333; font-size: .9rem; }
pre { background: #f5f5f5; padding: .8rem; overflow: auto; font-size: .8rem; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1.5rem; }
"""
DEFINITIONS = """<h2>What the numbers are</h2>
<dl>
<dt>CCC</dt><dd>Concordance correlation coefficient, 2 cov(x, y) / (var x + var y + (mean x - mean y)<sup>2</sup>), with
population moments: 1 is perfect agreement, 0 none.</dd>
<dt>pooled, per recording</dt><dd>Pooled: one CCC over the frames of all recordings of a partition. Per recording: the
mean over recordings of each one's own CCC, another number. What is not called so is pooled.</dd>
<dt>raw, greedy, exhaustive</dt><dd>Raw: the network's predictions at the epoch with the best devel CCC. Greedy and
exhaustive: after the post-processing (median filter, centring, scaling, time shift) which that search found best on
devel. Devel CCCs after a search are in sample, test CCCs are not.</dd>
<dt>unseen</dt><dd>Estimate, from devel alone, of the CCC after a search on recordings that it has not seen: each fold
of devel goes through the chain that the same search chooses on all other folds (cross-fitting). Pooled, the mean of the
targets or the only one. Raw has none, since no search has fitted it, nor has a devel of one recording.</dd>
<dt>mean ± interval</dt><dd>Mean over the n finished seeds of a configuration, and half its 95 % confidence interval
(Student t, n - 1 degrees of freedom); none for one seed. Not corrected for the number of configurations compared.</dd>
<dt>overlap ratio</dt><dd>(K - 1) / (K + P - 1) of a layer's kernel K and pool P: the share of its window that the
neighbouring window sees too.</dd>
</dl>"""


def page(sweep: SweepTables, progress: SweepProgress, figures: Sequence[tuple[Drawing, bytes]], now: datetime) -> str:
    """Make the report of a sweep as an HTML page with its figures, each given with the content of its PNG file.

    All texts from the sweep are escaped.
    """
    heading = escape(sweep.title[0].upper() + sweep.title[1:])
    left_out = f"{line}. " if (line := left_out_line(progress)) else ""
    parts = [
        f"<h1>{heading}</h1>",
        f"<p>{escape(counts_line(progress).capitalize())}; {len(sweep.configurations)} configurations. "
        f"Stopped and failed trials are in no mean. {escape(left_out)}Made {now:%Y-%m-%d %H:%M} UTC.</p>",
        _leaderboard(sweep),
        *(_figure(drawing, picture) for drawing, picture in figures),
        DEFINITIONS,
        _unfinished(progress, now),
        _provenance(sweep),
        _sweep_file(sweep),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _leaderboard(sweep: SweepTables) -> str:
    ranked = sweep.configurations
    if not any(configuration.finished for configuration in ranked):
        return "<h2>Leaderboard</h2>\n<p>No trial has finished yet, so there is no ranking.</p>"
    described, stages = varying_columns(ranked), shown_stages(ranked)
    columns = score_columns(ranked, stages, sorted_target(sweep.sort)[1])
    partial = ["not counted"] if any(not_counted(configuration) for configuration in ranked) else []
    scored = [" ".join(column.heading) for column in columns]
    rows = []
    for rank, configuration in enumerate(ranked, start=1):
        start = [str(rank), *(column.text(configuration) for column in described), str(len(configuration.finished))]
        scores = [column.cells(configuration) for column in columns]
        end = [", ".join(not_counted(configuration))] if partial else []
        for number, stage in enumerate(stages):
            first = number == 0
            blank = [""] * len(start)
            of_stage = [found[number] for found in scores]
            row = [*(start if first else blank), stage or "raw", *of_stage, *(end if first else [])]
            rows.append(_row(row, first=first))
    constants = ", ".join(f"{column.label} {column.text(ranked[0])}" for column in constant_columns(ranked))
    headings = ["#", *(column.label for column in described), "n", "search", *scored, *partial]
    warnings = f'\n<p class="note">{escape(line)}</p>' if (line := reliability_warnings(sweep)) else ""
    return (
        f'<h2>Leaderboard</h2>\n<div class="scroll">{_table(headings, rows)}</div>\n'
        f'<p class="note">{escape(footnote(sweep))} The same in all: {escape(constants)}. '
        f"All columns are in leaderboard.csv.</p>{warnings}"
    )


def _row(values: Iterable[str], *, first: bool = False) -> str:
    opening = '<tr class="first">' if first else "<tr>"
    return opening + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>"


def _table(headings: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"


def _figure(drawing: Drawing, picture: bytes) -> str:
    source = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
    return (
        f'<h2>{escape(drawing.title)}</h2>\n<figure>\n<img alt="{escape(drawing.title)}" src="{source}">\n'
        f"<figcaption>{escape(drawing.caption)}</figcaption>\n</figure>"
    )


def _unfinished(progress: SweepProgress, now: datetime) -> str:
    parts = []
    if progress.failed:
        rows = (_row(failure) for failure in progress.failed)
        parts.append(f"<h2>Failed trials</h2>\n{_table(['key', 'reason'], rows)}")
    if progress.unsearched:
        parts.append(f"<h2>Trained, not searched yet</h2>\n<p>{escape(' '.join(progress.unsearched))}</p>")
    if progress.under_way:
        rows = (_row(under_way_cells(trial, now)) for trial in progress.under_way)
        parts.append(f"<h2>Under way</h2>\n{_table(['key', 'epoch', 'best devel CCC', 'last sign'], rows)}")
    return "\n".join(parts)


def _provenance(sweep: SweepTables) -> str:
    rows = sweep.trials
    if not rows:
        return ""
    starts = [row["started_at"] for row in rows if row["started_at"]]
    ends = [row["ended_at"] for row in rows if row["ended_at"]]
    facts = [
        ("commit", _counted(row["git_commit"] for row in rows)),
        ("versions", _counted(_versions(row) for row in rows)),
        ("corpus", _counted(row["corpus"] for row in rows)),
        ("corpus fingerprint", _counted(row["corpus_fingerprint"] for row in rows)),
        ("hosts", _counted(row["host"] for row in rows)),
        ("devices", _counted(row["device"] for row in rows)),
        ("run", f"{min(starts):%Y-%m-%d %H:%M} to {max(ends):%Y-%m-%d %H:%M} UTC" if starts and ends else MISSING),
        ("training, all trials together", _total(rows, "train_seconds")),
        ("search, all trials together", _total(rows, "search_seconds")),
    ]
    items = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<h2>Provenance</h2>\n<dl>\n{items}\n</dl>"


def _versions(row: Row) -> str:
    return ", ".join(f"{package} {version}" for package, version in json.loads(row["versions"] or "{}").items())


def _counted(values: Iterable[str | None]) -> str:
    """Format the values of all trials: a shared value alone, different values with their numbers of trials."""
    counts = Counter(value or "unknown" for value in values)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({number} trials)" for value, number in counts.most_common())


def _total(rows: Iterable[Row], column: str) -> str:
    return format_age(timedelta(seconds=sum(row[column] or 0.0 for row in rows)))


def _sweep_file(sweep: SweepTables) -> str:
    text = sweep.folder.sweep_file.read_text(encoding="utf-8", errors="replace")
    return f"<h2>The sweep, as run</h2>\n<pre>{escape(text)}</pre>"


def escape(text: str) -> str:
    """Escape the markup and control characters of a text for a page."""
    return escape_markup(escaped(text))
