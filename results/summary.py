"""Summarise sweeps whose settings were chosen on devel: means over seeds, ensembles, intervals over recordings.

    python results/summary.py [--devel] results/NAME...

A row for each configuration, whatever its corpus and seed, of the finished trials of all given sweeps together (with
few speakers there is one sweep per draw). CCC of arousal / valence, raw and after the exhaustive search, are means of
the trials. An ensemble is the mean of the raw predictions of a sweep, searched like a trial. Intervals are 95 %
percentiles over 2,000 bootstrap samples of the recordings, the same for all trials. With --devel test is not read.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ser_ray.errors import InputError
from ser_ray.metrics import ccc_pooled
from ser_ray.postprocess import apply, search_exhaustive
from ser_ray.process import guarded
from ser_ray.results import SweepFolder, open_sweep, read_table

TARGETS = ("arousal", "valence")
RESAMPLES = 2_000

Traces = list[NDArray[np.float64]]
Pair = tuple[Traces, Traces]
"""Predictions and gold, an array for each recording."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table with the rows of all configurations."""
    paths = list(sys.argv[1:] if argv is None else argv)
    parts = ["devel"] if paths[:1] == ["--devel"] else ["devel", "test"]
    paths = paths[2 - len(parts) :]
    if not paths:
        raise InputError("summary.py takes [--devel] results/NAME...")
    trials: defaultdict[str, list[tuple[SweepFolder, str]]] = defaultdict(list)
    for folder in map(open_sweep, paths):
        if not folder.keys("predictions"):
            raise InputError(f"{folder.path} has no predictions, as kept rows have none: name the sweep's own folder")
        for row in read_table(folder, "trials", columns=["key", "status", "config"]).to_pylist():
            if row["status"] == "finished":
                trials[configuration(row["config"])].append((folder, row["key"]))
    varied = [name for name in fields_of(trials) if len({json.loads(text).get(name) for text in trials}) > 1]
    heads = [f"{part}{kind}" for part in parts for kind in (" raw", "", " interval", " ensemble", " ensemble interval")]
    print(f"| {' | '.join(['configuration', 'n', *heads])} |\n|{'---|' * (2 + len(heads))}")
    for text, members in trials.items():
        name = ", ".join(f"{field} {json.loads(text).get(field, '-')}" for field in varied) or "all"
        print(f"| {name} | {len(members)} | {' | '.join(figures(members, parts))} |")
    return 0


def configuration(config: str) -> str:
    """Return the fields of a row's config in one text, without corpus and seed."""
    sections = json.loads(config)
    fields = {f"{s}.{name}": str(v) for s in ("model", "training") for name, v in sections[s].items() if name != "seed"}
    return json.dumps(fields, sort_keys=True)


def fields_of(texts: Iterable[str]) -> list[str]:
    """List the fields of several configurations."""
    return sorted({name for text in texts for name in json.loads(text)})


def figures(members: Sequence[tuple[SweepFolder, str]], parts: Sequence[str]) -> list[str]:
    """Return the cells of one configuration."""
    cells: defaultdict[str, list[str]] = defaultdict(list)
    for target in TARGETS:
        own = [{part: read(folder, key, part, target) for part in parts} for folder, key in members]
        searched = [search(pairs) for pairs in own]
        groups: defaultdict[Path, list[Mapping[str, Pair]]] = defaultdict(list)
        for (folder, _), pairs in zip(members, own, strict=True):
            groups[folder.path].append(pairs)
        ensembles = [search({part: mean([p[part] for p in group]) for part in parts}) for group in groups.values()]
        for part in parts:
            cells[f"{part} raw"].append(mean_ccc(own, part))
            for kind, several in (("", searched), (" ensemble", ensembles)):
                cells[part + kind].append(mean_ccc(several, part))
                cells[f"{part}{kind} interval"].append(interval([pairs[part] for pairs in several]))
    return [" / ".join(texts) for texts in cells.values()]


def mean_ccc(trials: Sequence[Mapping[str, Pair]], part: str) -> str:
    """Format the mean of several trials' pooled CCC of a partition."""
    return f"{np.mean([ccc_pooled(*pairs[part]) for pairs in trials]):.3f}"


def read(folder: SweepFolder, key: str, partition: str, target: str) -> Pair:
    """Read a trial's raw predictions of a partition, and the gold."""
    columns = ["recording", "partition", f"prediction_{target}", f"gold_{target}"]
    table = read_table(folder, "predictions", keys=[key], columns=columns)
    table = table.filter(pc.equal(table["partition"], partition))
    prediction, gold = (table[column].to_numpy().astype(np.float64) for column in columns[2:])
    names = table["recording"].to_numpy()
    rows = [names == name for name in dict.fromkeys(names)]
    return [prediction[own] for own in rows], [gold[own] for own in rows]


def search(pairs: Mapping[str, Pair]) -> Mapping[str, Pair]:
    """Apply the chain that is best on devel to both partitions."""
    chain = search_exhaustive(*pairs["devel"]).chain
    return {part: (apply(chain, predictions), gold) for part, (predictions, gold) in pairs.items()}


def mean(pairs: Sequence[Pair]) -> Pair:
    """Average the predictions of several trials."""
    return [np.mean(traces, axis=0) for traces in zip(*(p for p, _ in pairs), strict=True)], pairs[0][1]


def interval(pairs: Sequence[Pair]) -> str:
    """Format the 95 % interval of the mean CCC of several trials over resampled recordings."""
    rng = np.random.default_rng(0)
    count = len(pairs[0][0])
    sums = np.array([[moments(x, y) for x, y in zip(*pair, strict=True)] for pair in pairs])  # [trials, recordings, 6]
    drawn = sums[:, rng.integers(0, count, (RESAMPLES, count))].sum(axis=2)  # [trials, resamples, 6]
    _, x, y, xx, yy, xy = np.moveaxis(drawn / drawn[..., :1], -1, 0)
    ccc = 2 * (xy - x * y) / (xx - x * x + yy - y * y + (x - y) ** 2)
    low, high = np.percentile(ccc.mean(axis=0), [2.5, 97.5])
    return f"[{low:.3f}, {high:.3f}]"


def moments(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[float]:
    """Return the sums of a recording from which the CCC of any set of recordings follows."""
    return [len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]


if __name__ == "__main__":
    sys.exit(guarded(main))
