"""A mimic of the layout `msp_conversation`: four conversations, the first in two parts with a pause between.

Preambles have nine or eight lines, times are irregular and differ between raters, start and end are in podcast time,
and the number of raters differs between targets. Test is not rated.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.mimics.people import NOTICE, Person, at_times, person

PARTS = {"0001": 2, "0002": 1, "0047": 1, "0105": 1}
"""Conversation -> number of parts."""

PARTITIONS = {"0001": "Train", "0002": "Train", "0047": "Validation", "0105": "Test"}
RATERS = {"Arousal": ("001", "004", "007"), "Valence": ("001", "004", "007"), "Dominance": ("001", "012")}
BEGINS_S = {"0001": 12.5, "0002": 0.0, "0047": 301.25, "0105": 7.0}
PAUSE_S = 0.5
TICK_S = 1 / 30
PREAMBLE = """\
Time of Rating,01-Jan-2020 12:00:00
Multimedia File,{name}.wav
Lower Label,very low
Upper Label,very high
Minimum Value,-100
Maximum Value,100
Number of Steps,9
Second,Rating
%%%%%%,%%%%%%
"""


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a mimic of MSP-Conversation."""
    parts, conversations, segments = [], [], {}
    for number, (code, count) in enumerate(PARTS.items()):
        someone = person(number, seconds, seed)
        name, begin = f"MSP-Conversation_{code}", BEGINS_S[code]
        someone.write_audio(out / "Audio" / f"{name}.wav")
        conversations.append(f"{name};{begin:g};{begin + someone.seconds:g}")
        for part, (start, stop) in enumerate(spans(someone.seconds, count), start=1):
            parts.append(f"{name}_{part};{begin + start:g};{begin + stop:g}")
            turn = {"Conversation_Part": f"{name}_{part}", "Start_Time": 0.0, "End_Time": round(stop - start, 3)}
            segments[f"MSP-PODCAST_{code}_{part:04d}"] = turn
            if PARTITIONS[code] != "Test":
                _rate(out, f"{name}_{part}", someone, (start, stop), np.random.default_rng([seed, number, part]))
    times = out / "Time_Labels"
    times.mkdir(exist_ok=True)
    (times / "conversation_parts.txt").write_text("\n".join(parts) + "\n")
    (times / "conversations.txt").write_text("\n".join(conversations) + "\n")
    (times / "segments.json").write_text(json.dumps(segments, indent=1))
    rows = [f"MSP-Conversation_{code};{partition}" for code, partition in PARTITIONS.items()]
    (out / "partitions.txt").write_text("\n".join(rows) + "\n")
    (out / "NOTICE").write_text(NOTICE)


def spans(seconds: float, count: int) -> list[tuple[float, float]]:
    """Return start and end of each part in its conversation, in seconds."""
    each = round((seconds - PAUSE_S * (count - 1)) / count, 3)
    return [(part * (each + PAUSE_S), part * (each + PAUSE_S) + each) for part in range(count)]


def _rate(out: Path, part: str, someone: Person, span: tuple[float, float], rng: np.random.Generator) -> None:
    """Write the traces of all raters of a part."""
    for target, raters in RATERS.items():
        folder = out / "Annotations" / target
        folder.mkdir(parents=True, exist_ok=True)
        for place, rater in enumerate(raters, start=1):
            times = irregular_times(span[1] - span[0], rng)
            values = 100 * _said(someone, target, f"R{place}", times + span[0])
            preamble = PREAMBLE.format(name=part)
            if rater == "004":
                preamble = preamble.partition("\n")[2]
            rows = [f"{time:.4f},{value:.4f}\n" for time, value in zip(times, values, strict=True)]
            (folder / f"{part}_{rater}.csv").write_text(preamble + "".join(rows))


def irregular_times(seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw rising times about TICK_S apart, the first soon after 0 s."""
    times = np.cumsum(rng.uniform(0.6, 1.4, int(seconds / TICK_S)) * TICK_S)
    return np.asarray(times[times < seconds])


def _said(someone: Person, target: str, rater: str, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a rater's trace; dominance is the mean of arousal and valence."""
    targets = ("arousal", "valence") if target == "Dominance" else (target.lower(),)
    return np.asarray(np.mean([at_times(someone.ratings[name][rater], times_s) for name in targets], axis=0))
