"""A mimic of the layout `muse`: four videos in the task c1_muse_wilder, four labels a second.

Segments do not begin at 0 s and have gaps between them. One segment lacks some rows and one has a single row. One file
has its columns in another order. Test has no values. Single raters are in the folder of the labels.
"""

from pathlib import Path

import numpy as np

from ser_ray.corpus.mimics.people import NOTICE, Person, at_times, person

VIDEOS = {"1": "train", "2": "train", "5": "devel", "11": "test"}
TASK = "c1_muse_wilder"
STEP_MS = 250
SHORTEST_S = 6.0
"""Shortest video that fits three segments with gaps."""

OTHER_ORDER = "2"
DROPPED = ("1", "2")
"""Video and segment without its middle rows."""


def write(out: Path, seconds: float, seed: int) -> None:
    """Write a mimic of MuSe 2021; each video lasts at least SHORTEST_S."""
    seconds = max(seconds, SHORTEST_S)
    labels = out / TASK / "label_segments"
    for number, (video, partition) in enumerate(VIDEOS.items()):
        someone = person(number, seconds, seed)
        someone.write_audio(out / "raw" / "audio_norm" / f"{video}.wav")
        for target in someone.ratings:
            for folder in (labels / target, labels / "raw_annotations" / target):
                folder.mkdir(parents=True, exist_ok=True)
            (labels / target / f"{video}.csv").write_text(label_text(video, someone, target, partition != "test"))
            raters = "\n".join(["timestamp,annotator,value", f"0,3,{someone.ratings[target]['R1'][0]:.2f}"])
            (labels / "raw_annotations" / target / f"{video}.csv").write_text(raters + "\n")
    metadata = out / TASK / "metadata"
    metadata.mkdir(exist_ok=True)
    rows = [f"{video},{partition}" for video, partition in VIDEOS.items()]
    (metadata / "partition.csv").write_text("\n".join(["Id,Proposal", *rows]) + "\n")
    (out / "NOTICE").write_text(NOTICE)


def stamps_of(video: str, seconds: float) -> list[tuple[int, str]]:
    """Return time stamp (ms) and segment of each row of a video."""
    steps = int(seconds * 1000) // STEP_MS
    first, second, third = steps // 20 + 1, steps // 3, 2 * steps // 3
    rows = []
    for segment, (begin, end) in enumerate([(first, second - 2), (second, third), (third + 1, steps)], start=1):
        kept = np.arange(begin, end)
        if (video, str(segment)) == DROPPED:
            middle = (begin + end) // 2
            kept = kept[(kept < middle) | (kept > middle + 1)]
        rows += [(int(step) * STEP_MS, str(segment)) for step in kept]
    return [*rows[:-2], (rows[-1][0], "4")]


def label_text(video: str, someone: Person, target: str, known: bool) -> str:
    """Return a label file's text; values that are not known are left empty."""
    rows = stamps_of(video, someone.seconds)
    values = at_times(someone.gold(target), np.array([stamp for stamp, _ in rows]) / 1000)
    texts = [f"{value:.5f}" if known else "" for value in values]
    if video == OTHER_ORDER:
        lines = [f"{stamp},{text},{segment}" for (stamp, segment), text in zip(rows, texts, strict=True)]
        return "\n".join(["timestamp,value,segment_id", *lines]) + "\n"
    lines = [f"{stamp},{segment},{text}" for (stamp, segment), text in zip(rows, texts, strict=True)]
    return "\n".join(["timestamp,segment_id,value", *lines]) + "\n"
