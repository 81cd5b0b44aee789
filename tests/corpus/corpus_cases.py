"""Small data in the layout `table`, for tests to spoil."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

PARTITIONS = {"a": "train", "b": "train", "c": "devel", "d": "test"}


@dataclass
class TableSource:
    """A folder in the layout `table`, whole as it stands: each test spoils one thing."""

    folder: Path
    rate: float = 25.0
    seconds: float = 2.0
    partitions: dict[str, str] = field(default_factory=lambda: dict(PARTITIONS))

    def write(self) -> Path:
        for name in ("audio", "labels", "raters"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.table([f"{name},{partition},S{name}" for name, partition in self.partitions.items()])
        for number, name in enumerate(self.partitions):
            self.audio(name, noise(round(self.seconds * 16000), number))
            self.labels(name, *self.traces(number))
        return self.folder

    def traces(self, number: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        times = np.arange(round(self.seconds * self.rate) + 1) / self.rate
        values = np.random.default_rng(number).uniform(-1, 1, (times.size, 2)).round(4)
        return times, values

    def table(self, rows: list[str], header: str = "name,partition,speaker") -> None:
        (self.folder / "recordings.csv").write_text("\n".join([header, *rows]) + "\n")

    def audio(self, name: str, samples: NDArray[np.int16], rate: int = 16000) -> None:
        soundfile.write(self.folder / "audio" / f"{name}.wav", samples, rate, subtype="PCM_16")

    def labels(self, name: str, times: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        rows = [f"{t:.6f},{a},{v}" for t, (a, v) in zip(times, values, strict=True)]
        self.label_text(name, "\n".join(["time,arousal,valence", *rows]))

    def label_text(self, name: str, text: str) -> None:
        (self.folder / "labels" / f"{name}.csv").write_text(text + "\n")

    def raters(self, name: str, times: NDArray[np.float64], **columns: NDArray[np.float64]) -> None:
        rows = [",".join(f"{value:.6f}" for value in row) for row in zip(times, *columns.values(), strict=True)]
        text = "\n".join([",".join(["time", *columns]), *rows])
        (self.folder / "raters" / f"{name}.csv").write_text(text + "\n")


def noise(samples: int, seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-20000, 20000, samples).astype(np.int16)
