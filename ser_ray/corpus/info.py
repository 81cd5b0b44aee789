"""What is in a corpus, for people: a summary, a table, and a check of every byte."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from ser_ray.corpus.gold import agreement
from ser_ray.corpus.progress import track
from ser_ray.corpus.schema import MANIFEST, PARTITIONS, SHARDS, Recording
from ser_ray.corpus.shards import Corpus, check_size, open_corpus, sha256_of
from ser_ray.errors import InputError


@dataclass(frozen=True)
class TargetFigures:
    """Figures of one target over a set of recordings.

    Args:
        mean: of the gold over all labelled frames; NaN without any.
        std: population standard deviation.
        raters: the most raters of a recording.
        agreement: mean CCC of two raters of a recording; NaN where ratings are unknown.
    """

    mean: float
    std: float
    raters: int
    agreement: float


def target_figures(corpus: Corpus, recordings: Sequence[Recording]) -> dict[str, TargetFigures]:
    """Return figures of each target of a corpus over some of its recordings.

    Args:
        corpus: where they are.
        recordings: which to look at.

    Returns:
        Per target its figures.
    """
    labelled = [r for r in recordings if r.labelled]
    gold = [corpus.gold(r).astype(np.float64) for r in labelled]
    frames = np.concatenate(gold) if gold else np.full((1, len(corpus.targets)), np.nan)
    ratings = [corpus.ratings(r) for r in recordings]
    figures = {}
    for column, target in enumerate(corpus.targets):
        traces = [by_target[target] for by_target in ratings if target in by_target]
        pairs = [float(agreement(t.astype(np.float64)).mean()) for t in traces if len(t) > 1]
        figures[target] = TargetFigures(
            mean=float(frames[:, column].mean()),
            std=float(frames[:, column].std()),
            raters=max((len(t) for t in traces), default=0),
            agreement=float(np.mean(pairs)) if pairs else float("nan"),
        )
    return figures


def summary(corpus: Corpus) -> str:
    """Return a corpus in two lines."""
    recordings = {p: corpus.recordings(p) for p in PARTITIONS}
    parts = [f"{p} {len(rows)} recordings {_hours(corpus, rows):.2f} h" for p, rows in recordings.items()]
    return (
        f"corpus {corpus.name}: {_hours(corpus, sum(recordings.values(), ())):.2f} h, {', '.join(corpus.targets)} at "
        f"{corpus.label_rate:g} Hz (one frame is {corpus.hop} samples), fingerprint {corpus.fingerprint}\n"
        f"  {'; '.join(parts)}"
    )


def table(corpus: Corpus) -> Table:
    """Return a corpus as a table with a column per partition and one for all."""
    partitions = {p: corpus.recordings(p) for p in PARTITIONS}
    partitions["all"] = sum(partitions.values(), ())
    figures: dict[str, list[str]] = {}
    for recordings in track(list(partitions.values()), "reading gold"):
        column = {
            "recordings": str(len(recordings)),
            "labelled": str(sum(r.labelled for r in recordings)),
            "speakers": str(len({r.speaker for r in recordings})),
            "hours": f"{_hours(corpus, recordings):.2f}",
            "frames": str(sum(r.frames for r in recordings)),
        }
        for target, numbers in target_figures(corpus, recordings).items():
            column[f"{target} mean"] = "-" if np.isnan(numbers.mean) else f"{numbers.mean:+.3f}"
            column[f"{target} std"] = "-" if np.isnan(numbers.std) else f"{numbers.std:.3f}"
        for name, value in column.items():
            figures.setdefault(name, []).append(value)
    rows = Table(box=box.SIMPLE_HEAD)
    for heading in ("", *partitions):
        rows.add_column(heading, justify="right" if heading else "left")
    for name, values in figures.items():
        rows.add_row(name, *values)
    return rows


def remarks(corpus: Corpus) -> list[str]:
    """Return what else there is to say of a corpus, line by line: rates, raters, fingerprint, notice."""
    everyone = [r for p in PARTITIONS for r in corpus.recordings(p)]
    lines = [
        f"corpus {corpus.name} in {corpus.path}",
        f"{corpus.sample_rate} Hz, {corpus.label_rate:g} labels per second, one frame is {corpus.hop} samples",
        f"fingerprint {corpus.fingerprint}",
    ]
    for target, figures in target_figures(corpus, everyone).items():
        if figures.raters:
            agreed = f"; two of them agree with CCC {figures.agreement:.3f}" if figures.raters > 1 else ""
            lines.append(f"{target}: up to {figures.raters} raters{agreed}")
    shared = _shared_speakers(corpus)
    if shared:
        lines.append(f"warning: speakers in more than one partition: {', '.join(shared[:5])}")
    return [*lines, *corpus.manifest.notice.strip().splitlines()]


def check_corpus(path: str | Path) -> list[str]:
    """Return what is wrong with a corpus, every byte looked at.

    Args:
        path: its folder.

    Returns:
        One line per mistake; empty for a whole corpus.

    Raises:
        InputError: if there is no corpus.
    """
    folder = Path(path).absolute()
    try:
        corpus = open_corpus(folder)
    except InputError as error:
        if not (folder / MANIFEST).is_file():
            raise
        return [str(error)]
    wrong = []
    for shard in track(corpus.manifest.shards, "checking shards"):
        check_size(folder, shard)
        found = sha256_of(folder / SHARDS / shard.name)
        if found != shard.sha256:
            wrong.append(
                f"shard {folder / SHARDS / shard.name} was altered: its SHA-256 is {found}, but {MANIFEST} says "
                f"{shard.sha256}; copy it again or import the corpus again"
            )
    return wrong


def _hours(corpus: Corpus, recordings: Sequence[Recording]) -> float:
    return sum(r.samples for r in recordings) / corpus.sample_rate / 3600


def _shared_speakers(corpus: Corpus) -> list[str]:
    """Return speakers that are heard in more than one partition."""
    speakers = [{r.speaker for r in corpus.recordings(p)} for p in PARTITIONS]
    return sorted((speakers[0] & speakers[1]) | (speakers[0] & speakers[2]) | (speakers[1] & speakers[2]))
