"""The folder of one sweep's results, and the place of everything in it."""

from dataclasses import dataclass
from pathlib import Path

from ser_ray.errors import InputError


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep's results, and the place of everything in it.

    Args:
        path: results/<sweep>.
    """

    path: Path

    def part(self, table: str, key: str) -> Path:
        """Return the path of one trial's part of a table."""
        return self.path / table / f"{key}.parquet"

    def checkpoints(self, key: str) -> Path:
        """Return the folder of one trial's last.pt and best.pt."""
        return self.path / "checkpoints" / key

    def log(self, key: str) -> Path:
        """Return the path of one trial's log."""
        return self.path / "logs" / f"{key}.log"

    @property
    def tmp(self) -> Path:
        """The folder of parts under way, on the same file system as all the others."""
        return self.path / ".tmp"

    @property
    def sweep_file(self) -> Path:
        """The sweep as run, resolved."""
        return self.path / "sweep.yaml"

    def keys(self, table: str) -> set[str]:
        """Return the keys of the trials that have a part of this table."""
        folder = self.path / table
        return {path.stem for path in folder.glob("*.parquet")} if folder.is_dir() else set()


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
