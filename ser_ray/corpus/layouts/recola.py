"""The layout `recola`: the full RECOLA, as its authors' site distributes it.

SRC/RECOLA-Audio-recordings/P16.wav                                     any rate
SRC/RECOLA-Annotation/emotional_behaviour/{arousal,valence}/P16.csv     time and a column per rater: FM1 .. FF3
SRC/RECOLA-Metadata/recola_user_info.csv                                User, Group_id (the dyad) and, maybe, the sex
SRC/partitions.csv                                                      optional, your own: name, partition

The data has no gold standard: it is made from the raters. It has no partitions either: without your own table, people
get the partition of the paper, which equals that of AVEC for those who were in AVEC. Some of the 23 people with public
labels were not in AVEC (see recola_split), so expect more than AVEC's 9 and 9; to use AVEC's people only, list them in
partitions.csv. The dyad of each person is kept as `dyad`, since the two people of a dyad may be in different
partitions. Frames carry the label at their end.
"""

from collections.abc import Mapping
from pathlib import Path

from ser_ray.corpus.layouts.recola_files import (
    AUDIO,
    files_in,
    in_targets,
    listed,
    names_in,
    read_raters,
    source_of,
)
from ser_ray.corpus.layouts.recola_split import Split, avec_split, read_split
from ser_ray.corpus.source.description import Description, Labelled, Source, read_notice, require
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import read_rows
from ser_ray.errors import InputError

KEPT_COLUMNS = {"group_id": "dyad", "sex": "sex", "gender": "sex"}
"""Column of the table of users, in lower case -> column of the index."""


def read(source: Path) -> Description:
    """Read a folder in the layout `recola`."""
    audio = files_in(source / "RECOLA-Audio-recordings", *AUDIO)
    ratings = in_targets(source / "RECOLA-Annotation" / "emotional_behaviour", ".csv")
    wanted = {
        f"RECOLA-Annotation/emotional_behaviour/{target}/*.csv": bool(files.found) for target, files in ratings.items()
    }
    require(source, "recola", {"RECOLA-Audio-recordings/*.wav": bool(audio.found), **wanted})
    problems = Problems(source)
    present = names_in([audio, *ratings.values()])
    split = read_split(source, present, problems)
    info = source / "RECOLA-Metadata" / "recola_user_info.csv"
    people = _read_people(info)
    sources = []
    for name, place in split.places.items():
        with problems.collecting():
            by = present.get(name, place.where)
            extra = people.get(name, {})
            sources.append(source_of(name, place.partition, audio, ratings, _labels, needed_by=by, extra=extra))
    problems.refuse()
    warnings = (*split.warnings, *_warn_of_partitions(split), *_warn_of_dyads(sources, info))
    return Description(tuple(sources), read_notice(source), alignment="end", warnings=warnings)


def _labels(ratings: Mapping[str, Path]) -> Labelled:
    return Labelled(ratings={target: (read_raters(path),) for target, path in ratings.items()})


def _read_people(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    header, rows, _ = read_rows(path)
    columns = [column.lower() for column in header]
    missing = [column for column in ("User", "Group_id") if column.lower() not in columns]
    if missing:
        raise InputError(f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(header)}")
    people = {}
    for row in rows:
        fields = dict(zip(columns, row, strict=True))
        user = fields["user"]
        known = {KEPT_COLUMNS[column]: field for column, field in fields.items() if column in KEPT_COLUMNS and field}
        people[f"P{user}" if user.isdigit() else user] = known
    return people


def _warn_of_partitions(split: Split) -> list[str]:
    """Return a warning about people whose partition is not AVEC's, unless the user's own table gives it."""
    avec = avec_split()
    others = {name: place.partition for name, place in split.places.items() if name not in avec}
    if split.own or not others:
        return []
    said = ", ".join(f"{name} {partition}" for name, partition in list(others.items())[:8])
    return [
        f"people who were not in AVEC get the partition of the paper: {said}{', ...' if len(others) > 8 else ''}; for "
        "another split write a table partitions.csv (name, partition)"
    ]


def _warn_of_dyads(sources: list[Source], info: Path) -> list[str]:
    alone = [source.name for source in sources if "dyad" not in source.extra]
    if not alone:
        return []
    return [f"{info} does not give the dyad (Group_id) of {listed(alone)}: leaks between partitions may go undetected"]
