"""Format the contents of a corpus for people (a summary, a table, remarks) and for programs (JSON)."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ser_ray.corpus.describing.figures import LAGS_S, PartitionFigures, TargetFigures, extra_entry
from ser_ray.corpus.store.reader import Corpus
from ser_ray.corpus.store.schema import PARTITIONS, Recording

DYAD_COLUMNS = ("dyad", "group_id", "group", "session", "conversation", "video")
"""Further columns of an index that name a dyad or group; the first that is not empty for a recording counts."""

SHOWN = 5


def summary(corpus: Corpus) -> str:
    """Summarise a corpus in two lines."""
    recordings = {p: corpus.recordings(p) for p in PARTITIONS}
    parts = [
        f"{p} {len(rows)} recordings{_labelled(rows)} {_hours(corpus, rows):.2f} h" for p, rows in recordings.items()
    ]
    return (
        f"corpus {corpus.name}: {_hours(corpus, sum(recordings.values(), ())):.2f} h, {', '.join(corpus.targets)} at "
        f"{corpus.label_rate:g} Hz (one frame is {corpus.hop} samples), fingerprint {corpus.fingerprint}\n"
        f"  {'; '.join(parts)}"
    )


def _labelled(recordings: Sequence[Recording]) -> str:
    """Format the number of labelled recordings; "" where all are."""
    labelled = sum(recording.labelled for recording in recordings)
    return f" ({labelled} labelled)" if labelled < len(recordings) else ""


def table(figures: Mapping[str, PartitionFigures]) -> Table:
    """Format figures as a table: a column per partition, a row per figure that any partition has."""
    rows = Table(box=box.SIMPLE_HEAD)
    for heading in ("", *figures):
        rows.add_column(heading, justify="right" if heading else "left")
    columns = [list(_sizes(partition)) for partition in figures.values()]
    _add_rows(rows, columns)
    for target in next(iter(figures.values())).targets:
        rows.add_section()
        _add_rows(rows, [list(_target(target, partition.targets[target])) for partition in figures.values()])
    return rows


def _add_rows(rows: Table, columns: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Add the rows in which any column has a value."""
    for cells in zip(*columns, strict=True):
        texts = [text for _, text in cells]
        if set(texts) != {"-"}:
            rows.add_row(*map(Text, (cells[0][0], *texts)))  # as Text, since rich reads brackets in a str as markup


def _sizes(figures: PartitionFigures) -> Iterable[tuple[str, str]]:
    yield "recordings", str(figures.recordings)
    yield "labelled", str(figures.labelled)
    yield "speakers", str(figures.speakers)
    yield "sexes", " ".join(f"{count} {sex}" for sex, count in figures.sexes.items()) or "-"
    yield "hours", f"{figures.hours:.2f}"
    yield "frames", str(figures.frames)
    yield "shortest [s]", _text(figures.shortest_s, ".1f")
    yield "longest [s]", _text(figures.longest_s, ".1f")


def _target(target: str, figures: TargetFigures) -> Iterable[tuple[str, str]]:
    yield f"{target} mean", _text(figures.mean, "+.3f")
    yield f"{target} std", _text(figures.std, ".3f")
    yield f"{target} min", _text(figures.low, "+.3f")
    yield f"{target} max", _text(figures.high, "+.3f")
    for lag_s, value in figures.autocorrelation.items():
        yield f"{target} autocorr. {lag_s:g} s", _text(value, ".3f")
    yield f"{target} raters", str(figures.raters or "-")
    yield f"{target} raters' CCC", _text(figures.agreement, ".3f")
    yield f"{target} raters' alpha", _text(figures.alpha, ".3f")
    lightest, heaviest = (_text(weight, ".2f") for weight in figures.weights)
    yield f"{target} weights", "-" if lightest == "-" else f"{lightest}..{heaviest}"


