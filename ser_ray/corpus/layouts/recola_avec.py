"""The layout `recola_avec`: RECOLA as the challenges AVEC 2015 and 2016 distributed it.

SRC/recordings_audio/train_1.wav                        train_1 .., dev_1 .., test_1 ..; any rate
SRC/ratings_gold_standard/{arousal,valence}/train_1.arff    frameTime (s) and GoldStandard; 7,501 rows from 0 to 300 s
SRC/ratings_individual/{arousal,valence}/train_1.csv    where present: time and a column per rater, such as FM1

Test recordings may lack a gold standard, as AVEC never released it. The data does not identify the people behind the
numbers, so each recording counts as its own speaker. Frames carry the label at their end, as in the paper: the first
row is dropped and 7,500 are left.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ser_ray.corpus.layouts.lines import Line, read_lines, to_traces
from ser_ray.corpus.layouts.recola_files import (
    AUDIO,
    Files,
    audio_file,
    files_in,
    in_targets,
    label_files,
    listed,
    names_in,
    read_raters,
)
from ser_ray.corpus.source.description import Description, Labelled, Source, read_notice, require
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import Traces
from ser_ray.corpus.store.schema import PARTITIONS
from ser_ray.errors import InputError

NAME = re.compile(r"(train|dev|test)_\d+")


def read(source: Path) -> Description:
    """Read a folder in the layout `recola_avec`."""
    audio = files_in(source / "recordings_audio", *AUDIO)
    gold = in_targets(source / "ratings_gold_standard", ".arff")
    ratings = in_targets(source / "ratings_individual", ".csv")
    wanted = {f"ratings_gold_standard/{target}/*.arff": bool(files.found) for target, files in gold.items()}
    require(source, "recola_avec", {"recordings_audio/*.wav": bool(audio.found), **wanted})
    problems = Problems(source)
    sources = []
    for name, file in names_in([audio, *gold.values(), *ratings.values()]).items():
        with problems.collecting():
            sources.append(_source(name, file, audio, gold, ratings))
    problems.refuse()
    sources.sort(key=lambda recording: PARTITIONS.index(recording.partition))
    made = [name for name in ratings["arousal"].found if name not in gold["arousal"].found]
    warning = f"gold of {listed(made)} will be computed from raters, while that of the others is given"
    return Description(tuple(sources), read_notice(source), alignment="end", warnings=(warning,) if made else ())


def _source(name: str, file: Path, audio: Files, gold: Mapping[str, Files], ratings: Mapping[str, Files]) -> Source:
    """Describe a recording of which one file is known."""
    match = NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{file}: name is {name!r}, but must be train_N, dev_N or test_N with a number N")
    partition = {"dev": "devel"}.get(match[1], match[1])
    sound = audio_file(name, audio, needed_by=file)
    gold_files = label_files(name, gold, needed_by="" if partition == "test" else str(sound))
    rating_files = label_files(name, ratings)
    return Source(
        name=name,
        partition=partition,
        speaker=name,
        audio=sound,
        labels=partial(_labels, gold_files, rating_files) if gold_files or rating_files else None,
        label_files=(*gold_files.values(), *rating_files.values()),
    )


def _labels(gold: Mapping[str, Path], ratings: Mapping[str, Path]) -> Labelled:
    return Labelled(
        gold=tuple(
            read_arff(path, time="frameTime", value="GoldStandard", column=target) for target, path in gold.items()
        ),
        ratings={target: (read_raters(path),) for target, path in ratings.items()},
    )


ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)", re.IGNORECASE)
UNKNOWN = "?"
"""ARFF's mark of a missing value."""


def read_arff(path: Path, *, time: str, value: str, column: str) -> Traces:
    """Read an attribute of an ARFF file over time, as traces with one `column`; NaN where the file has "?".

    Headers differ in length, so columns are found by the names of their attributes, and rows by the line @data. Case,
    quotes, blank lines and comments (%) are ignored.
    """
    lines = [line for line in read_lines(path, ",") if not line.fields[0].startswith("%")]
    begin = next((place for place, line in enumerate(lines) if line.fields[0].lower() == "@data"), None)
    if begin is None:
        raise InputError(f"{path} has no line @data, so it is not an ARFF file, or it is truncated")
    attributes = _attributes(lines[:begin])
    for name in (time, value):
        if name.lower() not in attributes:
            raise InputError(f"{path} has no attribute {name}, only {', '.join(attributes) or 'none at all'}")
    rows = [
        Line(line.number, tuple("nan" if field == UNKNOWN else field for field in line.fields))
        for line in lines[begin + 1 :]
    ]
    return to_traces(path, rows, attributes, {value.lower(): column}, time.lower())


def _attributes(header: Sequence[Line]) -> list[str]:
    matches = [ATTRIBUTE.match(line.fields[0]) for line in header]
    return [match[1].strip("'\"").strip().lower() for match in matches if match]
