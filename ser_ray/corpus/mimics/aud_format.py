"""A mimic of the layout `audformat`, written by the library of that name.

Rows are frames of 40 ms. Tables have splits. In one file, rows are missing in the middle. The table of train has raters
and gold, that of dev only raters; test has no values. A scheme has the sex of each speaker. One table has one label per
file, which is not used for training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.layouts.aud_format_tables import others_deprecations
from ser_ray.corpus.mimics.people import NOTICE, Person, person
from ser_ray.errors import InputError

FILES = {
    "audio/a 1.wav": ("train", "anna"),
    "audio/a 2.wav": ("train", "bert"),
    "audio/b 1.wav": ("dev", "cleo"),
    "audio/c 1.wav": ("test", "dora"),
}
SEXES = {"anna": "female", "bert": "male", "cleo": "female", "dora": "female"}
STEP_MS = 40
WITH_GAP = "audio/a 2.wav"
RATERS = ("R1", "R2", "R3")


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a mimic of an audformat database; the library must be installed."""
    try:
        import audformat
    except ImportError as error:
        raise InputError(
            f"audformat is written by its library, and {error.name} is not installed: pip install 'ser-ray[audformat]'"
        ) from error
    people = {file: person(number, seconds, seed) for number, file in enumerate(FILES)}
    for file, someone in people.items():
        someone.write_audio(out / file)
    with others_deprecations():
        _database(audformat, people).save(str(out), storage_format="csv")
    (out / "NOTICE").write_text(NOTICE)


def _database(audformat: Any, people: Mapping[str, Person]) -> Any:
    """Build the database, with a table per split."""
    database = _header(audformat)
    for split in ("train", "dev", "test"):
        files = [file for file, (known, _) in FILES.items() if known == split]
        kept = {file: frames_of(file, people[file]) for file in files}
        index = audformat.segmented_index(
            [file for file, frames in kept.items() for _ in frames],
            [f"{frame * STEP_MS}ms" for frames in kept.values() for frame in frames],
            [f"{(frame + 1) * STEP_MS}ms" for frames in kept.values() for frame in frames],
        )
        table = database[f"emotion.{split}"] = audformat.Table(index, split_id=split)
        for target in ("arousal", "valence"):
            if split != "dev":
                table[target] = audformat.Column(scheme_id=target, rater_id="gold")
                table[target].set(_joined(kept, {file: people[file].gold(target) for file in files}, split == "test"))
            for rater in RATERS if split != "test" else ():
                table[f"{target}.{rater}"] = audformat.Column(scheme_id=target, rater_id=rater)
                said = {file: people[file].ratings[target][rater] for file in files}
                table[f"{target}.{rater}"].set(_joined(kept, said, False))
    return database


def frames_of(file: str, someone: Person) -> NDArray[np.intp]:
    """Return the indices of the frames that have a row."""
    frames = np.arange(someone.gold("arousal").size)
    if file != WITH_GAP:
        return frames
    middle = frames.size // 2
    return frames[(frames < middle) | (frames >= middle + 5)]


def _joined(
    kept: dict[str, NDArray[np.intp]], traces: dict[str, NDArray[np.float64]], hidden: bool
) -> NDArray[np.float64]:
    values = np.concatenate([traces[file][frames] for file, frames in kept.items()]).round(4)
    return np.full_like(values, np.nan) if hidden else values


def _header(audformat: Any) -> Any:
    """Build a database with schemes, splits, raters and two tables about files and speakers."""
    import pandas as pd

    database = audformat.Database("mimic", usage="other", description=NOTICE)
    for split in ("train", "dev", "test"):
        database.splits[split] = audformat.Split(split)
    database.raters["gold"] = audformat.Rater("vote")
    for rater in RATERS:
        database.raters[rater] = audformat.Rater("human")
    for target in ("arousal", "valence"):
        database.schemes[target] = audformat.Scheme("float", minimum=-1, maximum=1)
    database.schemes["gender"] = audformat.Scheme("str", labels=["female", "male"])
    speakers = database["speaker"] = audformat.MiscTable(pd.Index(list(SEXES), name="speaker", dtype="string"))
    speakers["gender"] = audformat.Column(scheme_id="gender")
    speakers["gender"].set(list(SEXES.values()))
    database.schemes["speaker"] = audformat.Scheme("str", labels="speaker")
    files = database["files"] = audformat.Table(audformat.filewise_index(list(FILES)))
    files["speaker"] = audformat.Column(scheme_id="speaker")
    files["speaker"].set([speaker for _, speaker in FILES.values()])
    files["arousal"] = audformat.Column(scheme_id="arousal")
    files["arousal"].set([0.1] * len(FILES))
    return database