def _text(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def remarks(corpus: Corpus, figures: Mapping[str, PartitionFigures]) -> list[str]:
    """Return remarks on a corpus: rates, preparation, explanations of figures, shared speakers and dyads, notice."""
    everyone = figures["all"]
    lines = [
        f"corpus {corpus.name} in {corpus.path}",
        f"{corpus.sample_rate} Hz, {corpus.label_rate:g} labels per second, one frame is {corpus.hop} samples",
        f"fingerprint {corpus.fingerprint}",
    ]
    if corpus.manifest.preparation:
        lines.append("prepared: " + ", ".join(f"{what} {how}" for what, how in corpus.manifest.preparation.items()))
    if any(not math.isnan(v) for target in everyone.targets.values() for v in target.autocorrelation.values()):
        lags = " and ".join(f"{lag_s:g} s" for lag_s in LAGS_S)
        lines.append(f"autocorr.: of gold after {lags}, mean over recordings at least twice as long")
    for name, target in everyone.targets.items():
        if target.raters:
            agreed = "" if math.isnan(target.agreement) else f"; mean pairwise CCC {target.agreement:.3f}"
            lines.append(f"{name}: up to {target.raters} raters{agreed}")
    if any(target.raters > 1 for target in everyone.targets.values()):
        lines.append("raters' CCC: mean of all pairs; alpha: Cronbach's; both per recording, mean over recordings")
    for what, leaks in (("speakers", shared_speakers(corpus)), ("dyads", shared_dyads(corpus))):
        if leaks:
            more = f" and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
            lines.append(f"warning: {what} in more than one partition: {', '.join(list(leaks)[:SHOWN])}{more}")
    return [*lines, *corpus.manifest.notice.strip().splitlines()]


def as_json(corpus: Corpus, figures: Mapping[str, PartitionFigures]) -> str:
    """Format a corpus and the table's figures, unrounded and under "partitions", as JSON; null for a missing figure."""
    content = {
        "corpus": corpus.name,
        "path": str(corpus.path),
        "fingerprint": corpus.fingerprint,
        "sample_rate_hz": corpus.sample_rate,
        "label_rate_hz": corpus.label_rate,
        "samples_per_frame": corpus.hop,
        "targets": list(corpus.targets),
        "partitions": {name: asdict(partition) for name, partition in figures.items()},
        "shared_speakers": list(shared_speakers(corpus)),
        "shared_dyads": list(shared_dyads(corpus)),
        "preparation": dict(corpus.manifest.preparation),
        "notice": corpus.manifest.notice,
    }
    return json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False)


def _without_nan(value: Any) -> Any:
    """Convert a value for JSON: NaN to None, and keys that are lags in seconds to text."""
    if isinstance(value, dict):
        return {f"{key:g}" if isinstance(key, float) else key: _without_nan(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(held) for held in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def shared_speakers(corpus: Corpus) -> dict[str, tuple[Recording, ...]]:
    """Find speakers in more than one partition; return one recording per partition for each."""
    return _shared(corpus, lambda recording: recording.speaker)


def shared_dyads(corpus: Corpus) -> dict[str, tuple[Recording, ...]]:
    """Find dyads, as "COLUMN TEXT", in more than one partition; return one recording per partition for each."""
    return _shared(corpus, lambda recording: " ".join(extra_entry(recording, DYAD_COLUMNS)).strip())


def _shared(corpus: Corpus, group: Callable[[Recording], str]) -> dict[str, tuple[Recording, ...]]:
    """Find groups of recordings with members in more than one partition; the empty name means no group."""
    members: dict[str, dict[str, Recording]] = defaultdict(dict)
    for partition in PARTITIONS:
        for recording in corpus.recordings(partition):
            members[group(recording)].setdefault(partition, recording)
    return {name: tuple(of.values()) for name, of in sorted(members.items()) if name and len(of) > 1}


def _hours(corpus: Corpus, recordings: Sequence[Recording]) -> float:
    return sum(r.samples for r in recordings) / corpus.sample_rate / 3600
