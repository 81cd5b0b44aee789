"""A mimic of the layout `semaine`: four users, one of them in two sessions.

File names contain blanks. Audio is 48 kHz. The operator has separate audio files and ratings. Raters stop at different
times. One session is in no partition, and the test session has no labels.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.mimics.people import NOTICE, Person, at_times, person

SESSIONS = {"3": ("Poppy", 1), "4": ("Spike", 1), "10": ("Obadiah", 3), "25": ("Prudence", 5), "31": ("Poppy", 7)}
"""Session -> character and recording; sessions of one recording have the same user."""

PARTITIONS = {"3": "train", "4": "train", "10": "devel", "25": "test"}
RATERS = ("R1", "R4", "R5")
STEP_S = 0.02


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a mimic of SEMAINE."""
    for number, (session, (character, recording)) in enumerate(SESSIONS.items()):
        someone = person(number, seconds, seed)
        folder = out / "Sessions" / session
        clip = f"2008.12.05.16.{number:02d}.15"
        someone.write_audio(folder / f"{clip}_User HeadMounted_{character}.wav", rate_hz=48_000)
        person(number + len(SESSIONS), min(seconds, 1.0), seed).write_audio(
            folder / f"{clip}_Operator HeadMounted_{character}.wav", rate_hz=48_000
        )
        (folder / "session.xml").write_text(
            f'<?xml version="1.0"?>\n<session number="{session}" character="{character}" recording="{recording}"/>\n'
        )
        if session != "25":
            _rate(folder, someone, character, recording)
            gold = out / "TrainingInput" / session / "TU_VA.csv"
            gold.parent.mkdir(parents=True)
            gold.write_text("\n".join(["Time,Arousal,Valence", *gold_rows(someone)]) + "\n")
    rows = [f"{session},{partition}" for session, partition in PARTITIONS.items()]
    (out / "partitions.csv").write_text("\n".join(["name,partition", *rows]) + "\n")
    (out / "NOTICE").write_text(NOTICE)


def stamps(seconds: float) -> NDArray[np.float64]:
    """Return the end times of all frames that are complete within `seconds`."""
    return np.asarray(np.arange(1, int(seconds / STEP_S + 1e-6) + 1) * STEP_S, np.float64)


def gold_rows(someone: Person) -> list[str]:
    """Return lines of time, arousal and valence, every 20 ms from 0.02 s on."""
    times = stamps(someone.seconds)
    traces = [at_times(someone.gold(target), times) for target in ("arousal", "valence")]
    return [f"{time:.2f},{a:.3f},{v:.3f}" for time, a, v in zip(times, *traces, strict=True)]


def _rate(folder: Path, someone: Person, character: str, recording: int) -> None:
    """Write the raters' traces for user (TU) and operator (TO); each rater stops a little earlier than the previous."""
    for place, rater in enumerate(RATERS):
        times = stamps(someone.seconds - 5 * place * STEP_S)
        for letter, target in (("A", "arousal"), ("V", "valence")):
            values = at_times(someone.ratings[target][f"R{place + 1}"], times)
            text = "".join(f"{time:.2f} {value:.4f}\n" for time, value in zip(times, values, strict=True))
            for talker in ("TU", "TO"):
                (folder / f"{rater}S{recording}{talker}C{character[:2]}D{letter}.txt").write_text(text)
