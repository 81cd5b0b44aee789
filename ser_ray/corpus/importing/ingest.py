"""Import a user's recordings: check all of them first, then convert them in parallel and write them in order."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_ray import allocation
from ser_ray.corpus.describing.gold_values import constant_warnings
from ser_ray.corpus.importing.audio import decode
from ser_ray.corpus.importing.config import ImportConfig
from ser_ray.corpus.importing.frames import Framing
from ser_ray.corpus.importing.labels import DEFAULT_METHOD, UNPRINTABLE, Gold, make_gold
from ser_ray.corpus.importing.preview import Preview, preview
from ser_ray.corpus.layouts import read_layout
from ser_ray.corpus.progress import Bar
from ser_ray.corpus.source.description import Description, Source
from ser_ray.corpus.source.problems import SHOWN, Problems
from ser_ray.corpus.store.partial import check_free_bytes, disk_errors_named
from ser_ray.corpus.store.raters import rater_rows
from ser_ray.corpus.store.reader import open_corpus
from ser_ray.corpus.store.schema import PARTITIONS, samples_per_frame
from ser_ray.corpus.store.writer import CorpusWriter, ImportPlan, check_free
from ser_ray.corpus.workers import in_order
from ser_ray.errors import InputError
from ser_ray.plain_text import is_plain_name

IMPORT_VERSION = 2
"""Increased whenever equal files would give other samples or labels; an older version's partial import starts over."""

GAIN_COLUMN = "audio_gain"
"""Column of the index: the factor applied to a recording's samples, where it is not 1."""

MENTIONED_S = 1.0
"""Seconds that irregular labels may lack at either end of a recording without a warning."""
ALONE_S = 3600.0
"""Up to this much audio is converted by one process, in less time than others take to start."""


@dataclass(frozen=True)
class Imported:
    """Result of an import; `kept` is the number of recordings that an earlier, interrupted import had written."""

    path: Path
    warnings: tuple[str, ...]
    kept: int = 0


def import_corpus(
    layout: str,
    source: str | Path,
    out: str | Path,
    config: ImportConfig | None = None,
    *,
    name: str | None = None,
    jobs: int | None = None,
) -> Imported:
    """Make a corpus from a user's recordings and labels.

    The layout is one of LAYOUTS, or "auto" for the one that fits; the default name is that of the source folder. `jobs`
    processes convert recordings, by default one per core; the corpus does not depend on their number.

    Raises:
        InputError: for any mistake in the data. Then `out` is not created; recordings already written are kept beside
            it, so that the same import can resume.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}, but must be at least 1")
    config, folder = config or ImportConfig(), Path(source)
    with disk_errors_named(Path(out)):
        check_free(Path(out))
        layout, description = read_layout(layout, folder)
        _check_names(description.sources, name or folder.resolve().name, folder)
        _check_partitions(description.sources, folder)
        description = _with_channel(_in_seconds(layout, description, config), config)
        jobs = jobs or allocation.cpus()
        framing = _framing(description, config)
        seen = preview(description.sources, framing, config.gold, config.targets, folder, jobs)
        framing = Framing(seen.hop, framing.alignment, framing.resample, framing.lag_s)
        preparation = _preparation(layout, description, config, seen)
        check_free_bytes(seen.seconds, Path(out))
        writer = CorpusWriter(
            out,
            name=name or folder.resolve().name,
            label_rate=framing.rate_hz,
            targets=seen.targets,
            notice=description.notice,
            preparation=preparation,
            plan=_plan(description.sources, preparation, seen),
        )
        with writer:
            kept = writer.written
            convert = partial(_convert, seen.targets, framing, config.gold)
            warnings = _write(writer, description.sources, folder, convert, seen, jobs)
        made = Path(out) if Path(out).exists() else writer.out  # `out` may contain `..` behind a missing folder
        # warnings about single recordings come last, since there may be more of them than are shown
        of_all = [*constant_warnings(open_corpus(made)), *_no_test(description.sources)]
        return Imported(made, (*description.warnings, *seen.warnings, *of_all, *warnings), kept)


def _in_seconds(layout: str, description: Description, config: ImportConfig) -> Description:
    """Convert the labels' time stamps from the user's unit to seconds."""
    if config.time_unit == "s":
        return description
    if layout != "table":
        raise InputError(f"time unit is {config.time_unit}, but layout {layout} has its own: leave out --time-unit")
    unit_s = 1e-3 if config.time_unit == "ms" else 1 / (config.label_rate_hz or 1.0)
    return replace(description, sources=tuple(source.with_time_unit(unit_s) for source in description.sources))


def _with_channel(description: Description, config: ImportConfig) -> Description:
    """Set the user's channel for recordings that name none themselves."""
    if config.channel is None:
        return description
    wanted = (source if source.channel else replace(source, channel=config.channel) for source in description.sources)
    return replace(description, sources=tuple(wanted))


