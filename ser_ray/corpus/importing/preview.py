"""Check all recordings before any is converted: audio headers, time stamps of labels, and whether they match."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ser_ray.corpus.importing.audio_headers import read_header
from ser_ray.corpus.importing.frames import Framing
from ser_ray.corpus.importing.labels import LabelSummary, check_labelled, choose_targets, common_hop, summarise_labels
from ser_ray.corpus.progress import Bar
from ser_ray.corpus.source.channels import check_channel
from ser_ray.corpus.source.description import Source
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.corpus.workers import in_order
from ser_ray.errors import InputError

LABELS_MAY_END_EARLY_S = 1.0
MISREAD = 4.0
"""Labels more than this many times as long as their audio have time stamps in another unit."""
COUNTED = 1.5
"""The same for labels one second apart: their time stamps are more often numbers of frames than seconds."""
ALONE = 200
"""Up to this many recordings are checked by one process, in less time than others take to start."""


@dataclass(frozen=True)
class Preview:
    """Common properties of all recordings, and the length of each; `some_given`: some have a given gold standard."""

    hop: int
    targets: tuple[str, ...]
    seconds: tuple[float, ...]
    some_given: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Overview:
    """Contents of one recording and the mistakes in it; `lacking_s`: time by which its audio ends too early."""

    labels: LabelSummary
    seconds: float
    lacking_s: float
    rate_hz: int
    wrong: tuple[str, ...]


def preview(
    sources: Sequence[Source],
    framing: Framing,
    method: str | None,
    targets: Sequence[str],
    folder: Path,
    jobs: int,
) -> Preview:
    """Check all recordings in `jobs` processes and return their common properties.

    Raises:
        InputError: if there are mistakes; several of them at once.
    """
    problems = Problems(folder)
    overviews = []
    jobs = jobs if len(sources) > ALONE else 1
    with Bar("checking recordings", len(sources)) as bar:
        for source, overview in zip(sources, in_order(partial(_overview, framing), sources, jobs), strict=True):
            for message in overview.wrong:
                problems.add(message)
            if not overview.wrong:
                check_labelled(source, overview.labels, method, problems)
            overviews.append(overview)
            bar.advance()
    readable = [overview.labels for overview in overviews if overview.labels.files or not overview.wrong]
    hop = framing.hop or (common_hop(readable, problems) if readable else 0)
    problems.refuse()
    columns = {
        source.name: found
        for source, overview in zip(sources, overviews, strict=True)
        if (found := overview.labels.targets(method))
    }
    if not columns:
        raise InputError(f"{folder}: no recording has labels: nothing to train on")
    chosen, warnings = choose_targets(columns, targets)
    for source, overview in zip(sources, overviews, strict=True):
        if overview.lacking_s > LABELS_MAY_END_EARLY_S:
            lasts = f"{source.audio} ends {overview.lacking_s:.2f} s before that"
            warnings.append(f"recording {source.name} should end at {source.stop_s:.2f} s, but {lasts}")
        with problems.collecting():
            warnings += _compare_lengths(source, overview, framing, hop)
    problems.refuse()
    rates = sorted({overview.rate_hz for overview in overviews})
    if len(rates) > 1:
        counts = {rate: sum(overview.rate_hz == rate for overview in overviews) for rate in rates}
        said = ", ".join(f"{count} at {rate} Hz" for rate, count in counts.items())
        warnings.append(f"audio has several sample rates ({said}): all of it is resampled to {SAMPLE_RATE} Hz")
    return Preview(
        hop,
        chosen,
        tuple(overview.seconds for overview in overviews),
        any(overview.labels.given for overview in overviews),
        tuple(warnings),
    )


def _overview(framing: Framing, source: Source) -> _Overview:
    """Summarise one recording; mistakes are returned, not raised."""
    wrong = []
    labels, seconds, lacking_s, rate_hz = LabelSummary(), 0.0, 0.0, 0
    try:
        labels = summarise_labels(source, framing)
    except (InputError, OSError) as error:
        wrong.append(str(error))
    try:
        header = read_header(source.audio)
        rate_hz = header.rate_hz
        check_channel(source.channel, header.channels, source.audio)
        stop_s = header.seconds if source.stop_s is None else min(source.stop_s, header.seconds)
        seconds, lacking_s = stop_s - source.start_s, (source.stop_s or stop_s) - stop_s
        if seconds <= 0:
            raise InputError(
                f"recording {source.name} begins at {source.start_s:.2f} s, but {source.audio} lasts "
                f"{header.seconds:.2f} s"
            )
    except InputError as error:
        wrong.append(str(error))
    return _Overview(labels, seconds, lacking_s, rate_hz, tuple(wrong))


def _compare_lengths(source: Source, overview: _Overview, framing: Framing, hop: int) -> list[str]:
    """Refuse labels that end too early or cannot belong to the audio; return warnings about labels that outlast it."""
    if not overview.labels.files:
        return []
    if framing.resample:
        labelled_s = overview.labels.span_s[1]
        if overview.labels.span_s[0] >= overview.seconds:
            raise InputError(
                f"labels of {source.name} begin at {overview.labels.span_s[0]:.10g} s, but {source.audio} lasts "
                f"{overview.seconds:.2f} s: their times must be in seconds from its beginning"
            )
    else:
        path, _, rows = min(overview.labels.files, key=lambda file: file[2])
        labelled_s = rows * hop / SAMPLE_RATE
        if labelled_s < overview.seconds - LABELS_MAY_END_EARLY_S:
            raise InputError(
                f"recording {source.name} has too few label rows: those of {path}, {rows} at {SAMPLE_RATE / hop:g} Hz, "
                f"end after {labelled_s:.2f} s, but {source.audio} lasts {overview.seconds:.2f} s; cut the audio or "
                "add rows"
            )
    every_second = not framing.resample and hop == SAMPLE_RATE
    if labelled_s > (COUNTED if every_second else MISREAD) * max(1.0, overview.seconds):
        raise InputError(
            f"labels of {source.name} last {labelled_s / overview.seconds:.3g} times as long as the audio: to "
            f"{labelled_s:.10g} s, but {source.audio} lasts {overview.seconds:.2f} s; time must be in seconds from "
            "its beginning; for another unit, use --time-unit ms, or --time-unit frames --label-rate HZ"
        )
    if labelled_s > overview.seconds + LABELS_MAY_END_EARLY_S:
        return [
            f"labels of {source.name} end at {labelled_s:.2f} s, but {source.audio} ends at {overview.seconds:.2f} s: "
            "later labels are dropped"
        ]
    return []
