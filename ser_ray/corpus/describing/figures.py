"""Compute figures of a corpus per partition: sizes, label statistics, and agreement of raters.

Recordings are read one at a time and only sums are kept, so that memory use does not grow with the corpus.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ser_ray.corpus.gold.consensus import agreement, cronbach_alpha
from ser_ray.corpus.progress import track
from ser_ray.corpus.store.raters import RATERS_FILE
from ser_ray.corpus.store.reader import Corpus
from ser_ray.corpus.store.schema import PARTITIONS, Recording
from ser_ray.errors import InputError


@dataclass(frozen=True)
class RatersFigures:
    """Agreement of the raters of one recording about one target.

    `ccc` is the mean over pairs of raters, `alpha` Cronbach's; both are NaN for a single rater. `weights` are the
    raters' weights in the gold standard, empty where they were not kept.
    """

    recording: str
    target: str
    raters: int
    ccc: float
    alpha: float
    weights: tuple[float, ...] = ()


def raters_figures(corpus: Corpus, recordings: Sequence[Recording]) -> Iterator[RatersFigures]:
    """Yield the agreement of raters per recording and target, as stored by the import or else from their traces."""
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
    """Yield the figures stored in raters.parquet, reading it in batches of rows."""
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
    """Yield the figures of one recording and target, from its raters' rows, if the recording is wanted."""
    if rows and rows[0]["recording"] in wanted:
        numbers = {column: np.array([row[column] for row in rows], np.float64) for column in ("weight", "ccc", "alpha")}
        ccc = float(numbers["ccc"].mean()) if len(rows) > 1 else float("nan")
        weights = tuple(map(float, numbers["weight"]))
        recording, target = str(rows[0]["recording"]), str(rows[0]["target"])
        yield RatersFigures(recording, target, len(rows), ccc, float(numbers["alpha"][0]), weights)


LAGS_S = (1.0, 5.0)
SEX_COLUMNS = ("sex", "gender")


@dataclass(frozen=True)
class TargetFigures:
    """Figures of one target over a set of recordings; NaN where there is no data.

    Mean, population standard deviation and range are those of all labelled frames. `autocorrelation` maps a lag in
    seconds to the mean over recordings. `raters` is the largest number of raters of a recording. `agreement` is the
    mean CCC of a recording's pairs of raters and `alpha` Cronbach's, both averaged over recordings. `weights` is the
    range of all raters' weights.
    """

    mean: float
    std: float
    low: float
    high: float
    autocorrelation: Mapping[float, float]
    raters: int
    agreement: float
    alpha: float
    weights: tuple[float, float]


@dataclass(frozen=True)
class PartitionFigures:
    """Figures of the recordings of one partition, or of all.

    `sexes` counts the speakers of each sex, "?" for unknown; it is empty if the sex of no speaker is known.
    """

    recordings: int
    labelled: int
    speakers: int
    sexes: Mapping[str, int]
    hours: float
    frames: int
    shortest_s: float
    longest_s: float
    targets: Mapping[str, TargetFigures]


def corpus_figures(corpus: Corpus) -> dict[str, PartitionFigures]:
    """Compute the figures of "train", "devel", "test" and "all", reading the gold standard once and no audio."""
    partitions = {partition: corpus.recordings(partition) for partition in PARTITIONS}
    everyone = [recording for recordings in partitions.values() for recording in recordings]
    sums = {name: {target: _Sums() for target in corpus.targets} for name in (*PARTITIONS, "all")}
    for recording in track([r for r in everyone if r.labelled], "reading labels"):
        gold = corpus.gold(recording).astype(np.float64)
        for column, target in enumerate(corpus.targets):
            moments = _Moments.of(gold[:, column], corpus.label_rate)
            if moments is not None:
                for name in (recording.partition, "all"):
                    sums[name][target].add_gold(moments)
    partition_of = {recording.name: recording.partition for recording in everyone}
    for rated in raters_figures(corpus, everyone):
        for name in (partition_of[rated.recording], "all") if rated.target in corpus.targets else ():
            sums[name][rated.target].add_raters(rated)
    return {
        name: _sizes(corpus, partitions.get(name, everyone), {target: s.figures() for target, s in by_target.items()})
        for name, by_target in sums.items()
    }


def autocorrelation(trace: NDArray[np.float64], rate_hz: float, lag_s: float) -> float:
    """Return the autocorrelation of a trace [frames] at one lag.

    r(lag) = sum of (x[t] - mean) (x[t + lag] - mean) / sum of (x[t] - mean)^2, with the mean of the whole trace: the
    usual biased estimator, which shrinks towards 0 at long lags. The result lies in [-1, 1]; it is NaN for a trace that
    is constant, or shorter than twice the lag.
    """
    lag = round(lag_s * rate_hz)
    if trace.size < max(2, 2 * lag):
        return float("nan")
    moved = trace - trace[0]
    moved = moved - moved.mean()
    scale = float(moved @ moved)
    return float(moved[: trace.size - lag] @ moved[lag:] / scale) if scale > 0 else float("nan")


