"""Helpers of the RECOLA layouts: find files named after recordings, and report missing files."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ser_ray.corpus.source.description import Labelled, Source
from ser_ray.corpus.source.traces import Traces, read_traces
from ser_ray.errors import InputError

TARGETS = ("arousal", "valence")
AUDIO = (".wav", ".flac")


@dataclass(frozen=True)
class Files:
    """Files of one kind in one folder, by their stem; `suffix` is used in messages about missing files."""

    folder: Path
    suffix: str
    found: Mapping[str, Path]

    def path(self, name: str) -> Path:
        """Return the file of a recording, or the path where it should be."""
        return self.found.get(name, self.folder / f"{name}{self.suffix}")


def files_in(folder: Path, *suffixes: str) -> Files:
    """Find the files of a folder, which may be missing, with one of some suffixes (lower case, with a point).

    Messages about missing files name the first suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        # macOS leaves a hidden ._NAME.wav beside each file that it copies.
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            raise InputError(f"recording {path.stem} has two files, {found[path.stem]} and {path}: keep one")
        found[path.stem] = path
    return Files(folder, suffixes[0], found)


def in_targets(folder: Path, suffix: str) -> dict[str, Files]:
    """Find the label files in a folder's subfolders arousal and valence, by target."""
    return {target: files_in(folder / target, suffix) for target in TARGETS}


def names_in(kinds: Iterable[Files]) -> dict[str, Path]:
    """Collect the recordings for which any kind of file exists, P9 before P10, each with one of its files."""
    first: dict[str, Path] = {}
    for files in kinds:
        for name, path in files.found.items():
            first.setdefault(name, path)
    return {name: first[name] for name in sorted(first, key=by_number)}


def by_number(name: str) -> tuple[str, int]:
    """Return a sort key for names: the text before the trailing number, then the number."""
    match = re.fullmatch(r"(.*?)(\d+)", name)
    return (match[1], int(match[2])) if match else (name, -1)


def label_files(name: str, kinds: Mapping[str, Files], *, needed_by: str = "") -> dict[str, Path]:
    """Find the label files of a recording, by target: one for each target, or none at all.

    `needed_by` names the file that needs labels, for the message; it is empty where labels are optional.
    """
    found = {target: files.found[name] for target, files in kinds.items() if name in files.found}
    missing = [files.path(name) for target, files in kinds.items() if target not in found]
    if found and missing:
        there = " and ".join(map(str, found.values()))
        raise InputError(
            f"{missing[0]} is missing, but {there} exists: every labelled recording needs both targets; add the file, "
            "or remove the other"
        )
    if missing and needed_by:
        raise InputError(
            f"{missing[0]} is missing: labels of {needed_by}; recordings of train and devel need labels; add the "
            "file, or remove the audio"
        )
    return found


def audio_file(name: str, audio: Files, needed_by: object) -> Path:
    """Return the audio file of a recording, or raise an InputError that begins with `needed_by`."""
    if name not in audio.found:
        raise InputError(
            f"{needed_by} needs the audio {audio.path(name)}, which is missing: add it, or remove the recording"
        )
    return audio.found[name]


def source_of(
    name: str,
    partition: str,
    audio: Files,
    labels: Mapping[str, Files],
    read: Callable[[Mapping[str, Path]], Labelled],
    *,
    needed_by: object,
    extra: Mapping[str, str] | None = None,
) -> Source:
    """Describe a recording with one audio file and one label file per target, which is its own speaker.

    Test recordings may lack labels. `read` is a module-level function, called with the recording's label files.
    """
    sound = audio_file(name, audio, needed_by)
    files = label_files(name, labels, needed_by="" if partition == "test" else str(sound))
    return Source(
        name=name,
        partition=partition,
        speaker=name,
        audio=sound,
        labels=partial(read, files) if files else None,
        label_files=tuple(files.values()),
        extra=extra or {},
    )


def read_raters(path: Path) -> Traces:
    """Read the traces of single raters from a file with a column time and one per rater."""
    traces = read_traces(path)
    if not traces.values:
        raise InputError(f"{path} has no column of a rater, only time")
    return traces


def listed(names: Collection[str], most: int = 8) -> str:
    """List the first `most` names in one line, an ellipsis for the rest."""
    shown = sorted(names, key=by_number)
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
