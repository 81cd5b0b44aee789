"""A mimic of the layout `recola`: people with gaps in their numbers, two of them in one dyad, one who was not in AVEC.

Raters' names end in blanks, one rater left out a value, audio is 44.1 kHz stereo, fields are separated by `;`, and the
table of users lists people without a recording.
"""

from pathlib import Path

from ser_ray.corpus.mimics.people import NOTICE, person
from ser_ray.corpus.mimics.recola_avec import RATE_HZ, write_ratings

PEOPLE = {16: 1, 17: 1, 19: 2, 43: 3, 48: 4}
"""Number of each person -> number of the dyad (made up)."""

OTHERS = {18: 2, 20: 5}
"""People who are only in the table of users."""


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a mimic of the full RECOLA."""
    for number in PEOPLE:
        someone = person(number, seconds, seed)
        someone.write_audio(out / "RECOLA-Audio-recordings" / f"P{number}.wav", RATE_HZ, channels=2)
        for target in someone.ratings:
            path = out / "RECOLA-Annotation" / "emotional_behaviour" / target / f"P{number}.csv"
            write_ratings(path, someone, target, hole=(number, target) == (19, "arousal"))
    users = out / "RECOLA-Metadata" / "recola_user_info.csv"
    users.parent.mkdir(exist_ok=True)
    rows = [f"P{number};{dyad}" for number, dyad in sorted({**PEOPLE, **OTHERS}.items())]
    users.write_text("\n".join(["User;Group_id", *rows]) + "\n")
    (out / "NOTICE").write_text(NOTICE)
