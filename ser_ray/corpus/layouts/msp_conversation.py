"""The layout `msp_conversation`: the MSP-Conversation corpus, parts of podcasts rated while listening.

SRC/Audio/MSP-Conversation_0047.wav                         a conversation
SRC/Annotations/Arousal/MSP-Conversation_0047_2_001.csv     ratings of its part 2 by rater 001, likewise Valence and
                                                            Dominance: a preamble of any length, then time,value at
                                                            irregular times (s) from the part's start, -100 to 100
SRC/Time_Labels/conversation_parts.txt                      MSP-Conversation_0047_2;start;end, in podcast time (s)
SRC/Time_Labels/conversations.txt                           optional: NAME;start;end of each conversation; without it,
                                                            a conversation starts with its first part
SRC/partitions.txt                                          MSP-Conversation_0047;Train; or partitions.csv of your own

Each part becomes a recording. Its conversation counts as one speaker, since several people speak. Values are divided by
100 and traces resampled to 25 Hz: the label of a frame is the mean of the ratings in it (alignment "end"). The gold
standard is made from the raters. segments.json (turns) is not needed.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ser_ray.corpus.layouts.lines import Line, is_number, read_lines, to_number, to_traces
from ser_ray.corpus.layouts.partition_table import PartitionRow, read_partitions
from ser_ray.corpus.source.description import Description, Labelled, Source, contents, read_notice, require
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import Traces
from ser_ray.errors import InputError

LABEL_RATE_HZ = 25.0
FULL_SCALE = 100.0
PART = re.compile(r"(?P<conversation>.+)_[0-9]+")
RATED = re.compile(r"(?P<part>.+_[0-9]+)_(?P<rater>[^_]+)")
TIMES = ("Time_Labels", "Time Labels")
PARTITIONS = ("partitions.txt", "partitions.csv")
Files = Mapping[str, Mapping[str, Path]]


def read(source: Path) -> Description:
    """Read a folder in the layout `msp_conversation`."""
    times = next((source / name for name in TIMES if (source / name).is_dir()), source / TIMES[0])
    table = next((source / name for name in PARTITIONS if (source / name).is_file()), None)
    wanted = {
        "Audio/": (source / "Audio").is_dir(),
        "Annotations/": (source / "Annotations").is_dir(),
        f"{TIMES[0]}/conversation_parts.txt": (times / "conversation_parts.txt").is_file(),
        "partitions.txt (lines such as MSP-Conversation_0047;Train)": table is not None,
    }
    require(source, "msp_conversation", wanted)
    assert table is not None
    problems = Problems(source)
    parts = _parts(times, problems)
    files = _rated(source / "Annotations")
    places = read_partitions(table)
    sources = []
    for part, (start_s, stop_s) in parts.items():
        with problems.collecting():
            sources.append(_source(source / "Audio", part, start_s, stop_s, files.get(part, {}), places, table))
    problems.refuse()
    return Description(
        tuple(sources),
        read_notice(source),
        alignment="end",
        label_rate_hz=LABEL_RATE_HZ,
        warnings=_warnings(files, parts, times),
    )


def _parts(times: Path, problems: Problems) -> dict[str, tuple[float, float]]:
    """Read start and end (s) of each part in the audio of its conversation."""
    spans = _spans(times / "conversation_parts.txt", problems)
    begins: dict[str, float] = {}
    if (times / "conversations.txt").is_file():
        begins = {name: start for name, (start, _) in _spans(times / "conversations.txt", problems).items()}
    for part, (start, _) in spans.items():
        begins.setdefault(_conversation(part), start)
    return {part: (s - begins[_conversation(part)], e - begins[_conversation(part)]) for part, (s, e) in spans.items()}


def _spans(path: Path, problems: Problems) -> dict[str, tuple[float, float]]:
    """Read start and end of each name, from lines name;start;end."""
    spans = {}
    for line in read_lines(path, ";"):
        where = f"{path}, line {line.number}"
        with problems.collecting():
            if len(line.fields) != 3:
                raise InputError(f"{where}: {len(line.fields)} fields, but must be 3: name;start;end")
            start, end = (to_number(text, f"{where}: time") for text in line.fields[1:])
            if not 0 <= start < end:
                raise InputError(f"{where}: from {start:g} to {end:g} s, but must end after it begins")
            spans[line.fields[0]] = (start, end)
    return spans


def _conversation(part: str) -> str:
    match = PART.fullmatch(part)
    return match["conversation"] if match else part


def _rated(folder: Path) -> dict[str, dict[str, dict[str, Path]]]:
    """Find the rating files of each part, by target and rater."""
    files: dict[str, dict[str, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))
    for target in sorted(path for path in folder.iterdir() if path.is_dir()):
        for path in sorted(target.glob("*.csv")):
            if not path.name.startswith(".") and (match := RATED.fullmatch(path.stem)):
                files[match["part"]][target.name.lower()][match["rater"]] = path
    if not files:
        raise InputError(
            f"{folder} has no file named like Arousal/MSP-Conversation_0047_2_001.csv (conversation, part, rater); "
            f"{contents(folder)}"
        )
    return files


def _source(
    audio: Path, part: str, start_s: float, stop_s: float, files: Files, places: Mapping[str, PartitionRow], table: Path
) -> Source:
    conversation = _conversation(part)
    path = audio / f"{conversation}.wav"
    if not path.is_file():
        raise InputError(f"{path} is missing: audio of the part {part}")
    place = places.get(part) or places.get(conversation)
    if place is None:
        raise InputError(f"{table} has no line for {conversation}: add one, such as {conversation};Train")
    if not files and place.partition != "test":
        raise InputError(
            f"no rater has rated {part}, which is in partition {place.partition}: looked for Annotations/*/{part}_*.csv"
        )
    return Source(
        name=part,
        partition=place.partition,
        speaker=place.speaker or conversation,
        audio=path,
        labels=partial(read_labels, {target: dict(raters) for target, raters in files.items()}) if files else None,
        label_files=tuple(path for raters in files.values() for path in raters.values()),
        start_s=start_s,
        stop_s=stop_s,
        extra={"conversation": conversation},
    )


def _warnings(files: Mapping[str, object], parts: Mapping[str, object], times: Path) -> tuple[str, ...]:
    unknown = [part for part in files if part not in parts]
    if not unknown:
        return ()
    return (
        f"ratings of parts that {times / 'conversation_parts.txt'} does not list are left out: {', '.join(unknown)}",
    )


def read_labels(files: Files) -> Labelled:
    """Read the raters' traces of a part, from a file per target and rater."""
    return Labelled(
        ratings={
            target: tuple(_trace(path, rater) for rater, path in raters.items()) for target, raters in files.items()
        }
    )


def _trace(path: Path, rater: str) -> Traces:
    """Read one rater's trace, scaled to [-1, 1]."""
    lines = read_lines(path, ",")
    begin = next((place for place, line in enumerate(lines) if _has_data(line)), len(lines))
    traces = to_traces(path, lines[begin:], ("time", "value"), {"value": rater}, "time")
    values = traces.values[rater]
    beyond = np.flatnonzero(np.abs(values) > FULL_SCALE)
    if beyond.size:
        row = int(beyond[0])
        raise InputError(
            f"{path}, line {traces.lines[row]}: value is {values[row]:g}, but must be between -{FULL_SCALE:g} and "
            f"{FULL_SCALE:g}; correct the line, or remove the file"
        )
    return replace(traces, values={rater: values / FULL_SCALE})


def _has_data(line: Line) -> bool:
    """Return whether a line contains data; lines of the preamble begin with a word."""
    return len(line.fields) > 1 and all(map(is_number, line.fields[:2]))
