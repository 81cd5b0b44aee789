"""The folder of one sweep's results, and the place of everything in it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ser_ray.errors import InputError

PART = ".parquet"


class Stamp(NamedTuple):
    """What tells a part that was written anew from what it was, without opening it.

    Args:
        mtime_ns: when it was written, nanoseconds.
        size: bytes.
    """

    mtime_ns: int
    size: int


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep's results, and the place of everything in it.

    Args:
        path: results/<sweep>.
    """

    path: Path

    def part(self, table: str, key: str) -> Path:
        """Return the path of one trial's part of a table."""
        return self.path / table / f"{key}{PART}"

    def compacted(self, table: str) -> Path:
        """Return the path of the one file that holds the rows of many parts of a table."""
        return self.path / f"{table}{PART}"

    def checkpoints(self, key: str) -> Path:
        """Return the folder of one trial's last.pt and best.pt."""
        return self.path / "checkpoints" / key

    def log(self, key: str) -> Path:
        """Return the path of one trial's log."""
        return self.path / "logs" / f"{key}.log"

    def driver(self, name: str) -> Path:
        """Return the path of what one process that runs the sweep says of itself."""
        return self.drivers / f"{name}.json"

    def damaged(self, table: str, key: str) -> Path:
        """Return the place of a part that is set aside."""
        return self.path / "damaged" / table / f"{key}{PART}"

    @property
    def drivers(self) -> Path:
        """The folder of what the processes that run the sweep say of themselves."""
        return self.path / "drivers"

    @property
    def tmp(self) -> Path:
        """The folder of parts under way, on the same file system as all the others."""
        return self.path / ".tmp"

    @property
    def sweep_file(self) -> Path:
        """The sweep as run, resolved."""
        return self.path / "sweep.yaml"

    @property
    def plan_file(self) -> Path:
        """The keys of the trials that the last run planned."""
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
                continue  # taken away since the folder was listed
            stamps[entry.name.removesuffix(PART)] = Stamp(status.st_mtime_ns, status.st_size)
        return stamps


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    """Return the status of a file, or that of a link that leads to none, which is to be named and not passed over."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _files(folder: Path, suffix: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name.endswith(suffix)]
    except FileNotFoundError:
        return []  # the first file makes the folder


def open_sweep(path: str | Path) -> SweepFolder:
    """Return the folder of a sweep that has been run.

    Args:
        path: results/<sweep>.

    Raises:
        InputError: if there is no sweep in this folder, naming those that are near.
    """
    folder = SweepFolder(Path(path))
    if folder.sweep_file.is_file():
        return folder
    near = sorted(str(p.parent) for p in Path(path).glob("*/sweep.yaml"))
    if not near and Path(path).parent.is_dir():
        near = sorted(str(p.parent) for p in Path(path).parent.glob("*/sweep.yaml"))
    found = f"; sweeps nearby: {', '.join(near)}" if near else ""
    raise InputError(f"{path} holds no sweep (a folder with sweep.yaml, such as results/overlap){found}")
