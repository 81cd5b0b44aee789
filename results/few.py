"""Make corpora with few train recordings, to measure what a network learns from few people.

    python results/few.py CORPUS DRAWS.csv OUT

DRAWS.csv has the columns draw and recording: the train recordings of each draw. OUT/few_DRAW is a corpus with these and
with all recordings of devel and test of CORPUS.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ser_ray.corpus import Corpus, CorpusWriter, open_corpus
from ser_ray.errors import InputError
from ser_ray.process import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Make the corpora of all draws."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 3:
        raise InputError("few.py takes CORPUS DRAWS.csv OUT")
    source, draws, out = (Path(argument) for argument in arguments)
    corpus = open_corpus(source)
    for draw, names in read_draws(draws, corpus).items():
        made = write(corpus, f"few_{draw}", names, out / f"few_{draw}")
        print(f"{made}: {len(names)} train recordings")
    return 0


def read_draws(path: Path, corpus: Corpus) -> Mapping[str, Sequence[str]]:
    """Read the train recordings of each draw; raise InputError where the corpus lacks one."""
    known = {recording.name for recording in corpus.recordings("train")}
    draws: defaultdict[str, list[str]] = defaultdict(list)
    if not path.is_file():
        raise InputError(f"{path} is not a file: need a table with the columns draw and recording")
    with path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            if row.get("draw") is None or row.get("recording") not in known:
                raise InputError(
                    f"{path}:{line}: need a draw and one of the train recordings {', '.join(sorted(known))}; "
                    f"found {', '.join(map(str, row.values()))}"
                )
            draws[row["draw"]].append(row["recording"])
    if not draws:
        raise InputError(f"{path} has no rows: need the columns draw and recording, a row for each train recording")
    return draws


def write(corpus: Corpus, name: str, train: Sequence[str], out: Path) -> Path:
    """Write a corpus with the named train recordings, and devel and test as they are."""
    notice = corpus.manifest.notice
    with CorpusWriter(out, name=name, label_rate=corpus.label_rate, targets=corpus.targets, notice=notice) as writer:
        for recording in (r for partition in ("train", "devel", "test") for r in corpus.recordings(partition)):
            if recording.partition == "train" and recording.name not in train:
                continue
            gold = corpus.gold(recording) if recording.labelled else None
            writer.add(recording.name, recording.partition, recording.speaker, corpus.audio(recording), gold)
    return out


if __name__ == "__main__":
    sys.exit(guarded(main))
