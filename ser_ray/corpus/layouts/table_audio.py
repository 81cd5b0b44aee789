"""Find the audio of a row of the layout `table`: a file named after the recording, or the one that the row names."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import soundfile

from ser_ray.corpus.layouts.named_files import NamedFiles, Strays, composed
from ser_ray.corpus.source.channels import Channel, channel_named
from ser_ray.errors import InputError

AUDIO_COLUMNS = ("audio", "channel", "start", "end")
"""Optional columns of the table: the file, its channel, and the start and end of the part in seconds."""
FURTHER_SUFFIXES = ("aif", "oga", "opus", "sph")
"""Suffixes of files that libsndfile reads without listing the suffix as a format."""


class Part(TypedDict):
    """Fields of a `Source` that describe its audio."""

    audio: Path
    channel: Channel
    start_s: float
    stop_s: float | None


def audio_part(name: str, row: Mapping[str, str], where: str, files: NamedFiles, strays: Strays) -> Part:
    """Find the audio of a recording, using the AUDIO_COLUMNS of its row that are present and not empty.

    `strays` are the files not named after any recording; `where` is table and line, for messages.
    """
    given = row.get("audio", "")
    start_s, stop_s = _seconds(row, "start", where), _seconds(row, "end", where)
    if start_s is not None and stop_s is not None and stop_s <= start_s:
        raise InputError(f"{where}: end is {stop_s:g} s, but start is {start_s:g} s: the end must be after the start")
    return {
        "audio": _given(given, where, files) if given else _named(name, files, strays),
        "channel": channel_named(row.get("channel", ""), f"{where} (rename the column if it means something else)"),
        "start_s": start_s or 0.0,
        "stop_s": stop_s,
    }


def _seconds(row: Mapping[str, str], column: str, where: str) -> float | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(
            f"{where}: {column} is {text!r}, but must be seconds from the beginning of the audio file, such as 12.5; "
            "rename the column if it means something else"
        )
    return value


def _given(value: str, where: str, files: NamedFiles) -> Path:
    """Find the file that a table names, with or without its suffix, in the folder audio or its parent."""
    for folder in (files.folder, files.folder.parent):
        if (path := folder / value).is_file():
            return _readable([path], value)
    wanted = composed(value)
    near = [path for path in files.of(wanted) or files.of(Path(wanted).stem) if path.is_file()]
    found = [path for path in near if wanted in (composed(path.name), composed(path.stem))]
    if found:
        return _readable(found, value)
    hint = f"; a similar file is {near[0]}" if near else ""
    raise InputError(
        f"{where}: audio is {value!r}, but neither {files.folder} nor {files.folder.parent} has such a file{hint}; "
        "rename the column if it means something else"
    )


def _named(name: str, files: NamedFiles, strays: Strays) -> Path:
    """Find the audio file named after a recording."""
    present = files.of(name)
    if present:
        return _readable(present, name)
    missing = f"{files.folder / name}.* is missing: audio of recording {name} (wav, flac, ogg, mp3, ...)"
    raise InputError(missing + strays.hint(name))


def _readable(present: Sequence[Path], name: str) -> Path:
    """Choose the only one of some files that is audio by its suffix."""
    suffixes = {*(suffix.lower() for suffix in soundfile.available_formats()), *FURTHER_SUFFIXES}
    readable = [path for path in present if path.suffix[1:].lower() in suffixes]
    if not readable:
        raise InputError(f"{present[0]}: this format is not supported; convert it to wav or flac")
    if len(readable) > 1:
        raise InputError(f"audio of {name} is ambiguous: {' and '.join(map(str, readable))}; keep one")
    return readable[0]
