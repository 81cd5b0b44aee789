"""The layout `audformat`: databases in audEERING's format, read with their library of the same name.

SRC/db.yaml                the header: tables, schemes, splits, raters
SRC/db.TABLE.parquet       or csv: tables; SRC/FILE is the audio of a row

Labels over time are in segmented tables (file, start, end) with a row per frame, in numeric columns. The target is the
column's scheme, or without a scheme its name (arousal, valence or dominance). Two or more columns of one target whose
raters have the type human are single raters; other columns are gold standards. Where rows are missing inside a file,
each part becomes a recording. A row belongs to the audio from start to end (alignment "start").

Partitions come from the splits of the label tables (train, dev, test), else from other tables with a split that list
the file, else from a column `split` or `partition`. Speakers and sexes come from columns of these names, sexes also
from the fields of the scheme of speakers.

Tables stored as pickles are not read, since a pickle can execute any code; a pickle next to a table is ignored.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.layouts.aud_format_people import Facts, facts_of
from ser_ray.corpus.layouts.aud_format_tables import (
    HEADER,
    LabelTable,
    frame_of,
    label_tables,
    open_database,
    others_deprecations,
    table_file,
    table_names,
)
from ser_ray.corpus.layouts.stretches import (
    Stretch,
    counted_from,
    left_out_warning,
    numbered,
    shared,
    stretches,
    usual_step,
)
from ser_ray.corpus.progress import track
from ser_ray.corpus.source.description import Description, Labelled, Source, read_notice, require
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import Traces
from ser_ray.errors import InputError


def read(source: Path) -> Description:
    """Read a database in the layout `audformat`."""
    require(source, "audformat", {HEADER: (source / HEADER).is_file()})
    with open_database(source) as database, others_deprecations():
        tables = label_tables(database, source)
        facts = facts_of(database)
    held: dict[str, list[LabelTable]] = defaultdict(list)
    for table in tables:
        for file in dict.fromkeys(frame_of(source, table.name).index.get_level_values("file")):
            held[str(file)].append(table)
    problems = Problems(source)
    sources: list[Source] = []
    short: list[str] = []
    names = _names(held)
    for file, of_file in track(list(held.items()), "reading labels"):
        with problems.collecting():
            found, too_short = _recordings(source, file, names[file], of_file, facts)
            sources.extend(found)
            short.extend(too_short)
    problems.refuse()
    if not sources:
        raise InputError(
            f"{source}: no two rows of {table_names(tables)} are consecutive: they contain no labels over time"
        )
    notice = read_notice(source) or str(database.license or "")
    return Description(tuple(sources), notice, alignment="start", warnings=left_out_warning(short))


def _names(files: Iterable[str]) -> dict[str, str]:
    """Name each file: its stem, or if stems are not unique its path, joined by _."""
    paths = {file: Path(file) for file in files}
    stems = [path.stem for path in paths.values()]
    if len(set(stems)) == len(stems):
        return {file: path.stem for file, path in paths.items()}
    return {file: "_".join(path.with_suffix("").parts) for file, path in paths.items()}


def _recordings(
    source: Path, file: str, name: str, tables: list[LabelTable], facts: Facts
) -> tuple[list[Source], list[str]]:
    """Return a file's stretches as recordings, and its name once per stretch left out (once if it has no stretch)."""
    if not (source / file).is_file():
        raise InputError(f"{source / file} is missing: audio of table {tables[0].name}")
    partition = facts.partition(file, [table.name for table in tables], source)
    rows = [_rows(source, table, file) for table in tables]
    known = shared([traces.times_s[_said(traces, table)] for traces, table in zip(rows, tables, strict=True)])
    labelled = bool(known.size) or partition != "test"
    every = shared([traces.times_s for traces in rows])
    step = usual_step([traces.times_s for traces in rows])
    found = stretches(known if labelled else every, step)
    usable = numbered(name, found)
    sources = [
        Source(
            name=called,
            partition=partition,
            speaker=facts.speakers.get(file, name),
            audio=source / file,
            labels=partial(read_labels, source, tuple(tables), file, stretch) if labelled else None,
            label_files=tuple(traces.path for traces in rows) if labelled else (),
            start_s=stretch.first,
            stop_s=stretch.last + step,
            extra=facts.extra(file),
        )
        for called, stretch in usable
    ]
    return sources, [name] * (max(1, len(found)) - len(usable))


def _said(traces: Traces, table: LabelTable) -> NDArray[np.bool_]:
    """Return a mask of the rows with, for every target, a gold value or, where it has no gold, any rater's value."""
    said = [np.isfinite(traces.values[column]) for column in table.gold.values()]
    for target, raters in table.ratings.items():
        if target not in table.gold:
            said.append(np.any([np.isfinite(traces.values[column]) for column in raters.values()], axis=0))
    return np.asarray(np.all(said, axis=0))


def _rows(source: Path, table: LabelTable, file: str) -> Traces:
    """Return a file's rows, their time stamps in seconds from its start; no two may begin at the same time."""
    frame = frame_of(source, table.name).loc[[file]]
    # Dividing whole nanoseconds gives exactly the seconds that somebody wrote. A missing start is the file's start.
    starts = frame.index.get_level_values("start").fillna(np.timedelta64(0, "ns")).as_unit("ns").asi8 / 1e9
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    path = table_file(source, table.name)
    if not (np.diff(starts) > 0).all():
        row = int(np.argmin(np.diff(starts) > 0)) + 1
        raise InputError(f"{path}: {file} has two rows that start at {starts[row]:g} s: keep one")
    values = {column: frame[column].to_numpy(np.float64, na_value=np.nan)[order] for column in table.columns}
    return Traces(path, starts, values, range(1, starts.size + 1))


def read_labels(source: Path, tables: tuple[LabelTable, ...], file: str, stretch: Stretch) -> Labelled:
    """Read the labels of a stretch, in seconds, of a file."""
    gold: list[Traces] = []
    ratings: dict[str, tuple[Traces, ...]] = {}
    for table in tables:
        rows = counted_from(_rows(source, table, file), stretch, 1.0)
        if table.gold:
            gold.append(_called(rows, table.gold))
        for target, raters in table.ratings.items():
            ratings[target] = (*ratings.get(target, ()), _called(rows, raters))
    return Labelled(gold=tuple(gold), ratings=ratings)


def _called(rows: Traces, columns: Mapping[str, str]) -> Traces:
    return Traces(rows.path, rows.times_s, {name: rows.values[column] for name, column in columns.items()}, rows.lines)
