"""A mimic of the layout `table`: a folder as users write it for their own data."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.mimics.people import NOTICE, at_times, person

PEOPLE = {"anna_1": "train", "anna_2": "train", "ben_1": "dev", "carla_1": "test"}
RATE_HZ = 25


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a small made-up folder in this layout."""
    for folder in ("labels", "raters"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    (out / "NOTICE").write_text(NOTICE + "\n", encoding="utf-8")
    rows = [f"{name},{partition},{name.split('_')[0]}" for name, partition in PEOPLE.items()]
    (out / "recordings.csv").write_text("\n".join(["name,partition,speaker", *rows]) + "\n", encoding="utf-8")
    for number, name in enumerate(PEOPLE, start=1):
        one = person(number, seconds, seed)
        one.write_audio(out / "audio" / f"{name}.wav", 48_000 if number == 1 else 16_000, channels=number % 2 + 1)
        times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        columns = {target: at_times(one.gold(target), times) for target in one.ratings}
        _table(out / "labels" / f"{name}.csv", times, columns)
        raters = {
            f"{target}_{rater}": at_times(trace, times)
            for target, by_rater in one.ratings.items()
            for rater, trace in by_rater.items()
        }
        _table(out / "raters" / f"{name}.csv", times, raters)


def _table(path: Path, times: NDArray[np.float64], columns: dict[str, NDArray[np.float64]]) -> None:
    lines = [",".join(["time", *columns])]
    for row in zip(times, *columns.values(), strict=True):
        lines.append(f"{row[0]:.2f}," + ",".join(f"{value:.4f}" for value in row[1:]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
