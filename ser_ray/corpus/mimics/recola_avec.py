"""A mimic of the layout `recola_avec`, with its oddities.

Gold files have headers of 9 or 6 lines and one row more than there are frames. Raters' names end in blanks, and one
rater left out a value. Audio is 44.1 kHz stereo. Test has neither gold nor ratings.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.gold.consensus import gold_standard
from ser_ray.corpus.mimics.people import NOTICE, Person, at_times, person

RECORDINGS = ("train_1", "train_2", "dev_1", "dev_2", "test_1")
RATE_HZ = 44_100
RATERS = ("FM1", "FM2", "FM3", "FF1", "FF2", "FF3")
LONG_HEADER = """\
@relation GOLDSTANDARD

@attribute Instance_name string
@attribute frameTime numeric
@attribute GoldStandard numeric


@data

"""
SHORT_HEADER = """\
@RELATION 'GOLDSTANDARD'
@ATTRIBUTE 'Instance_name' STRING
@ATTRIBUTE 'frameTime' NUMERIC
@ATTRIBUTE 'GoldStandard' NUMERIC
% gold standard
@DATA
"""


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a mimic of RECOLA as in AVEC 2015 and 2016."""
    for number, name in enumerate(RECORDINGS):
        someone = person(number, seconds, seed)
        someone.write_audio(out / "recordings_audio" / f"{name}.wav", RATE_HZ, channels=2)
        if name.startswith("test"):
            continue
        for target in someone.ratings:
            header = SHORT_HEADER if name == "dev_2" else LONG_HEADER
            gold = out / "ratings_gold_standard" / target / f"{name}.arff"
            gold.parent.mkdir(parents=True, exist_ok=True)
            gold.write_text(header + "".join(f"{name},{row}\n" for row in gold_rows(someone, target)))
            raters = out / "ratings_individual" / target / f"{name}.csv"
            write_ratings(raters, someone, target, hole=(name, target) == ("train_2", "valence"))
    (out / "NOTICE").write_text(NOTICE)


def gold_rows(someone: Person, target: str, separator: str = ",") -> list[str]:
    """Return rows of time and gold with six decimals, from 0 s to the end: one more than there are frames."""
    traces = list(rows_of(someone, target).values())
    return [
        f"{row / 25:g}{separator}{value:.6f}"
        for row, value in enumerate(gold_standard(np.array(traces), "ccc_centred"))
    ]


def rows_of(someone: Person, target: str) -> Mapping[str, NDArray[np.float64]]:
    """Return each rater's values at 0 s, 0.04 s, ..., the end."""
    by_rater = someone.ratings[target]
    frames = next(iter(by_rater.values())).size
    times = np.arange(frames + 1) / 25
    return {name: at_times(trace, times) for name, trace in zip(RATERS, by_rater.values(), strict=True)}


def write_ratings(path: Path, someone: Person, target: str, *, hole: bool) -> None:
    """Write the ratings of one recording; with `hole`, the second rater's fourth value is NaN."""
    traces = rows_of(someone, target)
    rows = []
    for row, values in enumerate(zip(*traces.values(), strict=True)):
        texts = [f"{value:.2f}" for value in values]
        if hole and row == 3:
            texts[1] = "NaN"
        rows.append(";".join([f"{row / 25:g}", *texts]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["time;" + " ;".join(traces), *rows]) + "\n")
