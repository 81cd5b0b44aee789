"""A mimic of the layout `recola46`: people of all three partitions of the paper, with gaps in their numbers.

Gold files are separated by `,` without a header, except one by `;` with a header, as in a fork of the authors' files.
Audio is in the folder to which a user would extract it from the videos; the videos themselves are left out.
"""

from pathlib import Path

from ser_ray.corpus.mimics.people import NOTICE, person
from ser_ray.corpus.mimics.recola_avec import RATE_HZ, gold_rows

PEOPLE = (15, 18, 14, 19, 13)
FORKED = 19
"""Person whose files have a header and `;`."""


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a mimic of RECOLA as stored by the paper's authors."""
    for number in PEOPLE:
        someone = person(number, seconds, seed)
        someone.write_audio(out / "Audio_recordings" / f"P{number}.wav", RATE_HZ, channels=2)
        for target in someone.ratings:
            path = out / "Ratings_affective_behaviour_CCC_centred" / target / f"P{number}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            if number == FORKED:
                rows = ["time;GoldStandard", *gold_rows(someone, target, ";")]
            else:
                rows = gold_rows(someone, target)
            path.write_text("\n".join(rows) + "\n")
    (out / "NOTICE").write_text(NOTICE)
