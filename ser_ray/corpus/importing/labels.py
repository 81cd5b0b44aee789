"""Convert a user's traces to the gold standard of each recording, with the same frame rate and targets for all."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ser_ray.corpus.gold.consensus import gold_standard
from ser_ray.corpus.importing.frames import Framing, check_numbers, check_order, check_range, check_times, to_frames
from ser_ray.corpus.source.description import Labelled, Source
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import Traces
from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.errors import InputError
from ser_ray.plain_text import is_plain_name

DEFAULT_TARGETS = ("arousal", "valence")
DEFAULT_METHOD = "ewe"
ONE_S = 1.0
UNPRINTABLE = (
    "contains unprintable characters (control characters, line breaks, direction marks): remove them from the name"
)
Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class LabelSummary:
    """Summary of the label files of one recording.

    `given` are the targets of a given gold standard, `rated` those of single raters; `files` has name, hop and number
    of rows of each file (hop 0 where traces are resampled); `span_s` are the first and the last time stamp.
    """

    given: frozenset[str] = frozenset()
    rated: frozenset[str] = frozenset()
    files: tuple[tuple[str, int, int], ...] = ()
    span_s: tuple[float, float] = (0.0, 0.0)

    def targets(self, method: str | None) -> frozenset[str]:
        """Return the recording's targets, with gold made by a method or, for None, the given gold."""
        return self.given if method is None and self.given else self.rated


@dataclass(frozen=True)
class Gold:
    """Gold standard of one recording, float32 [frames, targets].

    `ratings` has [frames] per target and rater, NaN where a rater gave none; `first_frame` is the number of unlabelled
    frames of the recording before the first labelled one.
    """

    gold: NDArray[np.float32]
    ratings: Mapping[str, Columns]
    first_frame: int = 0

    def cut(self, frames: int) -> "Gold":
        """Keep at most the first `frames` frames; raters without a rating in them are left out."""
        ratings = {
            target: {rater: trace[:frames] for rater, trace in by_rater.items() if np.isfinite(trace[:frames]).any()}
            for target, by_rater in self.ratings.items()
        }
        return Gold(
            self.gold[:frames], {target: raters for target, raters in ratings.items() if raters}, self.first_frame
        )


def summarise_labels(source: Source, framing: Framing) -> LabelSummary:
    """Summarise the label files of a recording and check their time stamps."""
    labelled = source.labels() if source.labels else Labelled()
    files, stamps = [], []
    # A file of raters may have several targets with the same times: it is checked once.
    for path, traces in {traces.path: traces for traces in _all(labelled)}.items():
        if framing.resample:
            check_order(traces)
        hop = 0 if framing.resample else check_times(traces)
        files.append((str(path), hop, traces.rows))
        stamps += [float(traces.times_s[0]), float(traces.times_s[-1])]
    for traces in _all(labelled):
        for column in traces.values:
            if not is_plain_name(column):
                raise InputError(f"{traces.path}: target or rater {column!r} {UNPRINTABLE}")
    given = frozenset(column for traces in labelled.gold for column in traces.values)
    rated = frozenset(target for target, found in labelled.ratings.items() if found)
    return LabelSummary(given, rated, tuple(files), (min(stamps), max(stamps)) if stamps else (0.0, 0.0))


def _all(labelled: Labelled) -> Iterable[Traces]:
    yield from labelled.gold
    for files in labelled.ratings.values():
        yield from files


def check_labelled(source: Source, seen: LabelSummary, method: str | None, problems: Problems) -> None:
    """Note a recording without labels that needs some."""
    training = source.partition != "test"
    if method is not None and not seen.rated and (training or seen.given):
        problems.add(f"recording {source.name} has no raters' traces, which gold standard {method} is computed from")
    elif training and not seen.given and not seen.rated:
        problems.add(
            f"{source.partition} recording {source.name} has no labels: training needs those of train and devel; add "
            "them, or move the recording to test"
        )


def common_hop(seen: Iterable[LabelSummary], problems: Problems) -> int:
    """Return the most common hop of all label files; files with another rate are noted as problems."""
    files = [(path, hop) for one in seen for path, hop, _ in one.files]
    if not files:
        problems.add("no recording has labels: nothing to train on")
        return 0
    common = Counter(hop for _, hop in files).most_common(1)[0][0]
    example = next(path for path, hop in files if hop == common)
    for path, hop in files:
        if hop != common:
            problems.add(
                f"{path} has {SAMPLE_RATE / hop:g} labels per second, but {example} has {SAMPLE_RATE / common:g}: all "
                "recordings of a corpus must have the same rate; resample them with --label-rate HZ"
            )
    return common


