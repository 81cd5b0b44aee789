"""The layout `sewa`: video chats as AVEC 2017, 2018 and 2019 distributed them.

SRC/audio/Train_01.wav     or Train_DE_01.wav: partition, culture (since 2018), number; one subject each
SRC/labels/Train_01.csv    'name';timestamp;arousal;valence;liking, 10 lines a second from 0 s on; in 2019 with a header
SRC/turns/Train_01.csv     optional: start;end of the subject's turns

Line i belongs to the audio from its time stamp on (alignment "start"): the challenges' baselines pair labels and
features this way, and so do end-to-end models on this corpus. Turns do not affect labels; their total duration is kept
in the index as turns_s.
"""

import re
from functools import partial
from pathlib import Path

from ser_ray.corpus.layouts.lines import read_lines, to_number, to_traces, without_header
from ser_ray.corpus.source.description import (
    Description,
    Labelled,
    Source,
    contents,
    partition_named,
    read_notice,
    require,
)
from ser_ray.corpus.source.problems import Problems
from ser_ray.errors import InputError

NAME = re.compile(r"(?P<partition>Train|Devel|Test)(?:_(?P<culture>[A-Z]{2}))?_[0-9]+")
COLUMNS = ("name", "timestamp", "arousal", "valence", "liking")
"""Columns of a file without a header."""

TIME = "timestamp"


def read(source: Path) -> Description:
    """Read a folder in the layout `sewa`."""
    audio, labels = source / "audio", source / "labels"
    require(source, "sewa", {"audio/": audio.is_dir(), "labels/": labels.is_dir()})
    waves = {path.stem: path for path in sorted(audio.glob("*.wav")) if not path.name.startswith(".")}
    sources, warnings = [], []
    problems = Problems(source)
    for name, path in waves.items():
        if not (match := NAME.fullmatch(name)):
            warnings.append(f"{path} is left out: its name is not like Train_01 or Devel_DE_01")
            continue
        with problems.collecting():
            sources.append(_source(source, path, partition_named(match["partition"], str(path)), match["culture"]))
    for path in sorted(labels.glob("*.csv")):
        if NAME.fullmatch(path.stem) and path.stem not in waves:
            problems.add(f"{audio / path.stem}.wav is missing: audio of the labels {path}")
    problems.refuse()
    if not sources:
        raise InputError(f"{audio} has no recording named like Train_01.wav or Devel_DE_01.wav; {contents(audio)}")
    return Description(tuple(sources), read_notice(source), alignment="start", warnings=tuple(warnings))


def _source(folder: Path, audio: Path, partition: str, culture: str | None) -> Source:
    labels = folder / "labels" / f"{audio.stem}.csv"
    turns = folder / "turns" / f"{audio.stem}.csv"
    labelled = labels.is_file()
    if not labelled and partition != "test":
        raise InputError(f"{labels} is missing: labels of {audio}, which is in partition {partition}")
    extra = {"culture": culture} if culture else {}
    if turns.is_file():
        extra["turns_s"] = f"{_spoken_s(turns):.1f}"
    return Source(
        name=audio.stem,
        partition=partition,
        speaker=audio.stem,
        audio=audio,
        labels=partial(read_labels, labels) if labelled else None,
        label_files=(labels,) if labelled else (),
        extra=extra,
    )


def read_labels(path: Path) -> Labelled:
    """Read the gold standard of one recording."""
    every = read_lines(path, ";")
    lines = without_header(every)
    columns = COLUMNS if len(lines) == len(every) else tuple(field.lower() for field in every[0].fields)
    if TIME not in columns:
        raise InputError(f"{path} has no column {TIME}, only {', '.join(columns)}")
    targets = {column: column for column in columns if column not in ("name", TIME)}
    return Labelled(gold=(to_traces(path, lines, columns, targets, TIME),))


def _spoken_s(path: Path) -> float:
    """Sum the durations of turns, from lines start;end with or without a header."""
    spoken = 0.0
    for line in without_header(read_lines(path, ";")):
        if len(line.fields) < 2:
            raise InputError(f"{path}, line {line.number}: {len(line.fields)} field, but a turn needs two: start;end")
        start, end = (to_number(text, f"{path}, line {line.number}: turn") for text in line.fields[:2])
        spoken += end - start
    return spoken
