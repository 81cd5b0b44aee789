"""Check every byte of a corpus, and find contents that would distort results: `ser-ray corpus check`.

wrong, so that no result of the corpus should be trusted (exit code 1):
    files that differ from the manifest or its schema; an index that does not fit them (lengths, mean and deviation of
    the samples, labels, partition); labels that are not numbers; and whatever makes devel or test easier than new
    people would be: a speaker, a dyad (or session, or video), or identical samples in more than one partition.
warning, legal but perhaps not intended (exit code 0):
    clipping, long silence, labels outside [-1, 1] or constant, the same samples twice in one partition (which counts
    them twice), files in shards/ that the manifest does not list.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.allocation import cpus
from ser_ray.corpus.describing.info import shared_dyads, shared_speakers
from ser_ray.corpus.describing.inspection import CheckFinding, Inspected, inspect_recording, inspect_shard
from ser_ray.corpus.progress import track
from ser_ray.corpus.store.raters import RATERS_FILE, RATERS_SCHEMA
from ser_ray.corpus.store.reader import Corpus, open_corpus, read_index
from ser_ray.corpus.store.schema import INDEX, MANIFEST, PARTITIONS, SHARDS, Recording
from ser_ray.corpus.workers import in_order
from ser_ray.errors import InputError

SMALL_BYTES = 2**31
SHOWN = 5
"""Findings shown per kind; the rest are counted."""


@dataclass
class Checked:
    """Result of a check: the first findings of each grade and kind, the number of all, and what was checked."""

    shown: list[CheckFinding] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    summary: str = ""

    def add(self, findings: Iterable[CheckFinding]) -> None:
        """Note findings."""
        for finding in findings:
            self.counts[finding.grade, finding.kind] += 1
            if self.counts[finding.grade, finding.kind] <= SHOWN:
                self.shown.append(finding)

    def count(self, grade: str) -> int:
        """Count the findings of a grade, "wrong" or "warning"."""
        return sum(number for (of, _), number in self.counts.items() if of == grade)

    def lines(self) -> list[str]:
        """Return the lines to print: warnings, errors, and last a summary of what was checked."""
        lines = []
        for grade in ("warning", "wrong"):
            for kind in (kind for of, kind in self.counts if of == grade):
                messages = [finding.message for finding in self.shown if (finding.grade, finding.kind) == (grade, kind)]
                lines += [f"{grade}: {message}" for message in messages]
                if self.counts[grade, kind] > SHOWN:
                    lines.append(f"{grade}: and {self.counts[grade, kind] - SHOWN} more of this kind ({kind})")
        warnings = self.count("warning")
        return [*lines, f"{self.summary}: {self.count('wrong')} wrong, {warnings} warning{'s' * (warnings != 1)}"]


def check_corpus(path: str | Path, jobs: int | None = None) -> Checked:
    """Check a corpus, reading every byte; return the findings, wrong or suspicious.

    By default one process per core checks recordings, or a single process for a corpus of at most SMALL_BYTES, where
    starting them would take longer.

    Raises:
        InputError: if there is no corpus, or `jobs` is below 1.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}, but must be at least 1")
    folder = Path(path).absolute()
    checked = Checked()
    try:
        corpus = open_corpus(folder)
    except InputError as error:
        if not (folder / MANIFEST).is_file():
            raise
        checked.add([CheckFinding("wrong", "corpus", str(error))])
        checked.summary = f"{folder} cannot be opened; nothing else was checked"
        return checked
    size_bytes = sum(shard.size_bytes for shard in corpus.manifest.shards)
    if jobs is None:
        jobs = cpus() if size_bytes > SMALL_BYTES else 1
    recordings = [recording for partition in PARTITIONS for recording in corpus.recordings(partition)]
    batches = _check_shards(corpus, jobs, checked)
    checked.add(_index(corpus, batches))
    present = [recording for recording in recordings if 0 <= recording.batch < batches.get(recording.shard, 0)]
    _check_recordings(corpus, present, jobs, checked)
    checked.add(_leaks(corpus))
    checked.add(_raters(corpus, {recording.name for recording in recordings}))
    hours = sum(recording.samples for recording in present) / corpus.sample_rate / 3600
    checked.summary = (
        f"{folder}: checked {_number(len(present), 'recording')} ({hours:.2f} h, "
        f"{sum(recording.labelled for recording in present)} with gold) in "
        f"{_number(len(corpus.manifest.shards), 'shard')} ({size_bytes / 1e9:.3g} GB)"
    )
    return checked


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _check_shards(corpus: Corpus, jobs: int, checked: Checked) -> dict[str, int]:
    """Check the shards as files; return each shard's number of readable recordings."""
    shards = corpus.manifest.shards
    listed = {shard.name for shard in shards}
    for path in sorted((corpus.path / SHARDS).glob("*")):
        if path.name not in listed:
            message = f"{path} is not listed in {MANIFEST}: nothing reads it; delete it"
            checked.add([CheckFinding("warning", "unlisted file", message)])
    inspect = partial(inspect_shard, folder=corpus.path, targets=corpus.targets)
    batches = {}
    for shard, inspected in zip(track(shards, "hashing shards"), in_order(inspect, shards, jobs), strict=True):
        checked.add(inspected.findings)
        batches[shard.name] = inspected.batches
    return batches