def choose_targets(columns: Mapping[str, frozenset[str]], asked: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Choose the targets to keep; return them and warnings.

    Without `asked`, they are those of arousal and valence that all labelled recordings have.
    """
    found = sorted(set[str]().union(*columns.values()))
    lacking = {
        target: [name for name, present in columns.items() if target not in present]
        for target in (asked or DEFAULT_TARGETS)
    }
    for target in asked:
        if lacking[target]:
            raise InputError(
                f"target {target!r} is missing for {len(lacking[target])} of {len(columns)} labelled recordings, such "
                f"as {lacking[target][0]}; columns found: {', '.join(found)}"
            )
    chosen = tuple(target for target in lacking if not lacking[target])
    if not chosen:
        raise InputError(
            f"no target: neither arousal nor valence is labelled in all {len(columns)} labelled recordings; columns "
            f"found: {', '.join(found)}; name others with --targets"
        )
    warnings = [
        f"{target} is left out: {len(names)} of {len(columns)} labelled recordings lack it, such as {names[0]}"
        for target, names in lacking.items()
        if 0 < len(names) < len(columns)
    ]
    return chosen, warnings


def make_gold(source: Source, targets: Sequence[str], framing: Framing, method: str | None) -> Gold | None:
    """Make the gold standard of a recording; None where there are no labels.

    With a method, it is made from the raters, even where a gold standard is given. Without a method, a given gold
    standard is used; where none is given, it is made with "ewe".

    Raises:
        InputError: if a value is not a number, or files do not match.
    """
    labelled = source.labels() if source.labels else Labelled()
    ratings = {target: _ratings(labelled.ratings[target], framing) for target in targets if target in labelled.ratings}
    if method is None and labelled.gold:
        gold, first = _given(labelled.gold, targets, framing)
    elif ratings:
        gold, first = _made(labelled, ratings, targets, framing, method or DEFAULT_METHOD)
    else:
        return None
    if not len(gold):
        where = f"{source.label_files[0]}: " if source.label_files else ""
        lag = f" after they are moved earlier by the rater lag of {framing.lag_s:g} s" if framing.lag_s else ""
        raise InputError(f"{where}no frame of recording {source.name} has labels of {' and '.join(targets)}{lag}")
    cut = {
        target: {rater: _stretch(trace, first, len(gold)) for rater, trace in by_rater.items()}
        for target, by_rater in ratings.items()
    }
    return Gold(gold.astype(np.float32), cut, first).cut(len(gold))


def _given(files: Sequence[Traces], targets: Sequence[str], framing: Framing) -> tuple[NDArray[np.float64], int]:
    """Return a given gold standard [frames, targets], and the number of frames before it."""
    by_target = {
        target: (traces, to_frames(traces, framing)[target])
        for traces in files
        for target in targets
        if target in traces.values
    }
    for target, (traces, _) in by_target.items():
        check_range(traces, [target])
    lengths = {target: trace.size for target, (_, trace) in by_target.items()}
    short, long = min(lengths, key=lambda t: lengths[t]), max(lengths, key=lambda t: lengths[t])
    if lengths[long] - lengths[short] > ONE_S * framing.rate_hz and not framing.resample:
        raise InputError(
            f"{by_target[short][0].path} has {lengths[short]} labels, but {by_target[long][0].path} has "
            f"{lengths[long]}: the targets of a recording must be labelled over the same time"
        )
    gold = np.stack([by_target[target][1][: lengths[short]] for target in targets], axis=1)
    first, last = _covered(np.isfinite(gold).all(axis=1)) if framing.resample else (0, len(gold))
    gold = gold[first:last]
    for column, target in enumerate(targets):
        if not np.isfinite(gold[:, column]).all():
            check_numbers(by_target[target][0], [target])
    return gold, first


def _ratings(files: Sequence[Traces], framing: Framing) -> dict[str, NDArray[np.float64]]:
    """Return the traces of all raters of a target, padded with NaN to the longest."""
    for traces in files:
        check_range(traces, traces.values)
    by_rater = {rater: trace for traces in files for rater, trace in to_frames(traces, framing).items()}
    longest = max(trace.size for trace in by_rater.values())
    return {rater: _stretch(trace, 0, longest) for rater, trace in by_rater.items()}


def _made(
    labelled: Labelled,
    ratings: Mapping[str, Columns],
    targets: Sequence[str],
    framing: Framing,
    method: str,
) -> tuple[NDArray[np.float64], int]:
    """Make gold from raters [frames, targets]; return it and the number of frames before it."""
    rows = {target: np.stack(list(ratings[target].values())) for target in targets}
    frames = min(traces.shape[1] for traces in rows.values())
    said = np.stack([np.isfinite(rows[target][:, :frames]).any(axis=0) for target in targets]).all(axis=0)
    first, last = _covered(said) if framing.resample else (0, frames)
    if first == last:
        return np.empty((0, len(targets))), first
    gold = []
    for target in targets:
        heard = rows[target][:, first:last]
        heard = heard[np.isfinite(heard).any(axis=1)]
        try:
            gold.append(gold_standard(heard, method))
        except InputError as error:
            raise InputError(f"{labelled.ratings[target][0].path}: {target}: {error}") from error
    return np.stack(gold, axis=1), first


def _covered(labelled: ArrayLike) -> tuple[int, int]:
    """Return the first labelled frame and the one after the last; (0, 0) where no frame is labelled."""
    found = np.flatnonzero(labelled)
    return (int(found[0]), int(found[-1]) + 1) if found.size else (0, 0)


def _stretch(trace: NDArray[np.float64], first: int, frames: int) -> NDArray[np.float64]:
    """Return `frames` frames from `first` on, NaN after the trace's end."""
    part = trace[first : first + frames]
    return np.concatenate([part, np.full(frames - part.size, np.nan)])