def _check_names(sources: Sequence[Source], corpus: str, folder: Path) -> None:
    """Refuse names with characters that control a terminal, such as escape sequences."""
    problems = Problems(folder)
    named = {("corpus", corpus): None, **{("recording", source.name): None for source in sources}}
    named |= {("speaker", source.speaker): None for source in sources}
    named |= {("column", column): None for source in sources for column in source.extra}
    for what, name in named:
        if not is_plain_name(name):
            problems.add(f"{what} {name!r} {UNPRINTABLE}")
    problems.refuse()


def _check_partitions(sources: Sequence[Source], folder: Path) -> None:
    counts = {partition: sum(s.partition == partition for s in sources) for partition in PARTITIONS}
    for partition in ("train", "devel"):
        if not counts[partition]:
            said = ", ".join(f"{number} {p}" for p, number in counts.items())
            raise InputError(
                f"{folder} has no {partition} recordings ({said}): training needs train and devel; change the "
                "partition of some"
            )


def _no_test(sources: Sequence[Source]) -> list[str]:
    if any(s.partition == "test" for s in sources):
        return []
    return ["there are no test recordings: scores will be only for devel"]


def _framing(description: Description, config: ImportConfig) -> Framing:
    rate = config.label_rate_hz or description.label_rate_hz
    return Framing(
        hop=samples_per_frame(rate) if rate else 0,
        alignment=config.alignment or description.alignment,
        resample=rate is not None,
        lag_s=config.rater_lag_s,
    )


def _preparation(layout: str, description: Description, config: ImportConfig, seen: Preview) -> dict[str, str]:
    """Describe how the corpus is made, for its manifest."""
    rate = config.label_rate_hz or description.label_rate_hz
    given = "as given" if seen.some_given else DEFAULT_METHOD
    return {
        "layout": layout,
        "gold": config.gold or given,
        "alignment": config.alignment or description.alignment or "rows as they are",
        "label rate": f"brought to {rate:g} Hz" if rate else "as given",
        "rater lag": f"{config.rater_lag_s:g} s",
        **({} if config.time_unit == "s" else {"time unit": config.time_unit}),
        **({} if config.channel is None else {"channel": str(config.channel)}),
        "import version": str(IMPORT_VERSION),
    }


def _plan(sources: Sequence[Source], preparation: Mapping[str, str], seen: Preview) -> ImportPlan:
    """Return the plan of the recordings to write, with signatures of their source files."""
    header = {**preparation, "targets": list(seen.targets), "hop": seen.hop}
    return ImportPlan(json.dumps(header, sort_keys=True), [(source.name, _signature(source)) for source in sources])


