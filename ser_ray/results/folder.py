"""The folder of one sweep's results, and the paths of its files."""

import difflib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ser_ray.errors import InputError
from ser_ray.files import irregular, write_text
from ser_ray.results.schemas import SCHEMAS

PART = ".parquet"


class Stamp(NamedTuple):
    """Time and size of a part: a part that is rewritten gets another stamp."""

    mtime_ns: int
    size: int


@dataclass(frozen=True)
class SweepFolder:
    """The folder results/<sweep>, whether or not it exists."""

    path: Path

    def part(self, table: str, key: str) -> Path:
        """Return the path of one trial's part of a table."""
        return self.path / table / f"{key}{PART}"

    def compacted(self, table: str) -> Path:
        """Return the path of the file with the rows of many parts of a table."""
        return self.path / f"{table}{PART}"

    def checkpoints(self, key: str) -> Path:
        """Return the folder of one trial's last.pt and best.pt."""
        return self.path / "checkpoints" / key

    def log(self, key: str) -> Path:
        """Return the path of one trial's log."""
        return self.path / "logs" / f"{key}.log"

    def driver(self, name: str) -> Path:
        """Return the path of the status file of one process that runs the sweep."""
        return self.drivers / f"{name}.json"

    def changes(self, name: str) -> Path:
        """Return the path of uncommitted changes of the code, a patch for `git apply`; rows name it in git_diff."""
        return self.path / "provenance" / f"{name}.diff"

    def damaged(self, table: str, key: str) -> Path:
        """Return the path to which a damaged part is moved."""
        return self.path / "damaged" / table / f"{key}{PART}"

    @property
    def drivers(self) -> Path:
        """The folder of the status files of the processes that run the sweep."""
        return self.path / "drivers"

    @property
    def tmp(self) -> Path:
        """The folder of files that are being written, on the same file system as all the others."""
        return self.path / ".tmp"

    @property
    def sweep_file(self) -> Path:
        """The file of the sweep as run, resolved."""
        return self.path / "sweep.yaml"

    @property
    def plan_file(self) -> Path:
        """The file with the keys of the trials that the last run planned."""
        return self.path / "plan.json"

    def keys(self, table: str) -> set[str]:
        """Return the keys of the trials that have a part of this table."""
        return {entry.name.removesuffix(PART) for entry in _files(self.path / table, PART)}

    def logged(self) -> set[str]:
        """Return the keys of the trials that have a log."""
        return {entry.name.removesuffix(".log") for entry in _files(self.path / "logs", ".log")}

    def stamps(self, table: str) -> dict[str, Stamp]:
        """Return the stamp of each part of a table by its key, without opening any."""
        stamps = {}
        for entry in _files(self.path / table, PART):
            try:
                status = _status(entry)
            except FileNotFoundError:
                continue  # deleted since the folder was listed
            stamps[entry.name.removesuffix(PART)] = Stamp(status.st_mtime_ns, status.st_size)
        return stamps


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)  # a broken link counts as a part, so that reading names it


def _files(folder: Path, suffix: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name.endswith(suffix)]
    except FileNotFoundError:
        return []  # the first file makes the folder


def open_sweep(path: str | Path) -> SweepFolder:
    """Open the folder of a sweep that has been run.

    Raises:
        InputError: if there is no sweep in this folder; the message names sweeps nearby.
    """
    folder = SweepFolder(Path(path))
    if folder.sweep_file.is_file():
        return folder
    near = sorted(str(p.parent) for p in Path(path).glob("*/sweep.yaml"))
    if not near and Path(path).parent.is_dir():
        near = sorted(str(p.parent) for p in Path(path).parent.glob("*/sweep.yaml"))
    found = f"; sweeps nearby: {', '.join(near)}" if near else ""
    raise InputError(f"{path} is not a sweep's folder (with sweep.yaml, such as results/overlap){found}")


def find_key(folder: SweepFolder, key: str) -> str:
    """Find the key of a trial by the key or its beginning.

    Raises:
        InputError: if it matches no trial, or several.
    """
    known = sorted(folder.logged().union(*(folder.keys(table) for table in SCHEMAS)))
    matching = [key] if key in known else [other for other in known if other.startswith(key)]
    if not key or not matching:
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.3) or known[:3]
        keys = f"; trials there are: {', '.join(near)}" if near else "; it has no trials yet"
        raise InputError(f"{folder.path} has no trial {key!r}{keys}")
    if len(matching) > 1:
        raise InputError(
            f"{key!r} begins the keys of {len(matching)} trials: {', '.join(matching[:5])}"
            f"{', ...' if len(matching) > 5 else ''}; give more characters of the key"
        )
    return matching[0]


def write_planned(folder: SweepFolder, keys: Iterable[str]) -> None:
    """Write the keys of the trials that a sweep plans, in place of those of an earlier run."""
    write_text(folder.plan_file, json.dumps({"trials": sorted(set(keys))}) + "\n", temporary_dir=folder.tmp)


def read_planned(folder: SweepFolder) -> frozenset[str] | None:
    """Read the keys of the trials that the last run planned; None if there is no plan.json.

    Raises:
        InputError: if plan.json is damaged.
    """
    path = folder.plan_file
    reason = irregular(path)
    if reason is None:
        try:
            return _parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"{error.strerror or error}"
        except ValueError as error:
            reason = f"{error}"
    raise InputError(
        f"{path} cannot be read ({reason}); run the sweep again to rewrite it, or delete it to show the trials of all "
        "plans"
    )


def _parse(values: object) -> frozenset[str]:
    keys = values.get("trials") if isinstance(values, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError('it is not an object with a list of keys, {"trials": ["..."]}')
    return frozenset(keys)
