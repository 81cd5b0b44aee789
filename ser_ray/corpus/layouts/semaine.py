"""The layout `semaine`: talks of users with characters, from the SEMAINE database.

SRC/sessions/10/2008.12.05.16.03.15_User HeadMounted_Poppy.wav   the user's voice; sessions/ or Sessions/
SRC/TrainingInput/10/TU_VA.csv      where present: Time, Arousal, Valence every 20 ms, the raters' mean
SRC/sessions/10/R5S1TUCPoDA.txt     trace of rater 5 for the user (TU), A for arousal, V for valence: time value
SRC/sessions/10/session.xml         where present: sessions with the same attribute `recording` have the same user
SRC/partitions.csv                  yours: session, partition and preferably speaker; SEMAINE has none of its own

Time stamps begin at 0.02 s and mark the end of a frame (alignment "end"). Sessions that partitions.csv does not name
are left out. Where no session has TU_VA.csv, the gold standard is made from the raters, resampled to 50 Hz.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from ser_ray.corpus.layouts.lines import read_lines, to_traces
from ser_ray.corpus.layouts.partition_table import PartitionRow, read_partitions
from ser_ray.corpus.source.description import Description, Labelled, Source, read_notice, require
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.source.traces import Traces, read_traces
from ser_ray.errors import InputError

SESSIONS = ("sessions", "Sessions")
GOLD = "TrainingInput"
AUDIO = "*User HeadMounted*.wav"
RATED = re.compile(r"[AR](?P<rater>[0-9]+)[RS][0-9]+TUC(?:Ob|Po|Pr|Sp)(?P<again>2?)D(?P<target>[AVPE])")
TARGETS = {"A": "arousal", "V": "valence", "P": "power", "E": "expectation"}
LABEL_RATE_HZ = 50.0


def read(source: Path) -> Description:
    """Read a folder in the layout `semaine`."""
    folder = next((source / name for name in SESSIONS if (source / name).is_dir()), None)
    require(source, "semaine", {"sessions/ (or Sessions/)": folder is not None})
    assert folder is not None
    sessions = sorted((path.name for path in folder.iterdir() if path.is_dir()), key=_by_number)
    places = _places(source, sessions)
    problems = Problems(source)
    sources = []
    for session, place in places.items():
        with problems.collecting():
            sources.append(_source(source, folder, session, place))
    problems.refuse()
    only_rated = not any((source / GOLD / session / "TU_VA.csv").is_file() for session in places)
    return Description(
        tuple(sources),
        read_notice(source),
        alignment="end",
        label_rate_hz=LABEL_RATE_HZ if only_rated else None,
        warnings=_warnings([session for session in sessions if session not in places], source),
    )


def _by_number(session: str) -> tuple[int, str]:
    return (int(session), session) if session.isdecimal() else (0, session)


def _places(source: Path, sessions: Sequence[str]) -> dict[str, PartitionRow]:
    """Read the partitions of sessions from the user's table, which must exist."""
    table = source / "partitions.csv"
    if not table.is_file():
        example = sessions[0] if sessions else "10"
        raise InputError(
            f"{table} is missing: SEMAINE has no partitions of its own. Write it with the header "
            f"name,partition,speaker and a line per session, such as {example},train,user_1; partition is train, "
            f"devel or test, and no user should be in two of them. There are {len(sessions)} sessions: "
            f"{', '.join(sessions[:12])}{', ...' if len(sessions) > 12 else ''}"
        )
    return read_partitions(table)


def _source(source: Path, folder: Path, session: str, place: PartitionRow) -> Source:
    if not (folder / session).is_dir():
        raise InputError(f"{place.where}: session {session} has no folder {folder / session}")
    audio = [path for path in sorted((folder / session).glob(AUDIO)) if not path.name.startswith(".")]
    if len(audio) != 1:
        raise InputError(f"{folder / session} has {len(audio)} files {AUDIO}, but must have one, the audio of the user")
    gold = source / GOLD / session / "TU_VA.csv"
    rated = _rated(folder / session)
    files = ((gold,) if gold.is_file() else ()) + tuple(path for raters in rated.values() for path in raters.values())
    if not files and place.partition != "test":
        raise InputError(
            f"{gold} is missing, and {folder / session} has no ratings such as R1S1TUCPoDA.txt: labels of session "
            f"{session}, which is in partition {place.partition}"
        )
    return Source(
        name=session,
        partition=place.partition,
        speaker=place.speaker or _user(folder / session) or session,
        audio=audio[0],
        labels=partial(read_labels, gold if gold.is_file() else None, rated) if files else None,
        label_files=files,
        extra={"character": character} if (character := _attribute(folder / session, "character")) else {},
    )


def _rated(folder: Path) -> dict[str, dict[str, Path]]:
    """Find the files with ratings of a session's user, by target and rater."""
    files: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.glob("*.txt")):
        if match := RATED.fullmatch(path.stem):
            rater = f"R{match['rater']}{'_2' if match['again'] else ''}"
            files[TARGETS[match["target"]]][rater] = path
    return dict(files)


def _user(folder: Path) -> str:
    recording = _attribute(folder, "recording")
    return f"user_of_recording_{recording}" if recording else ""


def _attribute(folder: Path, name: str) -> str:
    """Read an attribute of session.xml; "" where it is absent."""
    path = folder / "session.xml"
    if not path.is_file():
        return ""
    try:
        return ElementTree.parse(path).getroot().get(name, "")
    except ElementTree.ParseError as error:
        raise InputError(
            f"{path} is not valid XML ({error}): remove it, and name speakers in partitions.csv"
        ) from error


def _warnings(unnamed: Sequence[str], source: Path) -> tuple[str, ...]:
    if not unnamed:
        return ()
    return (f"sessions that {source / 'partitions.csv'} does not list are left out: {', '.join(unnamed)}",)


def read_labels(gold: Path | None, rated: Mapping[str, Mapping[str, Path]]) -> Labelled:
    """Read the labels of one session: a file TU_VA.csv, if there is one, and a file per target and rater."""
    given: tuple[Traces, ...] = ()
    if gold is not None:
        traces = read_traces(gold)
        given = (replace(traces, values={column.lower(): values for column, values in traces.values.items()}),)
    return Labelled(
        gold=given,
        ratings={
            target: tuple(_trace(path, rater) for rater, path in raters.items()) for target, raters in rated.items()
        },
    )


def _trace(path: Path, rater: str) -> Traces:
    return to_traces(path, read_lines(path), ("time", "value"), {"value": rater}, "time")