def extra_entry(recording: Recording, columns: Sequence[str]) -> tuple[str, str]:
    """Return name and stripped text of a recording's first non-empty extra column among `columns`.

    `columns` are lower-case names, in order of preference; a recording's columns match in any case. Both results are
    empty if none has text.
    """
    said = {name.lower(): (name, text.strip()) for name, text in recording.extra.items() if text.strip()}
    return next((said[column] for column in columns if column in said), ("", ""))


def _sizes(corpus: Corpus, recordings: Sequence[Recording], targets: Mapping[str, TargetFigures]) -> PartitionFigures:
    sex_of = {recording.speaker: "?" for recording in recordings}
    sex_of |= {r.speaker: sex.lower() for r in recordings if (sex := extra_entry(r, SEX_COLUMNS)[1])}
    sexes = Counter(sex_of.values())
    durations_s = [recording.samples / corpus.sample_rate for recording in recordings]
    return PartitionFigures(
        recordings=len(recordings),
        labelled=sum(r.labelled for r in recordings),
        speakers=len(sex_of),
        sexes=dict(sorted(sexes.items())) if set(sexes) != {"?"} else {},
        hours=sum(durations_s) / 3600,
        frames=sum(recording.frames for recording in recordings),
        shortest_s=min(durations_s, default=float("nan")),
        longest_s=max(durations_s, default=float("nan")),
        targets=targets,
    )


@dataclass(frozen=True)
class _Moments:
    """Contribution of one recording's gold to the sums of a target."""

    count: int
    mean: float
    squares: float  # sum of the squared distances from the mean
    low: float
    high: float
    lags: Mapping[float, float]

    @classmethod
    def of(cls, trace: NDArray[np.float64], rate_hz: float) -> "_Moments | None":
        """Compute the moments of a trace [frames]; None if all of it is NaN."""
        known = trace[~np.isnan(trace)]
        if not known.size:
            return None
        mean = float(known.mean())
        lags = {lag_s: autocorrelation(trace, rate_hz, lag_s) for lag_s in LAGS_S}
        squares = float(((known - mean) ** 2).sum())
        return cls(known.size, mean, squares, float(known.min()), float(known.max()), lags)


@dataclass
class _Sums:
    """Running sums of one target over recordings."""

    count: int = 0
    mean: float = float("nan")
    squares: float = 0.0
    low: float = float("nan")
    high: float = float("nan")
    raters: int = 0
    lightest: float = float("nan")
    heaviest: float = float("nan")
    averages: dict[str | float, tuple[float, int]] = field(default_factory=lambda: defaultdict(lambda: (0.0, 0)))

    def add_gold(self, one: _Moments) -> None:
        # Chan, Golub & LeVeque 1983: combine the moments of two sets without cancellation.
        count = self.count + one.count
        gap = one.mean - self.mean if self.count else 0.0
        self.squares += one.squares + gap * gap * self.count * one.count / count
        self.mean = self.mean + gap * one.count / count if self.count else one.mean
        self.count = count
        self.low, self.high = float(np.fmin(self.low, one.low)), float(np.fmax(self.high, one.high))
        for lag_s, value in one.lags.items():
            self._average(lag_s, value)

    def add_raters(self, rated: RatersFigures) -> None:
        self.raters = max(self.raters, rated.raters)
        self._average("ccc", rated.ccc)
        self._average("alpha", rated.alpha)
        if rated.weights:
            self.lightest = float(np.fmin(self.lightest, min(rated.weights)))
            self.heaviest = float(np.fmax(self.heaviest, max(rated.weights)))

    def _average(self, what: str | float, value: float) -> None:
        if not np.isnan(value):
            total, count = self.averages[what]
            self.averages[what] = total + value, count + 1

    def _averaged(self, what: str | float) -> float:
        total, count = self.averages[what]
        return total / count if count else float("nan")

    def figures(self) -> TargetFigures:
        return TargetFigures(
            mean=self.mean,
            std=float(np.sqrt(self.squares / self.count)) if self.count else float("nan"),
            low=self.low,
            high=self.high,
            autocorrelation={lag_s: self._averaged(lag_s) for lag_s in LAGS_S},
            raters=self.raters,
            agreement=self._averaged("ccc"),
            alpha=self._averaged("alpha"),
            weights=(self.lightest, self.heaviest),
        )
