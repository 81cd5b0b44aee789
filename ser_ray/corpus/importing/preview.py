"""A look at all recordings before any is converted: headers of audio, stamps of labels, and whether both fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ser_ray.corpus.importing.audio_headers import read_header
from ser_ray.corpus.importing.frames import Framing
from ser_ray.corpus.importing.labels import Seen, check_labelled, choose_targets, common_hop, look
from ser_ray.corpus.progress import Bar
from ser_ray.corpus.source.channels import check_channel
from ser_ray.corpus.source.description import Source
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.corpus.workers import in_order
from ser_ray.errors import InputError

LABELS_MAY_END_EARLY_S = 1.0
MISREAD = 4.0
"""Labels that last so many times as long as their audio were stamped in another unit."""
COUNTED = 1.5
"""The same, of labels that come every second: such stamps are numbers of frames more often than seconds."""
ALONE = 200
"""Recordings: so many are looked at sooner than other processes are there."""


@dataclass(frozen=True)
class Preview:
    """What the recordings have in common, and the length of each; `some_given`: some have a given gold standard."""

    hop: int
    targets: tuple[str, ...]
    seconds: tuple[float, ...]
    some_given: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Glance:
    """What one recording holds, or what is wrong with it; by how much its audio ends before it should."""

    seen: Seen
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
    """Return what recordings have in common, after a look at each of them in `jobs` processes.

    Raises:
        InputError: for what is wrong, several mistakes at once.
    """
    problems = Problems(folder)
    glances = []
    jobs = jobs if len(sources) > ALONE else 1
    with Bar("looking at recordings", len(sources)) as bar:
        for source, glance in zip(sources, in_order(partial(_glance, framing), sources, jobs), strict=True):
            for message in glance.wrong:
                problems.add(message)
            if not glance.wrong:
                check_labelled(source, glance.seen, method, problems)
            glances.append(glance)
            bar.advance()
    looked_at = [glance.seen for glance in glances if glance.seen.files or not glance.wrong]
    hop = framing.hop or (common_hop(looked_at, problems) if looked_at else 0)
    problems.refuse()
    columns = {
        source.name: found
        for source, glance in zip(sources, glances, strict=True)
        if (found := glance.seen.targets(method))
    }
    if not columns:
        raise InputError(f"{folder}: no recording has labels: nothing to train on")
    chosen, warnings = choose_targets(columns, targets)
    for source, glance in zip(sources, glances, strict=True):
        if glance.lacking_s > LABELS_MAY_END_EARLY_S:
            lasts = f"{source.audio} ends {glance.lacking_s:.2f} s before that"
            warnings.append(f"recording {source.name} is to end at {source.stop_s:.2f} s, but {lasts}")
        with problems.collecting():
            warnings += _compare_lengths(source, glance, framing, hop)
    problems.refuse()
    rates = sorted({glance.rate_hz for glance in glances})
    if len(rates) > 1:
        counts = {rate: sum(glance.rate_hz == rate for glance in glances) for rate in rates}
        said = ", ".join(f"{count} at {rate} Hz" for rate, count in counts.items())
        warnings.append(f"audio comes at several rates ({said}): all of it is brought to {SAMPLE_RATE} Hz")
    return Preview(
        hop,
        chosen,
        tuple(glance.seconds for glance in glances),
        any(glance.seen.given for glance in glances),
        tuple(warnings),
    )


def _glance(framing: Framing, source: Source) -> _Glance:
    """Return what one recording holds; what is wrong is told, not raised."""
    wrong = []
    seen, seconds, lacking_s, rate_hz = Seen(), 0.0, 0.0, 0
    try:
        seen = look(source, framing)
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
    return _Glance(seen, seconds, lacking_s, rate_hz, tuple(wrong))


def _compare_lengths(source: Source, glance: _Glance, framing: Framing, hop: int) -> list[str]:
    """Refuse labels that end early or cannot be the audio's; return warnings about those that outlast it."""
    if not glance.seen.files:
        return []
    if framing.resample:
        labelled_s = glance.seen.span_s[1]
        if glance.seen.span_s[0] >= glance.seconds:
            raise InputError(
                f"labels of {source.name} begin at {glance.seen.span_s[0]:.10g} s, but {source.audio} lasts "
                f"{glance.seconds:.2f} s: their times must be in seconds from its begin"
            )
    else:
        path, _, rows = min(glance.seen.files, key=lambda file: file[2])
        labelled_s = rows * hop / SAMPLE_RATE
        if labelled_s < glance.seconds - LABELS_MAY_END_EARLY_S:
            raise InputError(
                f"recording {source.name} has too few label rows: those of {path}, {rows} at {SAMPLE_RATE / hop:g} Hz, "
                f"end after {labelled_s:.2f} s, but {source.audio} lasts {glance.seconds:.2f} s; cut the audio or add "
                "rows"
            )
    every_second = not framing.resample and hop == SAMPLE_RATE
    if labelled_s > (COUNTED if every_second else MISREAD) * max(1.0, glance.seconds):
        raise InputError(
            f"labels of {source.name} last {labelled_s / glance.seconds:.3g} times as long as the audio: to "
            f"{labelled_s:.10g} s, but {source.audio} lasts {glance.seconds:.2f} s; time must be in seconds from its "
            "begin, or say what it counts: --time-unit ms, or --time-unit frames --label-rate HZ"
        )
    if labelled_s > glance.seconds + LABELS_MAY_END_EARLY_S:
        return [
            f"labels of {source.name} go on to {labelled_s:.2f} s, {source.audio} ends at {glance.seconds:.2f} s: "
            "the rest is dropped"
        ]
    return []
