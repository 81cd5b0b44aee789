"""How far the raters of each recording agree: as an import kept it, or from their traces."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.corpus.gold.consensus import agreement, cronbach_alpha
from ser_ray.corpus.progress import track
from ser_ray.corpus.store.raters import RATERS_FILE
from ser_ray.corpus.store.reader import Corpus
from ser_ray.corpus.store.schema import Recording
from ser_ray.errors import InputError


@dataclass(frozen=True)
class RatersFigures:
    """Agreement of the raters of one recording about one target.

    `ccc` is the mean of two of them, `alpha` Cronbach's; both are NaN for a single rater. `weights` are those in the
    gold standard, empty where they were not kept.
    """

    recording: str
    target: str
    raters: int
    ccc: float
    alpha: float
    weights: tuple[float, ...] = ()


def raters_figures(corpus: Corpus, recordings: Sequence[Recording]) -> Iterator[RatersFigures]:
    """Yield the agreement of raters per recording and target: as the import kept it, or else from their traces.

    Raises:
        InputError: if what was kept cannot be read.
    """
    kept = corpus.path / RATERS_FILE
    if kept.is_file():
        try:
            yield from _kept_figures(kept, {recording.name for recording in recordings})
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{kept} cannot be read ({error}): delete it, or import the corpus again") from error
        return
    for recording in track(recordings, "comparing raters"):
        for target, ratings in corpus.ratings(recording).items():
            traces = ratings.astype(np.float64)
            ccc = float(agreement(traces).mean()) if len(traces) > 1 else float("nan")
            yield RatersFigures(recording.name, target, len(traces), ccc, cronbach_alpha(traces))


def _kept_figures(path: Path, wanted: set[str]) -> Iterator[RatersFigures]:
    """Yield what raters.parquet says, group of rows by group of rows."""
    file = pq.ParquetFile(path)
    rows: list[Mapping[str, object]] = []
    for batch in file.iter_batches(columns=["recording", "target", "weight", "ccc", "alpha"]):
        for row in batch.to_pylist():
            if rows and (rows[0]["recording"], rows[0]["target"]) != (row["recording"], row["target"]):
                yield from _of_rows(rows, wanted)
                rows = []
            rows.append(row)
    yield from _of_rows(rows, wanted)


def _of_rows(rows: Sequence[Mapping[str, object]], wanted: set[str]) -> Iterator[RatersFigures]:
    """Yield the figures of one recording and target from the rows of its raters."""
    if rows and rows[0]["recording"] in wanted:
        numbers = {column: np.array([row[column] for row in rows], np.float64) for column in ("weight", "ccc", "alpha")}
        ccc = float(numbers["ccc"].mean()) if len(rows) > 1 else float("nan")
        weights = tuple(map(float, numbers["weight"]))
        recording, target = str(rows[0]["recording"]), str(rows[0]["target"])
        yield RatersFigures(recording, target, len(rows), ccc, float(numbers["alpha"][0]), weights)
