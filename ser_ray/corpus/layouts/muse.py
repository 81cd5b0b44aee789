"""The layout `muse`: car reviews and stress tests as the MuSe challenges have distributed them since 2020.

SRC/label_segments/TARGET/VIDEO.csv    columns timestamp (ms), segment_id, value, in any order; SRC is a task, such as
                                       c1_muse_wilder, or a folder that contains one task
SRC/metadata/partition.csv             or beside SRC (2020): video first, partition last; a column speaker is optional
SRC/raw/audio_norm/VIDEO.wav           or another of WHOLE, or VIDEO/VIDEO_SEGMENT.wav in audio_segments (2020)

Each segment becomes a recording VIDEO_SEGMENT, with time stamps from its start. Where rows or their values are missing
inside, each part becomes a recording, VIDEO_SEGMENT_1, VIDEO_SEGMENT_2, ... Stretches of one row are left out. Test
segments without values are kept as unlabelled; test videos without label files (2020) are left out. A row belongs to
the audio from its time stamp on (alignment "start"); an audio file of a single segment begins at the segment's first
time stamp. Without a column speaker, each video counts as one speaker, as in the challenges' partitions.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.layouts.lines import Line, to_traces
from ser_ray.corpus.layouts.partition_table import PartitionRow, read_partitions
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
from ser_ray.corpus.source.description import Description, Labelled, Source, contents, read_notice, require
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import Traces, read_rows
from ser_ray.errors import InputError

LABELS = "label_segments"
SINGLE_RATERS = "raw_annotations"
COLUMNS = ("timestamp", "segment_id", "value")
WHOLE = ("raw/audio_norm", "raw/audio", "raw/wav", "raw_wav", "audio", "wav")
"""Folders searched for the audio of whole videos, in this order."""

PIECES = "audio_segments"
MS = 1e-3


def read(source: Path) -> Description:
    """Read a folder in the layout `muse`."""
    task = _task(source)
    roots = tuple(dict.fromkeys((task, source, task.parent)))
    tables = [root / place for root in roots for place in ("metadata/partition.csv", "partition.csv")]
    table = next((path for path in tables if path.is_file()), None)
    require(source, "muse", {f"{LABELS}/": (task / LABELS).is_dir(), "metadata/partition.csv": table is not None})
    assert table is not None
    targets = _targets(task / LABELS)
    problems = Problems(source)
    places = read_partitions(table)
    sources: list[Source] = []
    short: list[str] = []
    silent: list[str] = []
    for video, place in track(list(places.items()), "reading labels"):
        with problems.collecting():
            files = {target: paths[video] for target, paths in targets.items() if video in paths}
            if not files and place.partition == "test":
                silent.append(video)
                continue
            if not files:
                raise InputError(f"{task / LABELS}/*/{video}.csv is missing: labels of the video in {place.where}")
            found, too_short = _segments(video, place, files, roots)
            sources.extend(found)
            short.extend(too_short)
    problems.refuse()
    if not sources:
        raise InputError(f"{task / LABELS}: no segment of a video in {table} has two consecutive labels")
    unknown = sorted({video for paths in targets.values() for video in paths if video not in places})
    warnings = (*left_out_warning(short), *_warnings(silent, unknown, table))
    return Description(tuple(sources), read_notice(source), alignment="start", warnings=warnings)


def _warnings(silent: Sequence[str], unknown: Sequence[str], table: Path) -> Iterator[str]:
    if silent:
        yield f"test videos without label files are left out, as their segments are unknown: {', '.join(silent)}"
    if unknown:
        yield f"videos that {table} does not list are left out: {', '.join(unknown)}"


def _task(source: Path) -> Path:
    """Find the folder of one task: the given folder, or its only subfolder with a task."""
    if (source / LABELS).is_dir() or not source.is_dir():
        return source
    tasks = sorted(path.parent for path in source.glob(f"*/{LABELS}") if path.is_dir())
    if len(tasks) > 1:
        raise InputError(f"{source} contains {len(tasks)} tasks: import one of them, {' or '.join(map(str, tasks))}")
    return tasks[0] if tasks else source


def _targets(folder: Path) -> dict[str, dict[str, Path]]:
    """Find the label files of each target, by video."""
    targets = {
        path.name.lower(): {file.stem: file for file in sorted(path.glob("*.csv"))}
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name != SINGLE_RATERS
    }
    if not any(targets.values()):
        raise InputError(
            f"{folder} has no folder of a target with CSV files, such as arousal/1.csv; {contents(folder)}"
        )
    return targets


def _segments(
    video: str, place: PartitionRow, files: Mapping[str, Path], roots: Sequence[Path]
) -> tuple[list[Source], list[str]]:
    """Return a video's segments as recordings, and a segment's name once per stretch that is too short."""
    every = {target: _read(path) for target, path in files.items()}
    step = usual_step(traces.times_s for segments in every.values() for traces in segments.values())
    sources, short, audio = [], [], None
    for segment in dict.fromkeys(name for segments in every.values() for name in segments):
        held = {target: segments[segment] for target, segments in every.items() if segment in segments}
        if len(held) < len(every):
            lacking = next(target for target in every if target not in held)
            raise InputError(f"{files[lacking]} has no segment {segment}, but that of {next(iter(held))} has it")
        known = shared([traces.times_s[np.isfinite(traces.values["value"])] for traces in held.values()])
        labelled = bool(known.size) or place.partition != "test"
        found = stretches(known if labelled else shared([traces.times_s for traces in held.values()]), step)
        usable = numbered(f"{video}_{segment}", found)
        short += [f"{video}_{segment}"] * (max(1, len(found)) - len(usable))
        for name, stretch in usable:
            audio, begin = _audio(video, segment, held, roots)
            start_s = (stretch.first - begin) * MS
            sources.append(
                Source(
                    name=name,
                    partition=place.partition,
                    speaker=place.speaker or video,
                    audio=audio,
                    labels=partial(read_labels, files, segment, stretch) if labelled else None,
                    label_files=tuple(files.values()) if labelled else (),
                    start_s=start_s,
                    stop_s=start_s + (stretch.last - stretch.first + step) * MS,
                    extra={"video": video, "segment": segment},
                )
            )
    return sources, short


def _audio(video: str, segment: str, held: Mapping[str, Traces], roots: Sequence[Path]) -> tuple[Path, float]:
    """Find the audio file of a segment, and the time stamp (ms) at which the file begins."""
    for root in roots:
        for folder in WHOLE:
            if (path := root / folder / f"{video}.wav").is_file():
                return path, 0.0
        if (path := root / PIECES / video / f"{video}_{segment}.wav").is_file():
            return path, min(float(traces.times_s[0]) for traces in held.values())
    raise InputError(
        f"{video}.wav is missing: audio of {next(iter(held.values())).path}; looked for it in {', '.join(WHOLE)}, and "
        f"for {PIECES}/{video}/{video}_{segment}.wav, in {' and '.join(map(str, roots))}"
    )


def read_labels(files: Mapping[str, Path], segment: str, stretch: Stretch) -> Labelled:
    """Read the gold standard of a segment's stretch (in milliseconds) from a video's files by target."""
    gold = []
    for target, path in files.items():
        traces = counted_from(_read(path)[segment], stretch, MS)
        gold.append(Traces(path, traces.times_s, {target: traces.values["value"]}, traces.lines))
    return Labelled(gold=tuple(gold))


def _read(path: Path) -> dict[str, Traces]:
    """Read the traces of each segment of a label file: a column value, time stamps in milliseconds."""
    header, rows, lines = read_rows(path)
    columns = [column.lower() for column in header]
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise InputError(f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(header)}")
    filled = [Line(line, tuple(field or "nan" for field in row)) for line, row in zip(lines, rows, strict=True)]
    traces = to_traces(path, filled, columns, {"value": "value"}, "timestamp")
    names = np.array([row[columns.index("segment_id")] for row in rows])
    return {str(name): _rows(traces, np.flatnonzero(names == name)) for name in dict.fromkeys(names.tolist())}


def _rows(traces: Traces, rows: NDArray[np.intp]) -> Traces:
    """Select rows, whose time stamps must increase."""
    times = traces.times_s[rows]
    falling = np.flatnonzero(~(np.diff(times) > 0))
    if falling.size or not np.isfinite(times).all():
        row = int(rows[int(falling[0]) + 1]) if falling.size else int(rows[0])
        raise InputError(
            f"{traces.path}, line {traces.lines[row]}: timestamp is {traces.times_s[row]:g}, but must increase within "
            "a segment: sort the rows and remove duplicates"
        )
    return Traces(traces.path, times, {"value": traces.values["value"][rows]}, [traces.lines[int(row)] for row in rows])
