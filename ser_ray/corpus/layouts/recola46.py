"""The layout `recola46`: all 46 people of RECOLA, as stored by the paper's authors, with the paper's own split.

SRC/Ratings_affective_behaviour_CCC_centred/{arousal,valence}/P16.csv   time (s), gold; `,` or, with a header, `;`
SRC/Audio_recordings/P16.wav                    or recordings_audio/, audio/, or beside the video; any rate
SRC/Video_recordings_MP4/P16.mp4                not read: the audio must be extracted; the error message shows how
SRC/partitions.csv                              optional, your own split instead of the paper's: name, partition

The paper's split is 16, 15 and 15 people (recola46_split.csv). The labels of only 23 people are public, so outsiders
cannot reproduce the paper's numbers. Frames carry the label at their end: of 7,501 rows the first is dropped, as in the
authors' code.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from ser_ray.corpus.layouts.lines import read_lines, to_traces, without_header
from ser_ray.corpus.layouts.recola_files import (
    AUDIO,
    Files,
    files_in,
    in_targets,
    listed,
    names_in,
    source_of,
)
from ser_ray.corpus.layouts.recola_split import Split, paper_split, read_split
from ser_ray.corpus.source.description import Description, Labelled, read_notice, require
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import Traces
from ser_ray.errors import InputError

RATINGS, VIDEO = "Ratings_affective_behaviour_CCC_centred", "Video_recordings_MP4"
AUDIO_FOLDERS = ("Audio_recordings", "recordings_audio", "audio", VIDEO)


def read(source: Path) -> Description:
    """Read a folder in the layout `recola46`."""
    audio = _find_audio(source)
    video = files_in(source / VIDEO, ".mp4")
    gold = in_targets(source / RATINGS, ".csv")
    wanted = {f"{RATINGS}/{target}/*.csv": bool(files.found) for target, files in gold.items()}
    folders = "/, ".join(AUDIO_FOLDERS)
    require(source, "recola46", {f"*.wav in one of {folders}/": bool(audio.found or video.found), **wanted})
    problems = Problems(source)
    present = names_in([audio, *gold.values(), video])
    split = read_split(source, present, problems)
    silent = [name for name in split.places if name in video.found and name not in audio.found]
    if silent:
        problems.add(_how_to_extract(source, [video.found[name] for name in silent]))
    sources = []
    for name, place in split.places.items():
        if name in silent:
            continue
        with problems.collecting():
            by = present.get(name, place.where)
            sources.append(source_of(name, place.partition, audio, gold, _labels, needed_by=by))
    problems.refuse()
    warnings = (*split.warnings, *_warn_of_missing(split))
    return Description(tuple(sources), read_notice(source), alignment="end", warnings=warnings)


def _find_audio(source: Path) -> Files:
    """Find the audio in all AUDIO_FOLDERS; no recording may be in two of them."""
    found: dict[str, Path] = {}
    for folder in AUDIO_FOLDERS:
        for name, path in files_in(source / folder, *AUDIO).found.items():
            if name in found:
                raise InputError(f"recording {name} has two files, {found[name]} and {path}: keep one")
            found[name] = path
    return Files(source / AUDIO_FOLDERS[0], AUDIO[0], found)


def _how_to_extract(source: Path, videos: list[Path]) -> str:
    """Return the message for videos without audio, with a command that extracts all and overwrites nothing."""
    into, since = shlex.quote(str(source / AUDIO_FOLDERS[0])), shlex.quote(str(source / VIDEO))
    return (
        f"{len(videos)} x video without audio file, such as {videos[0]}: audio is not read from mp4; extract 16 kHz "
        f'mono wav with `mkdir -p {into} && for f in {since}/*.mp4; do ffmpeg -n -i "$f" -vn -ac 1 -ar 16000 '
        f'-c:a pcm_s16le {into}/"$(basename "$f" .mp4)".wav; done`'
    )


def _labels(gold: Mapping[str, Path]) -> Labelled:
    return Labelled(gold=tuple(read_two_columns(path, target) for target, path in gold.items()))


def read_two_columns(path: Path, column: str) -> Traces:
    """Read a trace, named `column`, from a file of time and value, with or without a header."""
    separator = ";" if ";" in path.read_text(encoding="utf-8-sig", errors="replace") else ","
    lines = without_header(read_lines(path, separator))
    return to_traces(path, lines, ("time", column), {column: column}, "time")


def _warn_of_missing(split: Split) -> list[str]:
    missing = [name for name in paper_split() if name not in split.places]
    if split.own or not missing:
        return []
    return [
        f"{len(missing)} of the paper's 46 people are missing ({listed(missing)}): results will not be comparable "
        "with the paper's"
    ]
