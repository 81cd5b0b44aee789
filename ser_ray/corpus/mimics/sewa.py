"""A mimic of the layout `sewa`, with the oddities of three challenges.

Names with a culture, and without as in 2017; labels with a header as in 2019, and without; quoted names; one audio file
at 44.1 kHz; files of turns with and without a header; test without labels.
"""

from pathlib import Path

import numpy as np

from ser_ray.corpus.mimics.people import NOTICE, Person, at_times, person

RECORDINGS = ("Train_01", "Train_02", "Train_DE_03", "Devel_01", "Devel_HU_02", "Test_CN_01")
HEADED = ("Train_DE_03", "Devel_HU_02")
RATE_HZ = 10
TURN_S, PAUSE_S = 1.5, 1.0


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a mimic of SEWA as in AVEC 2017 to 2019."""
    for folder in ("labels", "turns"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(RECORDINGS):
        someone = person(number, seconds, seed)
        someone.write_audio(out / "audio" / f"{name}.wav", rate_hz=44_100 if number == 1 else 16_000)
        if not name.startswith("Test"):
            header = ["name;timestamp;arousal;valence;liking"] if name in HEADED else []
            (out / "labels" / f"{name}.csv").write_text("\n".join([*header, *label_rows(name, someone)]) + "\n")
        begins = np.arange(0.5, someone.seconds - TURN_S, TURN_S + PAUSE_S)
        turns = [f"{begin:.3f};{begin + TURN_S:.3f}" for begin in begins]
        header = ["start_time;end_time"] if name in HEADED else []
        (out / "turns" / f"{name}.csv").write_text("\n".join([*header, *turns]) + "\n")
    (out / "NOTICE").write_text(NOTICE)


def label_rows(name: str, someone: Person) -> list[str]:
    """Return lines of name, time stamp, arousal, valence and liking, which is the mean of the two others."""
    times = np.arange(int(someone.seconds * RATE_HZ)) / RATE_HZ
    arousal, valence = (at_times(someone.gold(target), times) for target in ("arousal", "valence"))
    return [
        f"'{name}';{time:.1f};{a:.6f};{v:.6f};{(a + v) / 2:.6f}"
        for time, a, v in zip(times, arousal, valence, strict=True)
    ]