def _signature(source: Source) -> str:
    files = [(str(p.absolute()), (s := p.stat()).st_size, s.st_mtime_ns) for p in (source.audio, *source.label_files)]
    part = [source.start_s, source.stop_s, source.channel]
    what = [source.partition, source.speaker, *part, sorted(source.extra.items())]
    return hashlib.sha256(json.dumps([files, what]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Converted:
    """A converted recording, or the reason `wrong` why it cannot be converted."""

    audio: NDArray[np.int16]
    gold: Gold | None
    raters: list[dict[str, Any]]
    warnings: list[str]
    gain: float = 1.0
    wrong: str = ""


def _convert(targets: Sequence[str], framing: Framing, method: str | None, source: Source) -> _Converted:
    """Convert a recording's samples and labels; mistakes are returned, not raised, so that the import continues."""
    try:
        gold = make_gold(source, targets, framing, method)
        decoded = decode(source.audio, source.start_s, source.stop_s, source.channel)
    except (InputError, OSError) as error:
        return _Converted(np.empty(0, np.int16), None, [], [], wrong=str(error))
    audio, warnings = decoded.samples, list(decoded.warnings)
    if gold is None:
        return _Converted(audio, None, [], warnings, decoded.gain)
    # weights and agreement over the frames from which gold was made, before it is cut to the audio
    raters = rater_rows(source.name, gold.ratings, method or DEFAULT_METHOD)
    rated_frames = len(gold.gold)
    audio = audio[gold.first_frame * framing.hop :]
    gold = gold.cut(audio.size // framing.hop)
    raters = [row for row in raters if row["rater"] in gold.ratings.get(row["target"], {})]
    # irregular ratings begin and end at slightly different times
    mentioned = framing.rate_hz * MENTIONED_S if framing.resample else 0
    silent = {row["rater"]: row["missing_frames"] for row in raters if row["missing_frames"] > mentioned}
    if silent:
        warnings.append(
            f"{', '.join(silent)} rated only a part of {source.name}: up to {max(silent.values())} of {rated_frames} "
            "frames lack their ratings"
        )
    left_out = (gold.first_frame, audio.size // framing.hop - len(gold.gold))
    if framing.resample and max(left_out) > framing.rate_hz * MENTIONED_S:
        warnings.append(
            f"{source.name} has no labels in its first {left_out[0] / framing.rate_hz:.2f} s and last "
            f"{left_out[1] / framing.rate_hz:.2f} s: they are left out"
        )
    return _Converted(audio, gold, raters, warnings, decoded.gain)


def _write(
    writer: CorpusWriter,
    sources: Sequence[Source],
    folder: Path,
    convert: "partial[_Converted]",
    seen: Preview,
    jobs: int,
) -> list[str]:
    """Convert and write the recordings not written yet; return warnings."""
    kept, seconds = writer.written, seen.seconds
    jobs = min(jobs, len(sources) - kept) if sum(seconds[kept:]) > ALONE_S else 1
    problems, warnings = Problems(folder), []
    with Bar("importing", len(sources), amount=sum(seconds), rate="{:.0f} x real time".format) as bar:
        bar.skip(kept, sum(seconds[:kept]))
        results: Iterator[_Converted] = in_order(convert, sources[kept:], max(1, jobs))
        for source, duration_s, one in zip(sources[kept:], seconds[kept:], results, strict=True):
            with problems.collecting():
                if one.wrong:
                    raise InputError(one.wrong)
                if not problems.count:  # recordings are written in the order of the sources, without gaps
                    _add(writer, source, one)
            warnings.extend(one.warnings)
            if problems.count == SHOWN:
                break
            bar.advance(duration_s)
    problems.refuse(_what_is_kept(writer, len(sources)))
    return warnings


def _add(writer: CorpusWriter, source: Source, one: _Converted) -> None:
    writer.add(
        source.name,
        source.partition,
        source.speaker,
        one.audio,
        one.gold.gold if one.gold else None,
        ratings=one.gold.ratings if one.gold else None,
        raters=one.raters,
        extra=source.extra if one.gain == 1 else {**source.extra, GAIN_COLUMN: f"{one.gain:.9g}"},
    )


def _what_is_kept(writer: CorpusWriter, recordings: int) -> str:
    if not writer.written:
        return ""
    kept = f"{writer.written} of {recordings} recordings are kept in {writer.folder}"
    return f"\n{kept}: run the same command again to resume"
