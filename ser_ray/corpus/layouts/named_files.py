"""Find files named after recordings, in any Unicode form of the name, and suggest similar ones for missing files."""

import difflib
import functools
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ser_ray.errors import InputError

SHOWN = 3
MOST_COMPARED = 50
"""With at most this many files, names are compared letter by letter to find a typing mistake."""


def composed(name: str) -> str:
    """Convert a name to Unicode's composed form (NFC); macOS, and archives made there, use the decomposed one."""
    return unicodedata.normalize("NFC", name)


class NamedFiles:
    """The files of a folder, which need not exist, by the recordings they are named after.

    With a suffix, such as ".csv", only files with it count, in either case.
    """

    def __init__(self, folder: Path, suffix: str = "") -> None:
        self.folder, self._suffix = folder, suffix
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not suffix or path.suffix.lower() == suffix:
                self._by_name[composed(path.stem)].append(path)

    def of(self, name: str) -> Sequence[Path]:
        """Return the files of a recording."""
        return self._by_name.get(name, ())

    def one(self, name: str) -> Path | None:
        """Return the file of a recording; None where there is none.

        Raises:
            InputError: if there are several, whose names differ only in the suffix's case or the Unicode form.
        """
        found = [path for path in self.of(name) if path.is_file()]
        if len(found) > 1:
            raise InputError(f"{found[0]} and {found[1].name!a} are both named after recording {name}; keep one")
        return found[0] if found else None

    def strays(self, names: Iterable[str]) -> "Strays":
        """Return the files that are not named after any of the given recordings."""
        known = set(names)
        lost = {name: paths[0] for name, paths in self._by_name.items() if name not in known}
        return Strays(self.folder, {name: path for name, path in lost.items() if path.is_file()}, self._suffix)


class Strays:
    """Files of a folder that belong to no recording; one may be the misnamed file of a recording without a file."""

    def __init__(self, folder: Path, by_name: Mapping[str, Path], suffix: str) -> None:
        self.folder, self.by_name, self._suffix = folder, by_name, suffix
        self._by_essence = {_essence(name): path for name, path in by_name.items()}

    @functools.cached_property
    def _below(self) -> Mapping[str, Path]:
        """Files in subfolders, by name."""
        found = self.folder.glob("*/**/*") if self.folder.is_dir() else ()
        return {composed(path.stem): path for path in found if path.suffix.lower() == self._suffix or not self._suffix}

    def nearest(self, name: str) -> Path | None:
        """Return the file that a name probably refers to; None where no name is similar."""
        found = self._by_essence.get(_essence(name)) or self._below.get(name)
        if found is None and len(self.by_name) <= MOST_COMPARED:
            for called in difflib.get_close_matches(name, self.by_name, n=1, cutoff=0.75):
                return self.by_name[called]
        return found

    def hint(self, name: str) -> str:
        """Suggest a file for a name without one, as the end of a message; "" where no name is similar."""
        near = self.nearest(name)
        if near is None:
            return ""
        if near.parent != self.folder:
            return f"; a similar file is {near}: move it to {self.folder}"
        return f"; a similar file is {near}: write {composed(near.stem)} in the table, or rename the file"

    def warnings(self, what: str, without: Sequence[tuple[str, str]]) -> list[str]:
        """Return warnings about the files; `without` are partition and name of recordings that may lack them.

        `what` names the files' contents, such as "labels".
        """
        left = {path: f"{self.folder.name}/{path.name}" for path in self.by_name.values()}
        warnings = []
        for partition, name in without if left else ():
            near = self.nearest(name)
            if near in left:
                said = f"but {left.pop(near)} belongs to no recording: rename it if it belongs to this one"
                warnings.append(f"{partition} recording {name} has no {what}, {said}")
        if left and without:  # where all recordings have files, further files are no mistake
            rest = list(left.values())
            more = f" and {len(rest) - SHOWN} more" if len(rest) > SHOWN else ""
            warnings.append(f"{what} of no recording: {', '.join(rest[:SHOWN])}{more}")
        return warnings


def _essence(name: str) -> str:
    """Undo what tables and spreadsheets do to a name, such as 007 to 7 or 7.0 and rec0 to Rec0.wav."""
    name = name.casefold().strip()
    stem, _, suffix = name.rpartition(".")
    if stem and not (suffix.isdigit() and suffix.strip("0")):  # drop a file's suffix, or the .0 of a number
        name = stem
    return name.lstrip("0") or "0"
