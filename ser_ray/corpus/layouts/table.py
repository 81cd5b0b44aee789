"""The layout `table`: a table of recordings beside folders of audio, labels and, where known, single raters.

SRC/recordings.csv (or partitions.csv)   name, partition, speaker, and optionally
                                         audio (a file; several recordings may be parts of one), channel (left,
                                         right, a number from 1, mean), start and end (seconds in that file; time
                                         stamps of labels count from start); further columns are kept in the index
SRC/audio/NAME.*                         any format, rate and number of channels that soundfile reads
SRC/labels/NAME.csv                      time (seconds) and one column per target
SRC/raters/NAME.csv                      time and one column TARGET_RATER per target and rater, such as arousal_R1
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypedDict

from ser_ray.corpus.layouts.named_files import NamedFiles, composed
from ser_ray.corpus.layouts.table_audio import AUDIO_COLUMNS, audio_part
from ser_ray.corpus.source.description import (
    Description,
    Labelled,
    OtherLayoutError,
    Source,
    contents,
    partition_named,
    read_notice,
)
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import Traces, read_rows, read_traces
from ser_ray.corpus.store.schema import INDEX_SCHEMA
from ser_ray.errors import InputError

TABLES = ("recordings.csv", "partitions.csv")
OWN_COLUMNS = ("name", "partition", "speaker", *AUDIO_COLUMNS)


def read(source: Path) -> Description:
    """Read a folder in the layout `table`."""
    table = _find_table(source)
    header, rows, lines = read_rows(table)
    header = [column.lower() if column.lower() in OWN_COLUMNS else column for column in header]
    missing = [column for column in ("name", "partition") if column not in header]
    if missing:
        raise InputError(f"{table} lacks the column {' and '.join(missing)}; it has {', '.join(header)}")
    problems = Problems(source)
    audio = NamedFiles(source / "audio")
    strays = audio.strays(composed(fields[header.index("name")]) for fields in rows)
    labels, raters = NamedFiles(source / "labels", ".csv"), NamedFiles(source / "raters", ".csv")
    seen: dict[str, int] = {}
    sources = []
    for line, fields in zip(lines, rows, strict=True):
        row = dict(zip(header, fields, strict=True))
        with problems.collecting():
            where = f"{table}, line {line}"
            name = _name(row.pop("name"), where, seen, line)
            partition = partition_named(row.pop("partition"), where)
            sources.append(
                Source(
                    name=name,
                    partition=partition,
                    speaker=composed(row.pop("speaker", "")) or name,
                    **audio_part(name, row, where, audio, strays),
                    **_labels(labels.one(name), raters.one(name)),
                    extra={_free(column): value for column, value in row.items()},
                )
            )
    problems.refuse()
    warnings = []
    for files, what in ((labels, "labels"), (raters, "raters' file")):
        without = [(one.partition, one.name) for one in sources if not files.of(one.name)]
        warnings += files.strays(seen).warnings(what, without)
    return Description(tuple(sources), read_notice(source), warnings=tuple(warnings))


def _find_table(source: Path) -> Path:
    for name in TABLES:
        if (source / name).is_file():
            return source / name
    raise OtherLayoutError(
        f"no table of recordings in {source}: looked for {' and '.join(TABLES)} (columns name, partition, speaker), "
        f"but {contents(source)}"
    )


def _name(name: str, where: str, seen: dict[str, int], line: int) -> str:
    name = composed(name)
    if not name or "/" in name or "\\" in name:
        raise InputError(f"{where}: name is {name!r}, but must be a file name without folder and suffix")
    if name in seen:
        raise InputError(f"{where}: recording {name!r} is already in line {seen[name]}; a name must be unique")
    seen[name] = line
    return name


class _Labels(TypedDict):
    labels: Callable[[], Labelled] | None
    label_files: tuple[Path, ...]


def _labels(labels: Path | None, raters: Path | None) -> _Labels:
    """Return the function that reads a recording's labels, if it has any, and their files."""
    there = tuple(path for path in (labels, raters) if path is not None)
    read = partial(_read, labels, raters)
    return {"labels": read if there else None, "label_files": there}


def _read(labels: Path | None, raters: Path | None) -> Labelled:
    gold: tuple[Traces, ...] = ()
    if labels is not None:
        traces = read_traces(labels)
        gold = (replace(traces, values={column.lower(): values for column, values in traces.values.items()}),)
    return Labelled(gold, _ratings(raters) if raters is not None else {})


def _ratings(path: Path) -> dict[str, tuple[Traces, ...]]:
    """Read the raters' traces per target, from columns named TARGET_RATER."""
    traces = read_traces(path)
    by_target: dict[str, dict[str, str]] = defaultdict(dict)
    for column in traces.values:
        target, _, rater = column.partition("_")
        if rater:
            by_target[target.lower()][rater] = column
    if not by_target:
        raise InputError(
            f"{path} has the columns {', '.join(traces.values) or 'time only'}, but a rater's column is named "
            "TARGET_RATER, such as arousal_R1"
        )
    return {
        target: (replace(traces, values={rater: traces.values[column] for rater, column in columns.items()}),)
        for target, columns in by_target.items()
    }


def _free(column: str) -> str:
    """Return a column's name in the index, with a prefix if the index has a column of that name."""
    return f"table_{column}" if column in INDEX_SCHEMA.names else column