def _check_recordings(corpus: Corpus, recordings: list[Recording], jobs: int, checked: Checked) -> None:
    """Check recordings, and note those with the same samples."""
    inspect = partial(inspect_recording, folder=corpus.path, targets=corpus.targets, hop=corpus.hop)
    first: dict[bytes, Recording] = {}
    inspected: Inspected
    results = in_order(inspect, recordings, jobs)
    for recording, inspected in zip(track(recordings, "checking recordings"), results, strict=True):
        checked.add(inspected.findings)
        other = first.setdefault(inspected.digest, recording) if inspected.digest else recording
        if other is recording:
            continue
        same = f"{recording.name} ({recording.partition}) has the same {recording.samples} samples as {other.name}"
        if other.partition == recording.partition:
            checked.add([CheckFinding("warning", "duplicate", f"{same}: they count twice in {other.partition}")])
        else:
            message = f"{same} ({other.partition}): a recording must be in only one partition"
            checked.add([CheckFinding("wrong", "duplicate across partitions", message)])


def _index(corpus: Corpus, batches: dict[str, int]) -> Iterator[CheckFinding]:
    """Yield mismatches between index and shards."""
    columns = ("recording", "partition", "shard", "batch")
    index = read_index(corpus.path, corpus.manifest)
    names: Counter[str] = Counter()
    places: dict[str, dict[int, str]] = {name: {} for name in batches}
    for name, partition, shard, batch in zip(*(index.column(c).to_pylist() for c in columns), strict=True):
        names[name] += 1
        if names[name] == 2:
            yield CheckFinding(
                "wrong", "name", f"{name}: several rows of {INDEX} have this name; a name must be unique"
            )
        if partition not in PARTITIONS:
            message = f"{name}: partition is {partition!r}, but must be one of {', '.join(PARTITIONS)}"
            yield CheckFinding("wrong", "partition", message)
        if shard not in places:
            yield CheckFinding("wrong", "index", f"{name}: is in {shard}, which {MANIFEST} does not list")
        elif batches[shard] and not 0 <= batch < batches[shard]:
            yield CheckFinding(
                "wrong", "index", f"{name}: is batch {batch} of {shard}, which has {batches[shard]}, numbered from 0"
            )
        elif batch in places[shard]:
            message = f"{name}: is batch {batch} of {shard}, and so is {places[shard][batch]}"
            yield CheckFinding("wrong", "index", message)
        else:
            places[shard][batch] = name
    for shard, count in batches.items():
        for batch in range(count):
            if batch not in places[shard]:
                message = f"batch {batch} of {shard} belongs to no recording in {INDEX}"
                yield CheckFinding("wrong", "batch without recording", message)


def _leaks(corpus: Corpus) -> Iterator[CheckFinding]:
    """Yield speakers and dyads that are in more than one partition."""
    advice = "move all of them to one partition"
    for what, groups in (("speaker", shared_speakers(corpus)), ("dyad", shared_dyads(corpus))):
        for name, members in groups.items():
            who = f"speaker {name}" if what == "speaker" else name
            where = ", ".join(f"{recording.partition} ({recording.name})" for recording in members)
            yield CheckFinding("wrong", f"{what} leak", f"{who} is in several partitions: {where}; {advice}")


def _raters(corpus: Corpus, recordings: set[str]) -> Iterator[CheckFinding]:
    """Yield mismatches between the table of raters, if there is one, and the corpus."""
    path = corpus.path / RATERS_FILE
    if not path.is_file():
        return
    try:
        file = pq.ParquetFile(path)
        if not set(RATERS_SCHEMA.names) <= set(file.schema_arrow.names):
            columns = ", ".join(file.schema_arrow.names)
            message = f"{path} has the columns {columns}, but must have {', '.join(RATERS_SCHEMA.names)}"
            yield CheckFinding("wrong", "raters", message)
            return
        known: Any = {(recording, target) for recording in recordings for target in corpus.targets}
        for rows in file.iter_batches(columns=["recording", "target"]):
            rated = set(zip(*(column.to_pylist() for column in rows.columns), strict=True))
            for name, target in sorted(rated - known):
                message = f"{path} has a row of {target} in {name}, which the corpus does not contain"
                yield CheckFinding("wrong", "raters", message)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield CheckFinding("wrong", "raters", f"{path} cannot be read ({error})")
