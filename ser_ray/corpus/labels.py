"""From traces as a user has them to the gold standard of every recording: one frame rate, one set of targets."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.gold import METHODS, gold_standard
from ser_ray.corpus.layouts.description import Source
from ser_ray.corpus.problems import Problems
from ser_ray.corpus.schema import SAMPLE_RATE, samples_per_frame
from ser_ray.corpus.traces import Traces, check_numbers, check_times
from ser_ray.errors import InputError

DEFAULT_TARGETS = ("arousal", "valence")
Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Labels:
    """The gold standards of all recordings.

    Args:
        targets: in the order of gold's columns.
        hop: samples per frame.
        gold: per recording float32 [rows, targets], or None where there is none; a row is a frame.
        ratings: per recording, target and rater [rows]; empty where there are none.
        warnings: what is legal, but may not be meant.
    """

    targets: tuple[str, ...]
    hop: int
    gold: Mapping[str, NDArray[np.float32] | None]
    ratings: Mapping[str, Mapping[str, Columns]]
    warnings: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Frames per second."""
        return SAMPLE_RATE / self.hop


def make_labels(
    sources: Sequence[Source], *, method: str | None = None, targets: Sequence[str] = (), where: object = ""
) -> Labels:
    """Return the gold standard of every recording, checked.

    Args:
        sources: the recordings.
        method: how gold is made from single raters, also where a gold standard is given; None takes the given one and
            makes it with "ewe" where it is absent.
        targets: what to keep; empty for arousal and valence, as far as all labelled recordings have them.
        where: what the data is called in messages.

    Returns:
        Gold and ratings of all recordings.

    Raises:
        InputError: if traces are unfit, rates differ, a target is missing, or a recording for training or development
            has no labels; several mistakes at once.
    """
    if method is not None and method not in METHODS:
        raise InputError(f"gold standard is {method!r}, but must be one of {', '.join(METHODS)}")
    problems = Problems(where)
    _check_labelled(sources, method, problems)
    columns = {source.name: found for source in sources if (found := _columns(source, method))}
    hop = _common_hop(sources, problems)
    problems.refuse()
    chosen, warnings = _choose_targets(columns, targets)
    gold: dict[str, NDArray[np.float32] | None] = {}
    for source in sources:
        gold[source.name] = None
        with problems.collecting():
            if source.name in columns:
                gold[source.name] = _gold(source, method, chosen)
    problems.refuse()
    ratings = {
        source.name: {target: traces.values for target, traces in source.ratings.items() if target in chosen}
        for source in sources
    }
    return Labels(chosen, hop, gold, ratings, tuple(warnings))


def _check_labelled(sources: Sequence[Source], method: str | None, problems: Problems) -> None:
    """Note recordings without labels that need some."""
    for source in sources:
        training = source.partition != "test"
        if method is not None and not source.ratings and (training or source.labels is not None):
            problems.add(f"recording {source.name} has no raters' traces, of which gold standard {method} is made")
        elif training and source.labels is None and not source.ratings:
            problems.add(
                f"{source.partition} recording {source.name} has no labels: training needs those of train and devel; "
                "add them, or move it to test"
            )


def _columns(source: Source, method: str | None) -> set[str]:
    """Return the targets that a recording is labelled for."""
    if method is None and source.labels is not None:
        return set(source.labels.values)
    return set(source.ratings)


def _common_hop(sources: Sequence[Source], problems: Problems) -> int:
    """Return the hop of all traces, noting those that are unfit or of another rate."""
    hops: list[tuple[Traces, int]] = []
    for source in sources:
        # A raters' file holds several targets on the same times: it is looked at once.
        files = {traces.path: traces for traces in (source.labels, *source.ratings.values()) if traces is not None}
        for traces in files.values():
            with problems.collecting():
                hops.append((traces, check_times(traces)))
    if not hops:
        problems.add("no recording has labels: nothing to train on")
        return 0
    common = Counter(hop for _, hop in hops).most_common(1)[0][0]
    example = next(traces for traces, hop in hops if hop == common)
    for traces, hop in hops:
        if hop != common:
            problems.add(
                f"{traces.path} has {SAMPLE_RATE / hop:g} labels per second, but {example.path} has "
                f"{SAMPLE_RATE / common:g}: all recordings of a corpus share one rate"
            )
    return samples_per_frame(SAMPLE_RATE / common)


def _choose_targets(columns: Mapping[str, set[str]], asked: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the targets to keep, and warnings."""
    found = sorted(set().union(*columns.values()))
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


def _gold(source: Source, method: str | None, targets: Sequence[str]) -> NDArray[np.float32]:
    """Return the gold standard of a recording: float32 [rows, targets]."""
    for target in targets:
        if target in source.ratings:
            check_numbers(source.ratings[target], list(source.ratings[target].values))
    if method is None and source.labels is not None:
        check_numbers(source.labels, targets)
        traces = [source.labels.values[target] for target in targets]
    else:
        ratings = [np.stack(list(source.ratings[target].values.values())) for target in targets]
        traces = [gold_standard(rows, method or "ewe") for rows in ratings]
    return np.stack(traces, axis=1).astype(np.float32)
